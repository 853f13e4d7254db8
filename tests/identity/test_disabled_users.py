"""Disabled users: refused in every mode, within five seconds, in every process."""

from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from aibridge import Actor, HeaderAuthenticator
from aibridge.errors import Unauthorized, Unavailable
from aibridge.identity.disabled_users import DisabledUsers, EnabledUsersOnly
from aibridge.identity.key_store import KeyStore
from aibridge.identity.user_store import User, UserStore
from aibridge.record import migrations
from aibridge.record.erasure import hidden_name
from aibridge.record.store import Store
from aibridge.record.values import utc_now

from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from ..record.samples import NOON, interception
from .requests import actor_of, request

LIMIT = 5.0
"""Seconds after which a change must have taken effect."""


class WatchTests(SynchronousTestCase):
    """The names as they are read from the database, on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.names: Any = frozenset({"alice"})
        self.queries = 0
        self.users = DisabledUsers(self.find, self.clock)

    def find(self) -> "Deferred[frozenset[str]]":
        """The answer of the database; an exception fails."""
        self.queries += 1
        return fail(self.names) if isinstance(self.names, Exception) else succeed(self.names)

    def test_change(self) -> None:
        """A change is seen within five seconds, however often requests come, and no request makes a query of its own."""
        self.assertTrue(self.users.includes("alice"))
        self.assertFalse(self.users.includes("bob"))
        self.names = frozenset({"bob"})
        for _ in range(10):
            self.clock.advance(LIMIT / 10)
            self.users.includes("bob")
        self.assertEqual((self.users.includes("alice"), self.users.includes("bob")), (False, True))
        self.assertLess(self.queries, 5)

    def test_after_a_pause(self) -> None:
        """The first request after a pause waits for the names as they are now, and so do those beside it."""
        self.users.includes("alice")
        self.clock.advance(3600)
        answer: Deferred[Any] = Deferred()
        self.patch(self.users, "_find", lambda: answer)
        waiting = [self.users.includes("bob") for _ in range(3)]
        waiting[0].cancel()
        self.failureResultOf(waiting[0])
        answer.callback(frozenset({"bob"}))
        self.assertEqual([self.successResultOf(each) for each in waiting[1:]], [True, True])

    def test_database_away(self) -> None:
        """While the database is away those stay disabled who were so, and requests wait for it once, not each time."""
        self.users.includes("alice")
        self.names = Unavailable("away")
        for _ in range(5):
            self.clock.advance(60)
            self.assertIs(self.users.includes("alice"), True)
            self.assertIs(self.users.includes("bob"), False)
        self.names = frozenset()
        self.clock.advance(60)
        self.assertFalse(self.users.includes("alice"))

    def test_no_answer(self) -> None:
        """A database that does not answer is waited for three seconds; a first time nobody counts as disabled."""
        self.patch(self.users, "_find", Deferred)
        waiting = self.users.includes("alice")
        self.assertNoResult(waiting)
        self.clock.advance(3)
        self.assertFalse(self.successResultOf(waiting))

    def test_forgotten(self) -> None:
        """A user who was forgotten stays disabled, although the name is nowhere."""
        self.names = frozenset({hidden_name("alice")})
        self.assertTrue(self.users.includes("alice"))
        self.assertFalse(self.users.includes("bob"))


class AuthenticatorTests(SynchronousTestCase):
    """The refusal of disabled users."""

    def made(self, authenticator: Any, *, later: bool = False) -> EnabledUsersOnly:
        """An authenticator that refuses alice; with `later` the database answers a moment later."""
        names = frozenset({"alice"})
        self.answer: Deferred[Any] = Deferred()
        return EnabledUsersOnly(authenticator, DisabledUsers(lambda: self.answer if later else succeed(names), Clock()))

    def test_header(self) -> None:
        """A proxy's user who is disabled is refused, with a reason for the log; others are let in."""
        authenticator = self.made(HeaderAuthenticator(trusted_proxies=["127.0.0.1"]))
        error = self.assertRaises(Unauthorized, authenticator.authenticate, request(("X-Forwarded-User", "alice")))
        self.assertEqual((str(error)[:22], error.reason), ("This user is disabled.", "user alice is disabled"))
        self.assertEqual(authenticator.authenticate(request(("X-Forwarded-User", "bob"))), Actor("bob"))

    def test_in_its_own_time(self) -> None:
        """An authenticator that takes its time is waited for, and so is the database; no actor stays none."""

        class Slow:
            """Finds the actor later."""

            def __init__(self, actor: Any) -> None:
                self.actor = actor

            def authenticate(self, request: Any) -> Any:
                """A Deferred or a coroutine."""

                async def find() -> Any:
                    return self.actor

                return find()

        for name, expected in (("alice", None), ("bob", Actor("bob"))):
            authenticator = self.made(Slow(Actor(name)), later=True)
            found = actor_of(authenticator, request())
            self.assertNoResult(found)
            self.answer.callback(frozenset({"alice"}))
            self.assertEqual(self.successResultOf(found), expected)
        self.assertIsNone(self.successResultOf(actor_of(self.made(Slow(None)), request())))


class StoreTests(TestCase):
    """Users in a database of either kind."""

    url: str

    def test_users(self) -> None:
        """A user is known by keys, by interceptions, or as disabled; keys that ended do not count."""
        with_rows = Store(self.url)
        self.addCleanup(with_rows.close)
        with_rows.open()
        encoder = with_rows.encoder(None)
        with_rows.commit([encoder(interception(initiator_id=name)) for name in ("alice", "alice", "bob")])
        keys, users = KeyStore(self.url), UserStore(self.url)
        for _ in range(2):
            keys.create("carol", {})
        keys.revoke(keys.all()[0].id)
        before = utc_now()
        self.assertEqual((users.disable("dave"), users.disable("dave")), (True, False))
        known = {user.actor: user for user in users.all()}
        disabled_at = known["dave"].disabled_at
        assert isinstance(disabled_at, datetime)
        self.assertTrue(before <= disabled_at <= utc_now())
        self.assertEqual(
            [*known.values()],
            [
                User("alice", 0, NOON, None),
                User("bob", 0, NOON, None),
                User("carol", 1, None, None),
                User("dave", 0, None, disabled_at),
            ],
        )
        self.assertEqual(users.disabled(), {"dave"})
        self.assertEqual((users.enable("dave"), users.enable("dave")), (True, False))
        self.assertEqual(users.disabled(), frozenset())

    def test_long_names(self) -> None:
        """A name that is longer than an index takes is disabled like any other."""
        migrations.upgrade(self.url)
        users = UserStore(self.url)
        users.disable("x" * 10_000)
        watch = DisabledUsers(lambda: succeed(users.disabled()), Clock())
        self.assertEqual((watch.includes("x" * 10_000), watch.includes("x" * 9_999)), (True, False))


class SQLiteStoreTests(StoreTests, OnSQLite):
    """On SQLite."""


class PostgreSQLStoreTests(StoreTests, OnPostgreSQL):
    """On PostgreSQL."""


del StoreTests

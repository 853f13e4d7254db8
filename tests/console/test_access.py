"""Who may look, and what they see."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.console.accounts import AccountError, Accounts, form_token, is_form_token
from aibridge.console.roles import ADMIN, AUDITOR, VIEWER, Visitor
from aibridge.console.settings import ConsoleSettings
from aibridge.console.visitors import Attempts, TooManyAttempts
from aibridge.identity.key_store import KeyStore
from aibridge.identity.user_store import UserStore
from aibridge.record.console_tables import console_sessions
from aibridge.record.erasure import erase
from aibridge.record.store import Store

from ..record.databases import OnSQLite, rows
from ..record.postgresql import OnPostgreSQL
from .site import WithConsole

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PASSWORD = "correct horse"


class KeyTests(WithConsole, OnSQLite):
    """Keys for the API."""

    settings = ConsoleSettings(auth="password")

    async def ask_with(self, key: str, path: str) -> int:
        status, _ = await self.ask(path, headers={"Authorization": [f"Bearer {key}"]})
        return status

    async def test_roles(self) -> None:
        """A viewer's key shows figures, an auditor's content too, an administrator's keys as well."""
        store = KeyStore(self.url)
        viewer, auditor, admin = (store.create("robot", {}, None, role) for role in (VIEWER, AUDITOR, ADMIN))
        for path, expected in (("overview", [200, 200, 200]), ("prompts", [403, 200, 200]), ("keys", [403, 403, 200])):
            self.assertEqual([await self.ask_with(key, path) for key in (viewer, auditor, admin)], expected, path)

    async def test_viewer_sees_no_content(self) -> None:
        """A viewer finds no word of a prompt, an argument or a thought, in any answer."""
        at = datetime.now(UTC) - timedelta(minutes=1)
        of = self.exchange(at, client_session_id="s1", prompt="secret-1", calls={"Bash": "t1"}, thoughts=["secret-2"])
        key = KeyStore(self.url).create("robot", {}, None, VIEWER)
        for path in ("sessions", "sessions/s1", f"interceptions/{of}"):
            status, answer = await self.ask(path, headers={"X-AIBridge-Key": [key]})
            self.assertEqual(status, 200)
            for text in ("secret", "question"):
                self.assertNotIn(text, repr(answer))
        self.assertEqual(self.audited(), [])

    async def test_refused(self) -> None:
        """Nobody, an unknown key, a revoked one and one of the gateway itself are refused."""
        store = KeyStore(self.url)
        gateway = store.create("alice", {})
        revoked = store.create("robot", {}, None, ADMIN)
        store.revoke(next(key.id for key in store.all() if key.console_role))
        self.assertEqual((await self.ask("overview"))[0], 401)
        unknown = "aib_" + 43 * "x"
        self.assertEqual([await self.ask_with(key, "overview") for key in (unknown, revoked, gateway)], [401, 401, 403])


class ProxyTests(WithConsole, OnSQLite):
    """Mode ``header``."""

    async def test_roles(self) -> None:
        """The table gives roles by name, and one for everybody else; without one the visitor is refused."""
        settings = ConsoleSettings(
            auth="header", header="X-User", trusted_proxies=("0.0.0.0/0",), roles={"ann": "admin", "*": "viewer"}
        )
        self.start(settings)
        for name, status in (("ann", 200), ("bob", 403)):
            self.assertEqual((await self.ask("keys", headers={"X-User": [name]}))[0], status)
        self.assertEqual((await self.ask("overview", headers={"X-User": ["bob"]}))[0], 200)
        self.assertEqual((await self.ask("overview"))[0], 401)
        self.start(
            ConsoleSettings(auth="header", header="X-User", trusted_proxies=("0.0.0.0/0",), roles={"a": "admin"})
        )
        self.assertEqual((await self.ask("overview", headers={"X-User": ["bob"]}))[0], 403)


class AccountTests(WithConsole):
    """Users and sessions, on each database."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts = Accounts(self.url)

    def test_sign_in(self) -> None:
        """The right password begins a session of twelve hours, which has the user's role until they sign out."""
        self.accounts.add("ann", AUDITOR, PASSWORD, NOW)
        session = self.accounts.sign_in("ann", PASSWORD, NOW)
        assert session is not None
        self.assertEqual(self.accounts.find(session.secret, NOW + timedelta(hours=11)), session)
        self.assertEqual(session.role, AUDITOR)
        self.assertIsNone(self.accounts.find(session.secret, NOW + timedelta(hours=12)))
        self.accounts.sign_out(session.secret)
        self.assertIsNone(self.accounts.find(session.secret, NOW))

    def test_wrong(self) -> None:
        """A wrong password, a wrong name and a made-up session are nobody's."""
        self.accounts.add("ann", AUDITOR, PASSWORD, NOW)
        self.assertIsNone(self.accounts.sign_in("ann", "wrong horse", NOW))
        self.assertIsNone(self.accounts.sign_in("bob", PASSWORD, NOW))
        self.assertIsNone(self.accounts.find("made up \ud800", NOW))

    def test_users(self) -> None:
        """Users are listed by name; a second one of a name, and a short password, are refused."""
        self.accounts.add("bob", VIEWER, PASSWORD, NOW)
        self.accounts.add("ann", ADMIN, PASSWORD, NOW)
        self.assertEqual([(each.name, each.role) for each in self.accounts.all()], [("ann", ADMIN), ("bob", VIEWER)])
        self.assertRaises(AccountError, self.accounts.add, "ann", VIEWER, PASSWORD, NOW)
        self.assertRaises(AccountError, self.accounts.add, "eve", VIEWER, "short", NOW)

    def test_removed(self) -> None:
        """A user who is removed is signed out."""
        self.accounts.add("ann", ADMIN, PASSWORD, NOW)
        session = self.accounts.sign_in("ann", PASSWORD, NOW)
        assert session is not None
        self.assertTrue(self.accounts.remove("ann"))
        self.assertIsNone(self.accounts.find(session.secret, NOW))
        self.assertFalse(self.accounts.remove("ann"))

    def test_own_key(self) -> None:
        """A gateway key begins a session of its actor's own; a key of the console, or a revoked one, does not."""
        store = KeyStore(self.url)
        session = self.accounts.sign_in_with_key(store.create("alice", {}), NOW)
        assert session is not None
        self.assertEqual((session.name, session.role), ("alice", "self"))
        self.assertEqual(self.accounts.find(session.secret, NOW), session)
        self.assertIsNone(self.accounts.sign_in_with_key(store.create("robot", {}, None, ADMIN), NOW))
        store.revoke(store.all()[0].id)
        visitor = Visitor(name="alice", role="self", origin="", way="password")
        self.assertFalse(visitor.may(VIEWER))

    def test_own_session_ends(self) -> None:
        """A session from a gateway key ends with its actor's last valid key, and while the actor is disabled."""
        store, users = KeyStore(self.url), UserStore(self.url)
        key = store.create("alice", {})
        store.create("alice", {})
        store.create("alice", {}, None, VIEWER)
        session = self.accounts.sign_in_with_key(key, NOW)
        assert session is not None
        first, second = (stored.id for stored in store.all() if stored.console_role is None)
        store.revoke(second)
        self.assertEqual(self.accounts.find(session.secret, NOW), session)
        users.disable("alice")
        self.assertIsNone(self.accounts.find(session.secret, NOW))
        self.assertIsNone(self.accounts.sign_in_with_key(key, NOW))
        users.enable("alice")
        self.assertEqual(self.accounts.find(session.secret, NOW), session)
        store.revoke(first)
        self.assertIsNone(self.accounts.find(session.secret, NOW))

    def test_own_session_of_the_forgotten(self) -> None:
        """Who is forgotten has no session, and gets none with a new key while still disabled under the hidden name."""
        store = KeyStore(self.url)
        session = self.accounts.sign_in_with_key(store.create("alice", {}), NOW)
        assert session is not None
        UserStore(self.url).disable("alice")
        with closing(Store(self.url)) as records:
            records.open()
            for _ in erase(records, "alice", None):
                pass
        self.assertEqual(rows(self.url, console_sessions), [])
        self.assertIsNone(self.accounts.find(session.secret, NOW))
        self.assertIsNone(self.accounts.sign_in_with_key(store.create("alice", {}), NOW))

    async def test_cookie(self) -> None:
        """The session's cookie signs in."""
        self.start(ConsoleSettings(auth="password"))
        self.accounts.add("ann", VIEWER, PASSWORD, NOW)
        session = self.accounts.sign_in("ann", PASSWORD, datetime.now(UTC))
        assert session is not None
        status, _ = await self.ask("overview", headers={"Cookie": [f"aibridge_session={session.secret}"]})
        self.assertEqual(status, 200)
        status, _ = await self.ask("overview", headers={"Cookie": ["aibridge_session=made-up"]})
        self.assertEqual(status, 401)


class SQLiteAccountTests(AccountTests, OnSQLite):
    """On SQLite."""


class PostgreSQLAccountTests(AccountTests, OnPostgreSQL):
    """On PostgreSQL."""


class AttemptTests(SynchronousTestCase):
    """Wrong passwords."""

    def test_five(self) -> None:
        """After five within a minute no further one is tried; a minute later it is."""
        clock = Clock()
        attempts = Attempts(clock.seconds)
        for _ in range(5):
            attempts.check(["name ann"])
            attempts.add(["name ann"])
            clock.advance(1)
        error = self.assertRaises(TooManyAttempts, attempts.check, ["address 1.2.3.4", "name ann"])
        self.assertEqual(error.retry_after, 55)
        attempts.check(["name bob"])
        clock.advance(56)
        attempts.check(["name ann"])

    def test_form_token(self) -> None:
        """A session's forms have a token that belongs to no other session."""
        self.assertTrue(is_form_token("a", form_token("a")))
        self.assertFalse(is_form_token("a", form_token("b")))
        self.assertFalse(is_form_token("a", "\ud800"))


del AccountTests

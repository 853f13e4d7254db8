"""Mode ``keys``: keys, their storage, and the time until a change takes effect."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from aibridge import Actor, KeyAuthenticator
from aibridge.errors import RecordingError, Unauthorized, Unavailable
from aibridge.identity import key_store
from aibridge.identity.key_store import KeyCache, KeyStore, StoredKey, digest, is_key
from aibridge.record import migrations, schema

from ..record.databases import OnSQLite, rows
from .requests import left, request

LIMIT = 5.0
"""Seconds after which every change must have taken effect."""


class StoreTests(OnSQLite):
    """Keys in a database."""

    def setUp(self) -> None:
        super().setUp()
        migrations.upgrade(self.url)
        self.store = KeyStore(self.url)

    def test_what_is_kept(self) -> None:
        """Of a new key its hash, a hint and whose it is; nobody finds the key in any file."""
        key = self.store.create("alice", {"team": "core"}, timedelta(days=1))
        self.assertTrue(is_key(key.encode()))
        [row] = rows(self.url, schema.keys)
        self.assertEqual(
            (row["hash"], row["actor"], row["metadata"]), (digest(key.encode()), "alice", {"team": "core"})
        )
        self.assertEqual(row["hint"], f"aib_...{key[-2:]}")
        self.assertEqual(row["expires_at"] - row["created_at"], timedelta(days=1))
        for path in Path(self.path).parent.glob(f"{Path(self.path).name}*"):
            self.assertNotIn(key[4:].encode(), path.read_bytes())

    def test_all_differ(self) -> None:
        """No two keys are alike, and the list has them in their order."""
        made = [self.store.create(f"a{number}", {}) for number in range(5)]
        self.assertEqual(len(set(made)), 5)
        self.assertEqual([key.actor for key in self.store.all()], ["a0", "a1", "a2", "a3", "a4"])

    def test_find(self) -> None:
        """Several are found at once, as far as they are there."""
        hashes = [digest(self.store.create(name, {}).encode()) for name in ("a", "b")]
        found = self.store.find([*hashes, digest(b"other")])
        self.assertEqual({digest: key.actor for digest, key in found.items()}, dict(zip(hashes, "ab", strict=True)))

    def test_revoke(self) -> None:
        """A revoked key stays in the list with the time of its first end; there is nothing to revoke without a key."""
        self.store.create("alice", {})
        [key] = self.store.all()
        self.assertTrue(self.store.revoke(key.id))
        [revoked] = self.store.all()
        self.assertIsNotNone(revoked.revoked_at)
        self.assertTrue(self.store.revoke(key.id))
        self.assertEqual(self.store.all(), [revoked])
        self.assertFalse(self.store.revoke(uuid4()))

    def test_out_of_reach(self) -> None:
        """A database that is not there is told by its name."""
        store = KeyStore("sqlite:////nowhere/x.sqlite")
        for call in (store.all, lambda: store.find(["x"]), lambda: store.create("a", {})):
            self.assertIn("/nowhere/x.sqlite", str(self.assertRaises(RecordingError, call)))

    def test_reading_does_not_wait(self) -> None:
        """While another process writes, keys are found all the same."""
        engine = key_writer(self.url)
        with engine.begin():
            self.assertEqual(self.store.find(["x"]), {})
        engine.dispose()


def key_writer(url: str) -> Any:
    """An engine that locks the database as its writer does."""
    from aibridge.record.database import open_engine

    return open_engine(url)


def stored(text: str = "key", **changed: Any) -> StoredKey:
    """A key of alice's."""
    made = StoredKey(
        id=UUID(int=1), hash=text, hint="", actor="alice", metadata={}, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return evolve(made, **changed)


class OpenTests(SynchronousTestCase):
    """The time for which a key is valid."""

    def test_times(self) -> None:
        """A key is good until it expires, and until it is revoked."""
        now = datetime(2026, 6, 1, tzinfo=UTC)
        self.assertIsNone(stored().ended(now))
        self.assertIsNone(stored(expires_at=now + timedelta(seconds=1)).ended(now))
        self.assertEqual(stored(expires_at=now).ended(now), "expired")
        self.assertEqual(stored(revoked_at=now).ended(now), "revoked")


class CacheTests(SynchronousTestCase):
    """The results that are kept, and the time while the database is away."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = {"key": stored()}
        self.queries: list[list[str]] = []
        self.held: list[Deferred[Any]] | None = None
        self.failing = False
        self.cache = KeyCache(self.query, self.clock, grace=1000.0)

    def query(self, hashes: Sequence[str]) -> "Deferred[Any]":
        """A query, in place of the database's."""
        self.queries.append([*hashes])
        if self.failing:
            return fail(RecordingError("database away"))
        found = {each: self.table[each] for each in hashes if each in self.table}
        if self.held is None:
            return maybeDeferred(lambda: found)
        answer: Deferred[Any] = Deferred()
        self.held.append(answer)
        return answer.addCallback(lambda _: found)

    def find(self, digest: str = "key") -> Any:
        """The key that is found at once; fails if that takes time."""
        return self.successResultOf(maybeDeferred(self.cache.find, digest))

    def test_within_five_seconds(self) -> None:
        """A key that ends, or begins, does so within five seconds, however often it is asked for."""
        for before, after in ((stored(), None), (None, stored()), (stored(), stored(revoked_at=datetime.now(UTC)))):
            for step in (0.01, 0.5, 1.9, 2.1, 3.9, 4.1, 4.9):
                self.setUp()
                self.table = {"key": before} if before else {}
                self.assertEqual(self.find(), before)
                self.table = {"key": after} if after else {}
                while self.clock.seconds() + step < LIMIT:
                    self.clock.advance(step)
                    self.find()
                self.clock.advance(LIMIT - self.clock.seconds())
                self.assertEqual(self.find(), after, step)

    def test_one_question_for_many(self) -> None:
        """A thousand requests with one key are one query."""
        self.held = []
        waiting = [maybeDeferred(self.cache.find, "key") for _ in range(1000)]
        self.held[0].callback(None)
        self.assertEqual([self.successResultOf(each) for each in waiting], [stored()] * 1000)
        self.assertEqual(self.queries, [["key"]])

    def test_one_query_at_a_time(self) -> None:
        """Hashes that are requested while a query runs share the next query."""
        self.held = []
        waiting = [maybeDeferred(self.cache.find, name) for name in ("key", "a", "b", "a")]
        self.assertEqual(self.queries, [["key"]])
        self.held[0].callback(None)
        self.held[1].callback(None)
        self.assertEqual(self.queries, [["key"], ["a", "b"]])
        self.assertEqual([self.successResultOf(each) for each in waiting], [stored(), None, None, None])

    def test_who_asks_often_never_waits(self) -> None:
        """A key that is in use is looked up again before what is known of it is too old."""
        self.find()
        self.held = []
        self.clock.advance(3)
        for _ in range(100):
            self.assertEqual(self.find(), stored())
        self.assertEqual(len(self.queries), 2)
        self.held[0].callback(None)
        self.clock.advance(1.9)
        self.assertEqual((self.find(), len(self.queries)), (stored(), 2))

    def test_database_away(self) -> None:
        """A key that was good goes on for its time, without waiting; of others nothing can be said."""
        self.find()
        self.find("unknown")
        self.failing = True
        for _ in range(90):
            self.clock.advance(10)
            self.assertEqual(self.find(), stored())
        for name in ("unknown", "new"):
            self.failureResultOf(self.cache.find(name), Unavailable)
        self.clock.advance(101)
        self.failureResultOf(self.cache.find("key"), Unavailable)

    def test_check(self) -> None:
        """Keys can be checked while the database can be read, or a key is known that is still in its grace."""
        check = self.cache.check
        self.failing = True
        self.failureResultOf(check(), Unavailable)
        self.clock.advance(10)
        self.failing = False
        self.assertEqual(self.successResultOf(check()), "the keys' database can be read")
        self.failing = True
        self.failureResultOf(self.cache.find("unknown"), Unavailable)
        self.failureResultOf(check(), Unavailable)  # whatever the last check said, a moment ago
        self.failing = False
        self.find()
        self.clock.advance(10)
        self.failing = True
        self.assertIn("away", self.successResultOf(check()))
        self.clock.advance(1001)
        self.failureResultOf(check(), Unavailable)

    def test_database_back(self) -> None:
        """A key that was revoked meanwhile ends with the first query that succeeds."""
        self.find()
        self.failing = True
        self.clock.advance(10)
        self.find()
        self.failing, self.table = False, {}
        self.find()
        self.assertIsNone(self.find())

    def test_database_silent(self) -> None:
        """A query that never ends keeps nobody waiting for ever; a known key waits once, then it doesn't."""
        self.find()
        self.clock.advance(10)
        self.held = []
        waiting = self.cache.find("key")
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(waiting), stored())
        self.assertEqual(self.find(), stored())
        unknown = self.cache.find("new")
        self.clock.advance(3)
        self.failureResultOf(unknown, Unavailable)
        self.held[0].callback(None)
        self.held[1].callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounded(self) -> None:
        """Keys that someone makes up take a bounded place, and not that of the true ones."""
        self.patch(key_store, "_MOST_KEPT", 50)
        self.cache = KeyCache(self.query, self.clock)
        self.find()
        for number in range(500):
            self.find(str(number))
        self.assertEqual((len(self.cache._unknown), len(self.cache._known)), (50, 1))
        self.held = []
        waiting = [self.cache.find(f"new-{number}") for number in range(52)]
        self.failureResultOf(waiting.pop(), Unavailable)
        self.clock.advance(3)
        for each in waiting:
            self.failureResultOf(each, Unavailable)


class AuthenticatorTests(OnSQLite, TestCase):
    """The whole, on a database and the reactor's threads."""

    timeout = 20

    def setUp(self) -> None:
        super().setUp()
        migrations.upgrade(self.url)
        self.store = KeyStore(self.url)
        self.authenticator = KeyAuthenticator(self.url, reactor=reactor)

    async def ask(self, made: Any) -> Any:
        """The actor of the request."""
        return await maybeDeferred(self.authenticator.authenticate, made)

    async def test_good(self) -> None:
        """A key's actor, with its metadata; the key is gone from the headers, the rest is not."""
        key = self.store.create("alice", {"team": "core"}, timedelta(hours=1))
        made = request(("Authorization", f"Bearer {key}"), ("x-api-key", "own"))
        self.assertEqual(await self.ask(made), Actor("alice", {"team": "core"}))
        self.assertEqual(left(made), {b"x-api-key": [b"own"]})

    async def test_at_once(self) -> None:
        """The second time there is nothing to wait for."""
        key = self.store.create("alice", {})
        await self.ask(request(("x-api-key", key)))
        self.assertEqual(self.authenticator.authenticate(request(("x-api-key", key))), Actor("alice"))

    async def test_many(self) -> None:
        """Keys that are requested at the same time each have their own actor."""
        keys = [self.store.create(f"a{number}", {}) for number in range(20)]
        asked = [maybeDeferred(self.authenticator.authenticate, request(("x-api-key", key))) for key in keys * 5]
        actors = await gatherResults(asked)
        self.assertEqual([actor.id for actor in actors], [f"a{number}" for number in range(20)] * 5)

    async def test_bad(self) -> None:
        """No key, one that looks like none, one that never was, one that is over, and one that was revoked: nobody."""
        gone = self.store.create("alice", {})
        self.store.revoke(self.store.all()[0].id)
        over = self.store.create("alice", {}, timedelta(microseconds=1))
        good = self.store.create("alice", {})
        for value in (
            "",
            "sk-own",
            "aib_",
            "aib_x",
            "aib_" + "A" * 43,
            gone,
            over,
            good + "x",
            good[:-1],
            good.upper(),
        ):
            with self.assertRaises(Unauthorized):
                await self.ask(request(("x-api-key", value)))
        with self.assertRaises(Unauthorized):
            await self.ask(request())

    async def test_no_database(self) -> None:
        """While the database is away, the response is 503, not that the key is wrong."""
        self.authenticator = KeyAuthenticator("sqlite:////nowhere/x.sqlite", reactor=reactor)
        with self.assertRaises(Unavailable):
            await self.ask(request(("x-api-key", "aib_" + "A" * 43)))
        with self.assertRaises(Unauthorized):
            await self.ask(request(("x-api-key", "sk-own")))

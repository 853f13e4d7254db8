"""Threads and connections for questions."""

from collections.abc import Callable
from threading import Event
from typing import Any, Protocol

from sqlalchemy import Connection, func, select, text
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from aibridge.insight.query_pool import THREADS, QueryFailed, QueryPool, QueryTooSlow
from aibridge.record.database import open_engine
from aibridge.record.schema import token_usages
from aibridge.recorder import SQLRecorder

from ..record.contract import record
from ..record.databases import OnSQLite, rows
from ..record.postgresql import OnPostgreSQL
from ..record.samples import exchange
from .records import WithRecords

SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(100)",
}
COUNT = select(func.count()).select_from(token_usages)


class Gate(Protocol):
    """Holds queries up, within the database, until it is opened."""

    def wait(self, connection: Connection) -> None:
        """Run a query that ends when the gate is opened."""

    def waiting(self) -> int:
        """Return the number of queries that wait."""

    def open(self) -> None:
        """Let all queries go on."""


class FunctionGate:
    """In SQLite: a function of SQL that waits."""

    def __init__(self) -> None:
        self._opened = Event()
        self._waiting: list[bool] = []

    def wait(self, connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.create_function("wait", 0, self._wait)
        connection.execute(text("SELECT wait()"))

    def _wait(self) -> None:
        self._waiting.append(True)
        self._opened.wait(60.0)
        self._waiting.pop()

    def waiting(self) -> int:
        return len(self._waiting)

    def open(self) -> None:
        self._opened.set()


class LockGate:
    """In PostgreSQL: an advisory lock, which another connection has."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._holder = self._engine.connect()
        self._holder.execute(text("SELECT pg_advisory_lock(1)"))

    def wait(self, connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(1)"))

    def waiting(self) -> int:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"
        return int(self._holder.scalar(text(waiting)) or 0)

    def open(self) -> None:
        self._holder.close()  # and its session's locks with it
        self._engine.dispose()


class QueryPoolTests(WithRecords):
    """Tests for every database."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[str] = []
        self.pool = QueryPool(self.url, reactor, timeout=0.2, observe=lambda name, seconds: self.seen.append(name))
        self.addCleanup(self.pool.stop)

    def gate(self) -> "Gate":
        """Return the gate of this database."""
        raise NotImplementedError

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let the reactor run until something is so."""
        for _ in range(1000):
            if is_so():
                return
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.fail("it did not come so far")

    def ask(self, query: str, times: int = 1) -> "Deferred[Any]":
        def question(connection: Connection) -> Any:
            return [connection.scalar(text(query)) for _ in range(times)]

        return self.pool.ask("test", question)

    async def test_answer(self) -> None:
        """A question is answered, more of them than there are threads, and each is observed."""
        self.assertEqual(
            await gatherResults([self.ask(f"SELECT {number}") for number in range(9)]), [[n] for n in range(9)]
        )
        self.assertEqual(self.seen, ["test"] * 9)

    async def test_slow(self) -> None:
        """A slow query is ended; the connection serves the next one."""
        for _ in range(5):
            await self.assertFailure(self.ask(SLOW[self.url.partition("+")[0].partition(":")[0]]), QueryTooSlow)
        self.assertEqual(await self.ask("SELECT 1"), [1])

    async def test_read_only(self) -> None:
        """Nothing can be changed."""
        error = await self.assertFailure(self.ask("DELETE FROM aibridge_keys"), QueryFailed)
        self.assertNotIn("DELETE", str(error))

    async def test_commits_go_on(self) -> None:
        """While queries hold all threads, each within its transaction, exchanges are recorded; then they are answered.

        They see the database as it was when they began. The reactor goes on, or nothing would be recorded.
        """
        recorder = SQLRecorder(self.url)
        self.addCleanup(recorder.stopService)
        await recorder.startService()
        pool = QueryPool(self.url, reactor, timeout=60.0)
        self.addCleanup(pool.stop)
        gate = self.gate()
        self.addCleanup(gate.open)  # before the pool stops, even if the test fails

        def question(connection: Connection) -> Any:
            before = connection.scalar(COUNT)
            gate.wait(connection)
            return before, connection.scalar(COUNT)

        asked = [pool.ask("slow", question) for _ in range(THREADS)]
        await self.until(lambda: gate.waiting() == THREADS)
        for _ in range(20):
            await gatherResults([record(recorder, value) for value in exchange()])
        self.assertEqual(len(rows(self.url, token_usages)), 20)
        self.assertEqual((gate.waiting(), any(each.called for each in asked)), (THREADS, False))
        gate.open()
        self.assertEqual(await gatherResults(asked), [(0, 0)] * THREADS)

    async def test_again(self) -> None:
        """After a stop it can be used again."""
        await self.ask("SELECT 1")
        self.pool.stop()
        self.assertEqual(await self.ask("SELECT 2"), [2])


class SQLiteQueryPoolTests(QueryPoolTests, OnSQLite):
    """On SQLite."""

    def gate(self) -> "Gate":
        return FunctionGate()


class PostgreSQLQueryPoolTests(QueryPoolTests, OnPostgreSQL):
    """On PostgreSQL."""

    def gate(self) -> "Gate":
        return LockGate(self.url)


class NobodyLooksTests(TestCase):
    """Without a question."""

    def test_nothing(self) -> None:
        """There is neither a thread nor a connection, so that a database that does not exist does no harm."""
        QueryPool("sqlite:////does/not/exist", reactor).stop()


del QueryPoolTests

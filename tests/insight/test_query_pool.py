"""Threads and connections for questions."""

from typing import Any

from sqlalchemy import Connection, text
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from aibridge.insight.query_pool import QueryFailed, QueryPool, QueryTooSlow

from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from .records import WithRecords

SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(100)",
}


class QueryPoolTests(WithRecords):
    """Tests for every database."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[str] = []
        self.pool = QueryPool(self.url, reactor, timeout=0.2, observe=lambda name, seconds: self.seen.append(name))
        self.addCleanup(self.pool.stop)

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

    async def test_again(self) -> None:
        """After a stop it can be used again."""
        await self.ask("SELECT 1")
        self.pool.stop()
        self.assertEqual(await self.ask("SELECT 2"), [2])


class SQLiteQueryPoolTests(QueryPoolTests, OnSQLite):
    """On SQLite."""


class PostgreSQLQueryPoolTests(QueryPoolTests, OnPostgreSQL):
    """On PostgreSQL."""


class NobodyLooksTests(TestCase):
    """Without a question."""

    def test_nothing(self) -> None:
        """There is neither a thread nor a connection, so that a database that does not exist does no harm."""
        QueryPool("sqlite:////does/not/exist", reactor).stop()


del QueryPoolTests

"""Questions whose answers come from roll-ups and from rows that are not rolled up yet, on each database."""

from datetime import timedelta
from typing import Any

from aibridge.insight.filters import Filter
from aibridge.insight.sessions import session, sessions
from aibridge.insight.tools import tools
from aibridge.insight.usage import overview, people, usage
from aibridge.record.retention import purge
from aibridge.record.rollups import Rollups
from aibridge.record.values import utc_now

from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from .records import USD, WithRecords

HOUR = timedelta(hours=1)


class RolledUpTests(WithRecords):
    """Tests for every database."""

    def setUp(self) -> None:
        super().setUp()
        self.now = utc_now()
        self.hour = self.now.replace(minute=0, second=0, microsecond=0)
        self.fill()

    def fill(self) -> None:
        """Write exchanges over two days, with a roll-up before the last of them."""
        for hours in (1, 2, 3, 24, 30, 47):
            at = self.hour - hours * HOUR + timedelta(minutes=30)
            given: dict[str, Any] = {"client_session_id": f"s{hours % 3}", "calls": {"Bash": f"t{hours}"}}
            self.exchange(at, initiator_id=("alice", "bob")[hours % 2], cost=hours * USD, prompt=f"p{hours}", **given)
        rollups = Rollups(self.url)
        list(rollups.run())
        rollups.close()
        self.exchange(utc_now(), client_session_id="s1", initiator_id="alice", cost=100 * USD, injected={"ask": None})
        self.exchange(utc_now(), client_session_id="new", initiator_id="carol", cost=USD)

    def answers(self, filter_: Filter) -> list[Any]:
        """Return what a filter's questions are answered."""
        connection = self.connect()
        return [
            usage(connection, filter_, ("hour", "actor"), self.now),
            overview(connection, filter_, self.now),
            people(connection, filter_, self.now),
            tools(connection, filter_, self.now),
            sessions(connection, filter_),
        ]

    def test_same(self) -> None:
        """Every answer is that of the rows themselves, whatever the span, the filter and the page."""
        since, until = self.hour - 30 * HOUR + timedelta(minutes=10), self.hour - 2 * HOUR + timedelta(minutes=40)
        filters = [
            Filter(),
            Filter(actor="alice"),
            Filter(team="core", client="Claude Code", provider="anthropic", model="claude-sonnet-4-5"),
            Filter(team=""),
            Filter(tool="Bash"),
            Filter(status="completed"),
            Filter(since=since),
            Filter(until=until),
            Filter(since=since, until=until),
            Filter(since=self.hour, until=None),
            Filter(since=until, until=until + timedelta(minutes=5)),
            Filter(min_cost=10 * USD),
        ]
        rolled_up = [self.answers(each) for each in filters]
        with self.store.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM aibridge_rollup_state")
            for table in ("usage_hourly", "tools_hourly", "sessions"):
                connection.exec_driver_sql(f"DELETE FROM aibridge_{table}")
        for each, found in zip(filters, rolled_up, strict=True):
            for answer, expected in zip(found, self.answers(each), strict=True):
                self.assertEqual(answer, expected, each)

    def test_session_pages(self) -> None:
        """Sessions are paged over those that are rolled up and those that are not."""
        seen, cursor = [], None
        for _ in range(4):
            page = sessions(self.connect(), Filter(limit=1, cursor=cursor))
            seen += [(row.client_session_id, row.actor) for row in page.rows]
            last = page.rows[-1]
            cursor = (last.last_at, last.id)
            if not page.has_more:
                break
        self.assertEqual(len(seen), len({*seen}))
        whole = sessions(self.connect(), Filter())
        self.assertEqual(seen, [(row.client_session_id, row.actor) for row in whole.rows][: len(seen)])
        self.assertEqual({*seen[:2]}, {("new", "carol"), ("s1", "alice")})

    def test_without_rows(self) -> None:
        """Figures stay where the rows are purged; a session without interceptions still has its own."""
        before = overview(self.connect(), Filter(), self.now).last_30_days
        for _ in purge(self.store, self.hour - 20 * HOUR):
            pass
        self.assertEqual(overview(self.connect(), Filter(), self.now).last_30_days, before)
        row = sessions(self.connect(), Filter(actor="bob", until=self.hour - 20 * HOUR)).rows[-1]
        found = session(self.connect(), str(row.id), Filter())
        assert found is not None
        self.assertEqual((found.session.id, found.session.first_prompt), (row.id, None))


class SQLiteRolledUpTests(RolledUpTests, OnSQLite):
    """On SQLite."""


class PostgreSQLRolledUpTests(RolledUpTests, OnPostgreSQL):
    """On PostgreSQL."""


del RolledUpTests

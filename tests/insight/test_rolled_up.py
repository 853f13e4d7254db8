"""Questions whose answers come from roll-ups and from rows that are not rolled up yet, on each database."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from attrs import evolve

from aibridge.insight import spans
from aibridge.insight.contents import prompts
from aibridge.insight.cursors import parse_cursor
from aibridge.insight.filters import Filter
from aibridge.insight.interceptions import interceptions
from aibridge.insight.sessions import session, sessions
from aibridge.insight.tools import tools
from aibridge.insight.usage import overview, people, usage
from aibridge.record.retention import purge
from aibridge.record.rollup_changes import mark_interceptions
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
        self.connection = self.connect().execution_options(isolation_level="AUTOCOMMIT")

    def fill(self) -> None:
        """Write exchanges over two days, with a roll-up before the last of them."""
        for hours in (1, 2, 3, 24, 30, 47, 99, 199):
            at = self.hour - hours * HOUR + timedelta(minutes=30)
            given: dict[str, Any] = {"client_session_id": f"s{hours % 3}", "calls": {"Bash": f"t{hours}"}}
            if hours in (30, 99):
                given |= {"status": "failed", "model": "rare", "calls": {"Read": f"t{hours}"}, "client": "Codex"}
            self.exchange(at, initiator_id=("alice", "bob")[hours % 2], cost=hours * USD, prompt=f"p{hours}", **given)
        rollups = Rollups(self.url)
        list(rollups.run())
        rollups.close()
        self.exchange(utc_now(), client_session_id="s1", initiator_id="alice", cost=100 * USD, injected={"ask": None})
        self.exchange(utc_now(), client_session_id="new", initiator_id="carol", cost=USD)

    def answers(self, filter_: Filter) -> list[Any]:
        """Return what a filter's questions are answered."""
        connection = self.connection
        return [
            usage(connection, filter_, ("hour", "actor"), self.now),
            overview(connection, filter_, self.now),
            people(connection, filter_, self.now),
            tools(connection, filter_, self.now),
            sessions(connection, filter_),
            prompts(connection, filter_, content=True),
            [*self.pages(filter_)],
        ]

    def pages(self, filter_: Filter) -> Iterator[UUID]:
        """Yield the ids of interceptions, page by page."""
        page = interceptions(self.connection, evolve(filter_, limit=1))
        yield from (row.id for row in page.rows)
        while page.next_cursor is not None:
            page = interceptions(self.connection, evolve(filter_, limit=2, cursor=parse_cursor(page.next_cursor)))
            yield from (row.id for row in page.rows)

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
            *self.rare(),
            evolve(self.rare()[0], since=since, until=until),
        ]
        rolled_up = [self.answers(each) for each in filters]
        with self.store.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM aibridge_rollup_state")
            for table in ("usage_hourly", "tools_hourly", "usage_daily", "people_daily", "tools_daily", "sessions"):
                connection.exec_driver_sql(f"DELETE FROM aibridge_{table}")
        for each, found in zip(filters, rolled_up, strict=True):
            for answer, expected in zip(found, self.answers(each), strict=True):
                self.assertEqual(answer, expected, each)

    def rare(self) -> list[Filter]:
        """Return filters of what is seldom, or never, there."""
        return [
            Filter(status="failed"),
            Filter(status="interrupted"),
            Filter(status="in_progress"),
            Filter(model="rare"),
            Filter(model="rare", status="completed"),
            Filter(actor="bob", model="rare"),
            Filter(actor="bob"),
            Filter(actor="nobody"),
            Filter(client="Codex", min_cost=50 * USD),
            Filter(min_cost=101 * USD),
            Filter(tool="Read"),
            Filter(tool="ask"),
            Filter(tool="Read", status="completed"),
            Filter(team="core", provider="elsewhere"),
        ]

    def test_many_hours(self) -> None:
        """With more hours than can be looked at one by one the rest is looked at as a whole."""
        expected = [self.answers(each) for each in self.rare()]
        self.patch(spans, "MOST_SPANS", 1)
        self.assertEqual([self.answers(each) for each in self.rare()], expected)

    def test_late_and_gone(self) -> None:
        """Lists have late interceptions before they are rolled up, and those that are older than the kept figures."""
        late = self.exchange(self.hour - 50 * HOUR, model="rare", client_session_id="late", prompt="late")
        with self.store.transaction() as connection:
            mark_interceptions(connection, [late])
        rare = Filter(model="rare")
        found = [*self.pages(rare)]
        self.assertEqual((len(found), late in found), (3, True))
        self.assertEqual(prompts(self.connection, rare, content=True).rows[1].prompt, "late")
        rollups = Rollups(self.url)
        self.addCleanup(rollups.close)
        list(rollups.run(take_over=True))
        listed = [row.client_session_id for row in sessions(self.connection, rare).rows]
        self.assertEqual(listed, ["s0", "late", "s0"])
        rollups.delete_before(self.hour - 40 * HOUR)
        self.assertEqual([*self.pages(rare)], found)
        list(rollups.run())
        self.assertEqual([*self.pages(rare)], found)

    def test_session_pages(self) -> None:
        """Sessions are paged over those that are rolled up and those that are not."""
        seen, cursor = [], None
        for _ in range(4):
            page = sessions(self.connection, Filter(limit=1, cursor=cursor))
            seen += [(row.client_session_id, row.actor) for row in page.rows]
            last = page.rows[-1]
            cursor = (last.last_at, last.id)
            if not page.has_more:
                break
        self.assertEqual(len(seen), len({*seen}))
        whole = sessions(self.connection, Filter())
        self.assertEqual(seen, [(row.client_session_id, row.actor) for row in whole.rows][: len(seen)])
        self.assertEqual({*seen[:2]}, {("new", "carol"), ("s1", "alice")})

    def test_without_rows(self) -> None:
        """Figures stay where the rows are purged; a session without interceptions still has its own."""
        before = overview(self.connection, Filter(), self.now).last_30_days
        for _ in purge(self.store, self.hour - 20 * HOUR):
            pass
        self.assertEqual(overview(self.connection, Filter(), self.now).last_30_days, before)
        row = sessions(self.connection, Filter(actor="bob", until=self.hour - 20 * HOUR)).rows[-1]
        found = session(self.connection, str(row.id), Filter())
        assert found is not None
        self.assertEqual((found.session.id, found.session.first_prompt), (row.id, None))


class SQLiteRolledUpTests(RolledUpTests, OnSQLite):
    """On SQLite."""


class PostgreSQLRolledUpTests(RolledUpTests, OnPostgreSQL):
    """On PostgreSQL."""


del RolledUpTests

"""Roll-ups, on each database."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, Integer, Table, event, select, update
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from aibridge.insight.filters import Filter
from aibridge.insight.usage import usage
from aibridge.record import rollup_keeper, rollups
from aibridge.record.erasure import erase
from aibridge.record.retention import purge
from aibridge.record.rollup_changes import DAY, day_of, mark_changed
from aibridge.record.rollup_keeper import RollupKeeper
from aibridge.record.rollup_tables import (
    DAYS,
    people_daily,
    rollup_marks,
    rollup_state,
    sessions,
    tools_daily,
    tools_hourly,
    usage_daily,
    usage_hourly,
)
from aibridge.record.rollups import LEASE, NotLeading, RolledUp, Rollups
from aibridge.record.schema import processes, token_usages
from aibridge.record.spool import Spool, move_batch
from aibridge.record.store import Store
from aibridge.record.values import utc_now

from ..insight.records import USD, WithRecords
from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL
from .samples import ended, interception, token_usage

HOUR = timedelta(hours=1)


class RollupTests(WithRecords):
    """Tests for every database."""

    def setUp(self) -> None:
        super().setUp()
        self.now = utc_now()
        self.hour = self.now.replace(minute=0, second=0, microsecond=0)
        self.rollups = Rollups(self.url)
        self.addCleanup(self.rollups.close)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        return rows(self.url, table)

    def run_rollups(self, **options: Any) -> list[tuple[str, int]]:
        """Run, and return the kinds of the steps with their totals, those of days apart. Days are what they should be."""
        steps = [(step.kind, step.total) for step in self.rollups.run(**options)]
        self.check_days()
        return [step for step in steps if not step[0].endswith("days")]

    def check_days(self) -> None:
        """Compare the sums of all days that have ended with those of their hours."""
        for days, hours in DAYS:
            sums: Counter[tuple[Any, ...]] = Counter()
            counted = [column.name for column in days.c if isinstance(column.type, Integer)]
            keys = [column.name for column in days.c if column.name not in ("day", *counted)]
            for row in self.rows(hours):
                if day_of(row["hour"]) < day_of(self.now):
                    key = (day_of(row["hour"]), *(row[name] for name in keys))
                    sums.update({(*key, name): row[name] for name in counted})
            made = {
                (row["day"], *(row[key] for key in keys), name): row[name]
                for row in self.rows(days)
                for name in counted
            }
            self.assertEqual(made, {**sums}, days.name)

    def sums(self) -> dict[Any, tuple[int, int]]:
        """Return the requests and the dollars of each hour before this one, in hours."""
        return {
            (self.hour - row["hour"]) // HOUR: (row["requests"], row["cost_nanousd"] // USD)
            for row in self.rows(usage_hourly)
        }

    def test_hours(self) -> None:
        """Interceptions are summed by hour, actor, team, provider, model and client; calls of tools by tool, too."""
        self.exchange(self.hour - 3 * HOUR, cost=2 * USD, injected={"ask": "it broke"}, first_byte_ms=60.0)
        self.exchange(self.hour - 3 * HOUR, cost=3 * USD, status="failed", calls={"Bash": "t1"})
        self.exchange(self.hour - HOUR, cost=None)
        self.assertEqual({*self.run_rollups()}, {("hours", 2)})  # soon after midnight they are of two days: two steps
        self.assertEqual(self.sums(), {3: (2, 5), 1: (1, 0)})
        [row] = [row for row in self.rows(usage_hourly) if row["requests"] == 2]
        dimensions = ("actor", "team", "provider", "model", "client")
        self.assertEqual(
            [row[name] for name in dimensions], ["alice", "core", "anthropic", "claude-sonnet-4-5", "Claude Code"]
        )
        self.assertEqual((row["errors"], row["input_tokens"], row["first_byte_1"], row["first_byte_3"]), (1, 22, 1, 1))
        [unpriced] = [row for row in self.rows(usage_hourly) if row["requests"] == 1]
        self.assertEqual(unpriced["unpriced_tokens"], 26)
        calls = {row["tool"]: (row["calls"], row["errors"], row["duration_0"]) for row in self.rows(tools_hourly)}
        self.assertEqual(calls, {"ask": (1, 1, 1), "Bash": (1, 0, 0)})

    def test_again(self) -> None:
        """A repetition changes nothing, and a rebuild makes the same rows."""
        self.exchange(self.hour - 30 * HOUR, client_session_id="s1", prompt="Hello")
        self.exchange(self.now, client_session_id="s1")
        self.run_rollups()
        tables = (usage_hourly, tools_hourly, usage_daily, people_daily, tools_daily, sessions)
        before = [self.rows(table) for table in tables]
        self.run_rollups()
        self.assertEqual([self.rows(table) for table in tables], before)
        self.assertEqual(sorted({*self.run_rollups(rebuild=True)}), [("hours", 2), ("sessions", 1)])
        self.assertEqual([self.rows(table) for table in tables], before)

    def test_only_what_changed(self) -> None:
        """After a run only the hours in which something began since are made again."""
        for hours in range(1, 5):
            self.exchange(self.hour - hours * HOUR)
        self.assertEqual(self.run_rollups()[0], ("hours", 4))
        self.exchange(utc_now())
        self.assertIn({*self.run_rollups()}, ({("hours", 1)}, {("hours", 2)}))

    def test_long_answer(self) -> None:
        """An interception that was in progress at the last run is counted once it has ended, however old it is."""
        of = uuid4()
        began = self.hour - 5 * HOUR
        self.write(interception(id=of, started_at=began))
        with self.store.transaction() as connection:
            process = {"id": uuid4(), "host": "h", "started_at": began, "seen_at": self.now, "oldest_at": began}
            connection.execute(processes.insert().values(process))
        self.run_rollups()
        self.assertEqual(self.sums(), {5: (1, 0)})
        self.write(token_usage(of, cost_nanousd=USD, created_at=began + HOUR), ended(of, ended_at=utc_now()))
        self.run_rollups()
        self.assertEqual(self.sums(), {5: (1, 1)})

    def test_late_tokens(self) -> None:
        """Tokens that are recorded later, such as those of a response that is fetched, change an older hour."""
        of = self.exchange(self.hour - 5 * HOUR, cost=USD)
        self.run_rollups()
        self.write(token_usage(of, cost_nanousd=USD, created_at=utc_now()))
        self.run_rollups()
        self.assertEqual(self.sums(), {5: (1, 2)})

    def test_spooled(self) -> None:
        """Rows that come from a spool hours later are counted."""
        self.exchange(self.hour - HOUR)
        self.run_rollups()
        encoder, spool = self.store.encoder(None), Spool(Path(self.mktemp()))
        self.addCleanup(spool.close)
        of, began = uuid4(), self.hour - 7 * HOUR
        spool.append(
            [
                encoder(record)
                for record in (
                    interception(id=of, started_at=began),
                    token_usage(of, cost_nanousd=4 * USD, created_at=began),
                    ended(of, ended_at=began),
                )
            ]
        )
        self.assertEqual(move_batch(spool, self.store, encoder), 3)
        self.run_rollups()
        self.assertEqual(self.sums(), {1: (1, 1), 7: (1, 4)})
        self.assertEqual(self.rows(rollup_marks), [])

    def test_repriced(self) -> None:
        """A change of old rows is counted if it leaves a mark."""
        self.exchange(self.hour - 9 * HOUR)
        self.run_rollups()
        with self.store.transaction() as connection:
            connection.execute(update(token_usages).values(cost_nanousd=8 * USD))
            mark_changed(connection, self.hour - 9 * HOUR)
        self.run_rollups()
        self.assertEqual(self.sums(), {9: (1, 8)})

    def test_sessions(self) -> None:
        """A session is made again as a whole when it goes on."""
        self.exchange(self.hour - 5 * HOUR, client_session_id="s1", prompt="Grüße " * 50, calls={"Bash": "t1"})
        self.run_rollups()
        self.exchange(utc_now(), client_session_id="s1", prompt="more", status="failed")
        self.run_rollups()
        [row] = self.rows(sessions)
        counts = ("interceptions", "errors", "prompts", "tool_calls")
        self.assertEqual([row[name] for name in counts], [2, 1, 2, 1])
        self.assertEqual((row["first_at"], row["first_prompt"]), (self.hour - 5 * HOUR, ("Grüße " * 50)[:200]))
        self.assertEqual((row["session"], row["actor"], row["cost_nanousd"]), ("s1", "alice", 2 * USD))

    def test_purged(self) -> None:
        """A purge takes the first prompts along, and leaves the figures, which are never made again of nothing."""
        self.exchange(self.hour - 50 * HOUR, client_session_id="s1", prompt="my words")
        self.exchange(self.hour - 2 * HOUR, client_session_id="s2", prompt="other words")
        self.run_rollups()
        for _ in purge(self.store, self.hour - 10 * HOUR):
            pass
        with self.store.transaction() as connection:
            mark_changed(connection, self.hour - 60 * HOUR)
        self.run_rollups()
        self.run_rollups(rebuild=True)
        self.assertEqual(self.sums(), {50: (1, 1), 2: (1, 1)})
        prompts = {row["session"]: row["first_prompt"] for row in self.rows(sessions)}
        self.assertEqual(prompts, {"s1": None, "s2": "other words"})
        self.rollups.delete_before(self.hour - 10 * HOUR)
        self.assertEqual((self.sums(), len(self.rows(sessions))), ({2: (1, 1)}, 1))
        self.run_rollups()

    def test_deleted_within_a_day(self) -> None:
        """Figures are deleted up to an hour in the midst of a day; the sums of the day are those of the rest."""
        day = day_of(self.now) - 3 * DAY
        for hours in (-20, 1, 5, 9):
            self.exchange(day + hours * HOUR, client_session_id=f"s{hours}")
        self.run_rollups()
        self.patch(rollups, "_DELETED_AT_ONCE", 1)
        self.rollups.delete_before(day + 6 * HOUR)
        self.run_rollups()
        self.assertEqual([row["requests"] for row in self.rows(usage_daily)], [1])
        self.assertEqual([row["session"] for row in self.rows(sessions)], ["s9"])

    def test_purged_meanwhile(self) -> None:
        """A purge that begins while an hour is read leaves the hour's figures as they are."""
        self.exchange(self.hour - 50 * HOUR)
        self.run_rollups()
        with self.store.transaction() as connection:
            mark_changed(connection, self.hour - 60 * HOUR)
        moments = [self.hour - 10 * HOUR]

        def purge_once(statement: str) -> None:
            if statement.startswith("SELECT DISTINCT") and moments:
                list(purge(self.store, moments.pop()))

        self.after_each_statement(purge_once)
        self.run_rollups()
        self.assertEqual((self.sums(), moments), ({50: (1, 1)}, []))

    def test_erased(self) -> None:
        """An erased person's sums and sessions go, or the sums stay under the pseudonym; nothing brings the name back."""
        for name, pseudonym in (("alice", None), ("bob", "p1")):
            self.exchange(self.hour - 2 * HOUR, initiator_id=name, client_session_id=name, prompt="secret")
            self.run_rollups()
            for _ in erase(self.store, name, pseudonym):
                pass
            self.run_rollups(rebuild=True)
        self.assertEqual([row["actor"] for row in self.rows(usage_hourly)], ["p1"])
        self.assertEqual(self.rows(sessions), [])

    def test_erased_from_days(self) -> None:
        """The sums of days are without an erased person, who shares them with others."""
        for name in ("alice", "bob", "carol"):
            self.exchange(self.hour - 50 * HOUR, initiator_id=name, calls={"Bash": name})
        self.run_rollups()
        self.assertEqual([row["requests"] for row in self.rows(usage_daily)], [3])
        for name, pseudonym in (("alice", None), ("bob", "p1")):
            list(erase(self.store, name, pseudonym))
            self.assertNotIn(name, [row["actor"] for row in self.rows(people_daily)])
        self.run_rollups()
        self.assertEqual([row["requests"] for row in self.rows(usage_daily)], [2])
        self.assertEqual([row["calls"] for row in self.rows(tools_daily)], [2])
        self.assertEqual(sorted(row["actor"] for row in self.rows(people_daily)), ["carol", "p1"])

    def test_erased_who_was_alone(self) -> None:
        """Days on which an erased person was alone have no sums any more, between days of others and before them."""
        for days, name in ((2, "bob"), (3, "alice"), (4, "bob"), (5, "alice")):
            self.exchange(self.hour - days * DAY, initiator_id=name, calls={"Bash": name})
        self.run_rollups()
        list(erase(self.store, "alice", None))
        self.run_rollups()
        wanted = Filter(since=self.hour - 9 * DAY)
        with self.store.transaction() as connection:
            by_day = usage(connection, wanted, ("day",), self.now).rows
        self.assertEqual([row.day for row in by_day], [day_of(self.hour - days * DAY) for days in (2, 4)])

    def test_erased_meanwhile(self) -> None:
        """A run that has read a person's sums, who is erased before they are written, begins again."""
        self.exchange(self.hour - 2 * HOUR, initiator_id="alice")
        names = ["alice"]

        def erase_once(statement: str) -> None:
            if "FROM aibridge_tool_usages" in statement and names:
                list(erase(self.store, names.pop(), None))

        self.after_each_statement(erase_once)
        self.assertRaises(NotLeading, list, self.rollups.run())
        self.run_rollups()
        self.assertEqual(self.rows(usage_hourly), [])

    def test_commits_while_reading(self) -> None:
        """Sums are read outside of any transaction that would hold up a commit."""
        self.exchange(self.hour - 26 * HOUR, client_session_id="s1")
        other = Store(self.url, lock_timeout=0.1)
        self.addCleanup(other.close)
        encoder, read = other.encoder(None), ""

        def commit(statement: str) -> None:
            nonlocal read
            if statement.startswith("SELECT") and "aibridge_rollup_state" not in statement:
                self.assertEqual(other.commit([encoder(interception())]), {})
                read += statement

        self.after_each_statement(commit)
        list(self.rollups.run())
        for table in ("interceptions", "tool_usages", "usage_hourly", "user_prompts"):
            self.assertIn(f"aibridge_{table}", read)

    def after_each_statement(self, call: Callable[[str], None]) -> None:
        """Have something done after each statement, before its transaction ends."""

        def called(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
            call(statement)

        event.listen(Engine, "after_cursor_execute", called)
        self.addCleanup(event.remove, Engine, "after_cursor_execute", called)

    def test_day_ends(self) -> None:
        """The sums of a day are made when it has ended, even if nothing happens then."""
        midnight = day_of(self.now)
        self.exchange(midnight - 5 * HOUR)
        for at, made in ((midnight - HOUR, 0), (midnight, 1)):
            self.patch(rollups, "utc_now", lambda at=at: at)
            list(self.rollups.run())
            self.assertEqual(len(self.rows(usage_daily)), made)
        self.check_days()

    def test_older_days(self) -> None:
        """Days whose hours are older than the tables of days are made one by one, and go on after a break."""
        for days in (1, 2, 5):
            self.exchange(self.hour - days * DAY)
        self.run_rollups()
        with self.store.transaction() as connection:
            connection.execute(update(rollup_state).values(days_since=None))
            for table, _ in DAYS:
                connection.execute(table.delete())
        steps = (step for step in self.rollups.run() if step.kind == "older days")
        self.assertEqual(next(steps), RolledUp(kind="older days", number=1, total=5))
        self.assertEqual([row["day"] for row in self.rows(usage_daily)], [day_of(self.now) - DAY])
        steps.close()
        steps = (step for step in self.rollups.run() if step.kind == "older days")
        self.assertEqual([(step.number, step.total) for step in steps], [(1, 4), (4, 4)])
        self.check_days()

    def test_leader(self) -> None:
        """While one process keeps the roll-ups another does nothing; it follows when the first has gone, or at once
        where that is asked for."""
        other = Rollups(self.url)
        self.addCleanup(other.close)
        self.run_rollups()
        self.assertRaises(NotLeading, list, other.run())
        list(other.run(take_over=True))
        self.assertRaises(NotLeading, self.run_rollups)
        with self.store.transaction() as connection:
            connection.execute(update(rollup_state).values(leads_until=self.now - LEASE))
        self.run_rollups()

    def test_lost_lead(self) -> None:
        """A leader that was paused for too long writes no more."""
        self.exchange(self.hour - HOUR)
        self.exchange(self.hour - 2 * HOUR)
        steps = self.rollups.run()
        next(steps)
        with self.store.transaction() as connection:
            connection.execute(update(rollup_state).values(holder=uuid4()))
        self.assertRaises(NotLeading, next, steps)

    async def test_keeper(self) -> None:
        """The keeper makes the roll-ups without being asked, and ends with its thread and connections."""
        self.patch(rollup_keeper, "FIRST_AFTER", 0.01)
        self.exchange(self.hour - HOUR)
        keeper = RollupKeeper(self.url, reactor)  # type: ignore[arg-type]
        keeper.start()
        for _ in range(500):
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
            with self.store.transaction() as connection:
                if connection.execute(select(rollup_state.c.rolled_at)).scalar() is not None:
                    break
        await Deferred.fromCoroutine(keeper.stop())
        self.assertEqual(self.sums(), {1: (1, 1)})


class SQLiteRollupTests(RollupTests, OnSQLite):
    """On SQLite."""


class PostgreSQLRollupTests(RollupTests, OnPostgreSQL):
    """On PostgreSQL."""


del RollupTests

"""Caps while the database is away, and when a process dies: the figures go on, and nothing is counted twice."""

import sqlite3
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from aibridge.errors import BudgetSpent
from aibridge.record import schema
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.gate import BudgetEvents
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.leases import end_process
from aibridge.record.store import Store
from aibridge.record.values import new_id

from .budget_case import CENT, PRICED, BudgetCase, interception_again, request
from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL
from .samples import ended, token_usage
from .test_outage import soon


class OutageTests(BudgetCase, OnSQLite):
    """SQLite that someone else holds."""

    timeout = 30

    async def setUp(self) -> None:
        OnSQLite.setUp(self)

    async def restart(self, **settings: Any) -> None:
        self.scopes: list[str] = []
        rules = BudgetSettings(**settings)
        events = BudgetEvents(on_refused=self.scopes.append)
        self.store = BudgetStore(self.url, rules)
        self.recorder = await self.start(rules, spool_dir=self.mktemp(), commit_timeout=1.0, budget_events=events)

    def lock(self) -> sqlite3.Connection:
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        self.addCleanup(other.close)
        return other

    def back(self, other: sqlite3.Connection) -> "Deferred[None]":
        other.close()
        return soon(lambda: self.recorder.state().database == "up")

    async def test_last_known_figures(self) -> None:
        """While the database is away, its last figures and what this process does since then decide."""
        await self.restart()
        cap = self.set(0.05)
        await self.spend(2 * CENT)
        other = self.lock()
        first = request()
        self.assertEqual(await self.begin(first), 3 * CENT)
        self.assertEqual(self.recorder.state().database, "away")
        with self.assertRaises(BudgetSpent):
            await self.begin(request())
        await self.finish(first, CENT)
        second = request()
        self.assertEqual(await self.begin(second), 2 * CENT)
        await self.back(other)
        self.assertEqual(self.standing(cap), (3 * CENT, 2 * CENT))
        await self.finish(second, 2 * CENT)
        self.assertEqual(self.standing(cap), (5 * CENT, 0))
        statuses = sorted(row["status"] for row in rows(self.url, schema.interceptions))
        self.assertEqual(statuses, ["completed", "completed", "completed", "refused"])
        self.assertEqual(self.scopes, ["organization"])
        self.check()

    async def test_refused_while_away(self) -> None:
        """With ``when_away = "refuse"`` no request under a cap begins while the caps can't be checked."""
        await self.restart(when_away="refuse")
        self.set(10, "actor", "alice")
        await self.begin(request())
        other = self.lock()
        with self.assertRaises(BudgetSpent) as raised:
            await self.begin(request())
        self.assertEqual((raised.exception.retry_after, raised.exception.is_final), (60, True))
        await self.begin(request("bob"))
        await self.back(other)
        self.check()

    async def test_away_from_the_start(self) -> None:
        """A process that has never read the caps refuses everything then, or nothing."""
        await self.restart()
        await self.recorder.stopService()
        self.set(0)
        other = self.lock()
        await self.restart()
        await self.begin(request())
        await self.recorder.stopService()
        await self.restart(when_away="refuse")
        with self.assertRaises(BudgetSpent):
            await self.begin(request())
        other.close()

    async def test_under_way_when_it_goes(self) -> None:
        """An answer that ends while the database is away is settled on its return, once."""
        await self.restart()
        cap = self.set(1)
        record = request()
        await self.begin(record)
        usage = token_usage(record.id, cost_nanousd=CENT)
        await self.recorder.record_all([interception_again(record), usage])
        other = self.lock()
        again = token_usage(record.id, id=usage.id, cost_nanousd=4 * CENT)
        await self.recorder.record_all([again])
        await self.recorder.record_all([again, ended(record.id)])
        await self.back(other)
        self.assertEqual(self.standing(cap), (4 * CENT, 0))
        self.check()


class InterruptedTests(BudgetCase):
    """Tests for every database."""

    async def test_interrupted(self: Any) -> None:
        """An interception that is marked as interrupted gives its reservation back, and a late end nothing more."""
        self.set(1)
        cap = self.set(1, "actor", "alice")
        record = request()
        await self.begin(record)
        await self.begin(request("bob"))
        other = Store(self.url)
        self.addCleanup(other.close)
        with other.transaction() as connection:
            assert end_process(connection, self.recorder._process._id, other.accounts) == 2
        assert self.row(record)["status"] == "interrupted"
        assert [(each.spent, each.reserved) for each in self.store.standings()] == [(0, 0), (0, 0)]
        await self.finish(record, 3 * CENT)
        assert self.row(record)["status"] == "completed"
        assert self.standing(cap) == (3 * CENT, 0)
        self.check()

    async def test_uncertain_commit(self: Any) -> None:
        """A batch that comes again, since nobody knows whether it was committed, is booked once."""
        cap = self.set(1)
        record = request()
        store = Store(self.url)
        self.addCleanup(store.close)
        store.load_budgets()
        encode = store.encoder(new_id())
        first, usage, end = (
            encode(record),
            encode(token_usage(record.id, cost_nanousd=2 * CENT)),
            encode(ended(record.id)),
        )
        store.commit([first])
        store.commit([first], is_fresh=False)
        assert self.standing(cap) == (0, CENT)
        store.commit([usage, end])
        store.commit([first, usage, end], is_fresh=False)
        assert self.standing(cap) == (2 * CENT, 0)
        self.check()

    async def test_late(self: Any) -> None:
        """What a spool brings late is booked, and not refused, whatever became of the cap."""
        cap = self.set(0)
        record, running = request(), request("bob")
        store = Store(self.url)
        self.addCleanup(store.close)
        encode = store.encoder(new_id())
        values = (record, running, token_usage(record.id, cost_nanousd=2 * CENT), ended(record.id))
        assert store.commit(list(map(encode, values)), is_fresh=False) == {}
        assert self.standing(cap) == (2 * CENT, CENT)
        self.check()

    async def test_warnings(self: Any) -> None:
        """Each part of a limit is warned of once a period, in the log too, whichever gateway passes it."""
        logged: list[str] = []
        observer = lambda event: logged.append(event.get("line", ""))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        told: list[int] = []
        events = BudgetEvents(on_warning=lambda warning: told.append(warning.level))
        other = await self.start(budget_events=events)
        self.recorder = other
        self.set(0.10)
        for cost in (8, 1, 0, 1):
            record = request(model=f"model{cost}")
            await other.begin(record, PRICED)
            await self.finish(record, cost * CENT)
        assert told == [850, 1000], told
        assert "85 % of the monthly budget of the organization are spent: 0.09 of 0.10 USD" in logged
        assert rows(self.url, schema.budget_notices) == []


class SQLiteInterruptedTests(InterruptedTests, OnSQLite):
    pass


class PostgreSQLInterruptedTests(InterruptedTests, OnPostgreSQL):
    pass

"""Whole gateways under caps, killed under load: no reservation leaks, and every period is the sum of its rows.

``AIBRIDGE_BUDGET_ROUNDS`` says how often the gateway is killed, ``AIBRIDGE_CRASH_SEED`` repeats the moments of a run.
"""

import os
import random
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, TestCase

from aibridge.record import schema
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.migrations import upgrade
from aibridge.testing import FakeProvider, LoopbackServer, Reply

from .databases import rows
from .gateway import Clients, Gateway, pause, until
from .postgresql import cluster, programs

ROUNDS = int(os.environ.get("AIBRIDGE_BUDGET_ROUNDS", "2"))
SEED = os.environ.get("AIBRIDGE_CRASH_SEED") or str(random.randrange(10**6))
PRICES = """
[prices.models."*"]
input = 1000
output = 1000
cache_read = 1000
cache_write = 1000
"""


class BudgetCrashTests:
    """Tests for every database."""

    timeout = 60 + 10 * ROUNDS
    url: str

    async def setUp(self: Any) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.url = self.new_database()
        upgrade(self.url)
        self.budgets = BudgetStore(self.url, BudgetSettings())
        self.chance = random.Random(SEED)
        self.clients = Clients(self.chance)
        provider = FakeProvider(lambda question: Reply(text="a b c d e f g h"), clock=reactor, delay=0.004)
        server = LoopbackServer(reactor, provider)
        self.gateway = Gateway(self.folder, self.url, await server.start(), PRICES)
        self.addCleanup(server.stop)
        self.addCleanup(self.gateway.kill)

    async def test_killed(self: Any) -> None:
        """Killed between reserving and settling, again and again, it leaves no difference, and no reservation."""
        self.budgets.set("organization", "", "monthly", 10**15)
        self.budgets.set("actor", "anonymous", "daily", 10**15)
        for _ in range(ROUNDS):
            gone = self.clients.ask(await self.gateway.start())
            await pause(self.chance.uniform(0.2, 0.8))
            self.gateway.kill()
            await gone
            self.assertEqual(self.budgets.check()[1], [], f"seed {SEED}")
        self.assertGreater(sum(each.reserved for each in self.budgets.standings()), 0)
        await self.gateway.start()
        await until(lambda: not list(self.gateway.spool.glob("*.spool")) and not self.under_way())
        assert await self.gateway.stop() == 0
        self.assertEqual(self.budgets.check(), (2, []), f"seed {SEED}")
        costs = sum(row["cost_nanousd"] for row in rows(self.url, schema.token_usages))
        self.assertGreater(costs, 0)
        standings = [(each.spent, each.reserved) for each in self.budgets.standings()]
        self.assertEqual(standings, [(costs, 0)] * 2, f"seed {SEED}")

    def under_way(self) -> list[Any]:
        return [row for row in rows(self.url, schema.interceptions) if row["status"] == "in_progress"]


class SQLiteBudgetCrashTests(BudgetCrashTests, TestCase):
    def new_database(self) -> str:
        return f"sqlite:///{self.folder / 'x.sqlite'}"  # type: ignore[attr-defined]


class PostgreSQLBudgetCrashTests(BudgetCrashTests, TestCase):
    def new_database(self) -> str:
        if programs() is None:
            raise SkipTest("PostgreSQL is not installed")
        return cluster().new_database()

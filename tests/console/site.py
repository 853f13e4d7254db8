"""The console's site over a database, asked in memory."""

import json
from typing import Any

from prometheus_client import CollectorRegistry
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aibridge.console.settings import ConsoleSettings
from aibridge.console.site import ConsoleSite
from aibridge.metrics import ConsoleMetrics
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.schema import audit

from ..insight.records import WithRecords
from ..record.databases import rows


class WithConsole(WithRecords):
    """Mixed into tests on a database."""

    settings = ConsoleSettings(auth="none")
    timeout = 10

    def setUp(self) -> None:
        super().setUp()
        self.start(self.settings)

    def start(self, settings: ConsoleSettings) -> None:
        """Serve with these settings from now on."""
        self.registry = CollectorRegistry()
        budgets, metrics = BudgetStore(self.url, BudgetSettings()), ConsoleMetrics(self.registry)
        self.site = ConsoleSite(self.url, settings, budgets, self.report, metrics, reactor)
        self.addCleanup(self.site.stop)
        self.treq = StubTreq(self.site.root)

    async def report(self) -> dict[str, Any]:
        """Return what the gateway says of its state."""
        detail = {"database": "up", "reason": "", "spooled_rows": 0}
        return {"ready": True, "database": {"ready": True, "detail": detail}}

    async def ask(self, path: str, method: str = "GET", **given: Any) -> tuple[int, Any]:
        """Return the status of an answer and its JSON, None without a body."""
        code, body = await self.ask_raw(path, method, **given)
        return code, json.loads(body) if body else None

    async def ask_raw(self, path: str, method: str = "GET", **given: Any) -> tuple[int, bytes]:
        """Return the status of an answer and its body."""

        async def read() -> tuple[int, bytes]:
            answer = await self.treq.request(method, f"http://127.0.0.1/api/v1/{path}", **given)
            self.headers = answer.headers
            return answer.code, await answer.content()

        asked = Deferred.fromCoroutine(read())
        for _ in range(2000):
            if asked.called:
                break
            await self.turn()
        self.assertTrue(asked.called, path)
        return await asked

    async def turn(self) -> None:
        """Let the threads and the client in memory get on."""
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0.001, waiting.callback, None)  # type: ignore[attr-defined]
        await waiting
        self.treq.flush()

    def audited(self) -> list[tuple[str, str]]:
        """Return the actions in the audit and their subjects."""
        found = sorted(rows(self.url, audit), key=lambda row: row["created_at"])
        return [(row["action"], row["subject"]) for row in found]

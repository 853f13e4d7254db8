"""A recorder with caps on money, and what tests do with it."""

from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred

from aibridge.errors import BudgetSpent
from aibridge.record import schema
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.caps import ORGANIZATION
from aibridge.record.budgets.estimates import Estimate
from aibridge.record.budgets.periods import MONTHLY
from aibridge.record.budgets.settings import BudgetSettings
from aibridge.record.records import CENTRALIZED, InterceptionRecord, Record
from aibridge.record.values import utc_now
from aibridge.recorder import SQLRecorder

from .databases import rows
from .samples import ended, interception, token_usage

CENT = 10_000_000
"""In nanodollars."""
PRICED = Estimate(None, is_priced=True)


def request(actor: str = "alice", team: str = "core", **changes: Any) -> InterceptionRecord:
    """A request that begins now, on the operator's credential."""
    return interception(
        initiator_id=actor,
        metadata={"team": team},
        started_at=utc_now(),
        credential_kind=CENTRALIZED,
        upstream_requests=0,
        **changes,
    )


def interception_again(record: InterceptionRecord, **changes: Any) -> InterceptionRecord:
    """The record as it comes again while an answer is under way."""
    return InterceptionRecord(**dict(vars(record)) | {"upstream_requests": 1} | changes)


class BudgetCase:
    """Mix it into a TestCase with ``self.url``."""

    url: str
    settings = BudgetSettings()

    async def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.recorder = await self.start()
        self.store = BudgetStore(self.url, self.settings)

    async def start(self, settings: BudgetSettings | None = None, **how: Any) -> SQLRecorder:
        recorder = SQLRecorder(self.url, budgets=settings or self.settings, **how)
        self.addCleanup(recorder.stopService)  # type: ignore[attr-defined]
        await recorder.startService()
        return recorder

    def set(self, dollars: float | None, scope: str = ORGANIZATION, name: str = "", period: str = MONTHLY) -> UUID:
        limit = None if dollars is None else int(dollars * 100 * CENT)
        return self.store.set(scope, name, period, limit).cap.id

    def begin(self, record: InterceptionRecord, estimate: Estimate | None = PRICED) -> "Deferred[int | None]":
        return self.recorder.begin(record, estimate)

    async def finish(self, record: InterceptionRecord, cost: int | None, **changes: Any) -> None:
        """Record the answer of an interception, and its end."""
        values: list[Record] = [] if cost is None else [token_usage(record.id, cost_nanousd=cost)]
        await self.recorder.record_all([*values, ended(record.id, **changes)])

    async def spend(self, cost: int, **who: Any) -> InterceptionRecord:
        """Record a whole interception."""
        record = request(**who)
        await self.begin(record)
        await self.finish(record, cost)
        return record

    def standing(self, budget_id: UUID) -> tuple[int, int]:
        """What a cap's present period says: spent, reserved."""
        [found] = [each for each in self.store.standings() if each.cap.id == budget_id]
        return found.spent, found.reserved

    def row(self, record: InterceptionRecord) -> dict[str, Any]:
        [found] = [each for each in rows(self.url, schema.interceptions) if each["id"] == record.id]
        return found

    def check(self) -> None:
        """The periods' rows are the sums of the rows of interceptions and tokens."""
        assert self.store.check()[1] == []

    async def refused(self, record: InterceptionRecord, **how: Any) -> BudgetSpent:
        try:
            await self.begin(record, **how)
        except BudgetSpent as error:
            assert self.row(record)["status"] == "refused"
            assert self.row(record)["http_status"] == 429
            return error
        raise AssertionError("the request was let pass")

"""A recorder with a cap on money, in memory."""

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from aibridge.errors import BudgetSpent
from aibridge.interfaces import Actor, IAnswerIndex, IBudgets, IRecorder
from aibridge.record.budgets.caps import Standing
from aibridge.record.budgets.estimates import Estimate
from aibridge.record.records import InterceptionRecord
from aibridge.testing import MemoryRecorder


@implementer(IRecorder, IAnswerIndex, IBudgets)
@define(eq=False)
class CappedRecorder(MemoryRecorder):
    """Refuses every request, or says how much is left."""

    is_active: bool = True
    error: BudgetSpent | None = None
    left: int | None = None
    estimates: list[Estimate | None] = field(factory=list)
    found: "Deferred[Standing] | None" = None

    def begin(self, record: InterceptionRecord, estimate: Estimate | None) -> "Deferred[int | None]":
        self.estimates.append(estimate)
        if self.error is not None:
            return fail(self.error)
        return self.record_interception(record).addCallback(lambda _: self.left)

    def standing(self, actor: Actor) -> "Deferred[Standing]":
        assert self.found is not None
        return self.found

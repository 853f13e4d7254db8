"""A recorder that keeps everything in dictionaries."""

from typing import TypeVar
from uuid import UUID

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from ..interfaces import IAnswerIndex, IRecorder
from ..record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    OpenAnswer,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)

R = TypeVar("R", bound=Record)


@implementer(IRecorder, IAnswerIndex)
@define(eq=False)
class MemoryRecorder:
    """Records by id, a dictionary for each kind. They are durable at once, unless the test holds them or fails them."""

    interceptions: dict[UUID, InterceptionRecord] = field(factory=dict, init=False)
    ended: dict[UUID, InterceptionRecordEnded] = field(factory=dict, init=False)
    token_usages: dict[UUID, TokenUsageRecord] = field(factory=dict, init=False)
    prompts: dict[UUID, PromptUsageRecord] = field(factory=dict, init=False)
    tool_usages: dict[UUID, ToolUsageRecord] = field(factory=dict, init=False)
    thoughts: dict[UUID, ModelThoughtRecord] = field(factory=dict, init=False)
    history: list[Record] = field(factory=list, init=False)
    """Every record that became durable, in order, those among them that were replaced since."""
    held: list[Record] = field(factory=list, init=False)
    """Records that wait for `release`."""
    _gate: "Deferred[None] | None" = field(default=None, init=False)
    _failure: Exception | None = field(default=None, init=False)

    def hold(self) -> None:
        """From now on nothing becomes durable, as with a slow database, until `release`."""
        self._gate = self._gate or Deferred()

    def release(self) -> None:
        """What was held is durable now, in its order, and what comes is so at once."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.callback(None)

    def fail_with(self, error: Exception | None) -> None:
        """Records fail with this error from now on, those being held too once they are released; None ends it."""
        self._failure = error

    def record_interception(self, record: InterceptionRecord) -> "Deferred[None]":
        return self._keep(self.interceptions, record)

    def record_interception_ended(self, record: InterceptionRecordEnded) -> "Deferred[None]":
        return self._keep(self.ended, record)

    def record_token_usage(self, record: TokenUsageRecord) -> "Deferred[None]":
        return self._keep(self.token_usages, record)

    def record_prompt_usage(self, record: PromptUsageRecord) -> "Deferred[None]":
        return self._keep(self.prompts, record)

    def record_tool_usage(self, record: ToolUsageRecord) -> "Deferred[None]":
        return self._keep(self.tool_usages, record)

    def record_model_thought(self, record: ModelThoughtRecord) -> "Deferred[None]":
        return self._keep(self.thoughts, record)

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """See `aibridge.interfaces.IAnswerIndex`."""
        found = (
            OpenAnswer(record.interception_id, record.id)
            for record in self.token_usages.values()
            if record.provider_response_id == provider_response_id and not record.metadata["complete"]
        )
        return succeed(next(found, None))

    def _keep(self, table: dict[UUID, R], record: R) -> "Deferred[None]":
        if self._gate is None:
            return self._commit(table, record)
        self.held.append(record)
        committed: Deferred[None] = Deferred()
        self._gate.addCallback(lambda _: self._let_go(table, record).chainDeferred(committed))
        return committed

    def _let_go(self, table: dict[UUID, R], record: R) -> "Deferred[None]":
        self.held.remove(record)
        return self._commit(table, record)

    def _commit(self, table: dict[UUID, R], record: R) -> "Deferred[None]":
        if self._failure is not None:
            return fail(self._failure)
        table[record.id] = record
        self.history.append(record)
        return succeed(None)

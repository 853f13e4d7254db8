"""A recorder that keeps everything in dictionaries."""

from typing import TypeVar
from uuid import UUID

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from ..interfaces import IAnswerIndex, IObjectIndex, IRecorder
from ..record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    OpenAnswer,
    Owner,
    PromptUsageRecord,
    Record,
    StoredObjectRecord,
    TokenUsageRecord,
    ToolUsageRecord,
)

R = TypeVar("R", bound=Record)


@implementer(IRecorder, IAnswerIndex, IObjectIndex)
@define(eq=False)
class MemoryRecorder:
    """Keeps records by id, in a dictionary for each kind.

    Records are durable at once, unless the test holds them or makes them fail.
    """

    interceptions: dict[UUID, InterceptionRecord] = field(factory=dict, init=False)
    ended: dict[UUID, InterceptionRecordEnded] = field(factory=dict, init=False)
    token_usages: dict[UUID, TokenUsageRecord] = field(factory=dict, init=False)
    prompts: dict[UUID, PromptUsageRecord] = field(factory=dict, init=False)
    tool_usages: dict[UUID, ToolUsageRecord] = field(factory=dict, init=False)
    thoughts: dict[UUID, ModelThoughtRecord] = field(factory=dict, init=False)
    objects: dict[UUID, StoredObjectRecord] = field(factory=dict, init=False)
    history: list[Record] = field(factory=list, init=False)
    """Every record that became durable, in order, including those that were replaced later."""
    held: list[Record] = field(factory=list, init=False)
    """The records that wait for `release`."""
    _gate: "Deferred[None] | None" = field(default=None, init=False)
    _failure: Exception | None = field(default=None, init=False)

    def hold(self) -> None:
        """Let no record become durable until `release`, as with a slow database."""
        self._gate = self._gate or Deferred()

    def release(self) -> None:
        """Make the held records durable, in their order. Later ones are durable at once again."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.callback(None)

    def fail_with(self, error: Exception | None) -> None:
        """Fail all records from now on, the held ones when they are released. None ends this."""
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
            OpenAnswer(record.interception_id, record.id, self.interceptions[record.interception_id].started_at)
            for record in self.token_usages.values()
            if record.provider_response_id == provider_response_id and not record.metadata["complete"]
        )
        return succeed(next(found, None))

    def record_object(self, record: StoredObjectRecord) -> "Deferred[None]":
        """See `aibridge.interfaces.IObjectIndex`."""
        return self._keep(self.objects, record)

    def find_owner(self, provider_name: str, object_id: str) -> "Deferred[Owner | None]":
        """See `aibridge.interfaces.IObjectIndex`."""
        for usage in self.token_usages.values():
            interception = self.interceptions[usage.interception_id]
            if (usage.provider_response_id, interception.provider_name) == (object_id, provider_name):
                return succeed(Owner(interception.initiator_id, interception.credential_hint))
        for made in self.objects.values():
            if (made.object_id, made.provider_name) == (object_id, provider_name):
                return succeed(Owner(made.initiator_id, made.credential_hint))
        return succeed(None)

    def _keep(self, table: dict[UUID, R], record: R) -> "Deferred[None]":
        if self._gate is None:
            return self._commit(table, record)
        self.held.append(record)
        committed: Deferred[None] = Deferred()

        def commit_held(_: None) -> None:
            self.held.remove(record)
            self._commit(table, record).chainDeferred(committed)

        self._gate.addCallback(commit_held)
        return committed

    def _commit(self, table: dict[UUID, R], record: R) -> "Deferred[None]":
        if self._failure is not None:
            return fail(self._failure)
        table[record.id] = record
        self.history.append(record)
        return succeed(None)

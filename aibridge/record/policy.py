"""What of a conversation is kept."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IAnswerIndex, IBatchRecorder, IRecorder
from .handing import RecordAll, handing_to
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    OpenAnswer,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)


@frozen(kw_only=True)
class ContentPolicy:
    """Which contents are kept. Where one is not, its column is NULL; the row remains, for it counts."""

    prompts: bool = True
    tool_arguments: bool = True
    tool_results: bool = False
    """Of injected tools; a client's own results are never seen as such."""
    thoughts: bool = True

    def kept(self, record: Record) -> Record:
        """What is kept of that record."""
        match record:
            case PromptUsageRecord() if not self.prompts:
                return evolve(record, prompt=None)
            case ModelThoughtRecord() if not self.thoughts:
                return evolve(record, content=None)
            case ToolUsageRecord() if not (self.tool_arguments and self.tool_results):
                return evolve(
                    record,
                    input=record.input if self.tool_arguments else None,
                    output=record.output if self.tool_results else None,
                )
        return record


@implementer(IRecorder, IBatchRecorder, IAnswerIndex)
class FilteredRecorder:
    """Any recorder, less the contents that the policy leaves out."""

    def __init__(self, recorder: IRecorder, policy: ContentPolicy) -> None:
        self._recorder = recorder
        self._policy = policy
        self._hand_over: RecordAll = handing_to(recorder)

    def record_interception(self, record: InterceptionRecord) -> "Deferred[None]":
        return self.record_all([record])

    def record_interception_ended(self, record: InterceptionRecordEnded) -> "Deferred[None]":
        return self.record_all([record])

    def record_token_usage(self, record: TokenUsageRecord) -> "Deferred[None]":
        return self.record_all([record])

    def record_prompt_usage(self, record: PromptUsageRecord) -> "Deferred[None]":
        return self.record_all([record])

    def record_tool_usage(self, record: ToolUsageRecord) -> "Deferred[None]":
        return self.record_all([record])

    def record_model_thought(self, record: ModelThoughtRecord) -> "Deferred[None]":
        return self.record_all([record])

    def record_all(self, records: Sequence[Record]) -> "Deferred[None]":
        """See `IBatchRecorder`."""
        return self._hand_over([self._policy.kept(record) for record in records])

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """What the recorder inside knows, if it can be asked."""
        index: Any = IAnswerIndex(self._recorder, None)
        return succeed(None) if index is None else index.find_open_answer(provider_response_id)

"""What of a conversation is kept."""

from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IAnswerIndex, IRecorder
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    OpenAnswer,
    PromptUsageRecord,
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


@implementer(IRecorder, IAnswerIndex)
@frozen
class FilteredRecorder:
    """Any recorder, less the contents that the policy leaves out."""

    recorder: IRecorder
    policy: ContentPolicy

    def record_interception(self, record: InterceptionRecord) -> "Deferred[None]":
        return self.recorder.record_interception(record)

    def record_interception_ended(self, record: InterceptionRecordEnded) -> "Deferred[None]":
        return self.recorder.record_interception_ended(record)

    def record_token_usage(self, record: TokenUsageRecord) -> "Deferred[None]":
        return self.recorder.record_token_usage(record)

    def record_prompt_usage(self, record: PromptUsageRecord) -> "Deferred[None]":
        kept = record if self.policy.prompts else evolve(record, prompt=None)
        return self.recorder.record_prompt_usage(kept)

    def record_tool_usage(self, record: ToolUsageRecord) -> "Deferred[None]":
        kept = evolve(
            record,
            input=record.input if self.policy.tool_arguments else None,
            output=record.output if self.policy.tool_results else None,
        )
        return self.recorder.record_tool_usage(kept)

    def record_model_thought(self, record: ModelThoughtRecord) -> "Deferred[None]":
        kept = record if self.policy.thoughts else evolve(record, content=None)
        return self.recorder.record_model_thought(kept)

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """What the recorder inside knows, if it can be asked."""
        index: Any = IAnswerIndex(self.recorder, None)
        return succeed(None) if index is None else index.find_open_answer(provider_response_id)

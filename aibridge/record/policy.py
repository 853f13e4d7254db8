"""What of a conversation is kept."""

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from .. import settings
from ..interfaces import IAnswerIndex, IBatchRecorder, IRecorder
from .batches import RecordAll, batch_writer
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

    prompts: bool = settings.switch(True)
    tool_arguments: bool = settings.switch(True)
    tool_results: bool = settings.switch(False)
    """Of injected tools; a client's own results are never seen as such."""
    thoughts: bool = settings.switch(True)

    def left_out(self) -> dict[type[Record], dict[str, None]]:
        """For each kind of record the contents that are not kept."""
        return {
            PromptUsageRecord: {} if self.prompts else {"prompt": None},
            ModelThoughtRecord: {} if self.thoughts else {"content": None},
            ToolUsageRecord: ({} if self.tool_arguments else {"input": None})
            | ({} if self.tool_results else {"output": None}),
        }


@implementer(IRecorder, IBatchRecorder, IAnswerIndex)
class FilteredRecorder:
    """Any recorder, less the contents that the policy leaves out."""

    def __init__(self, recorder: IRecorder, policy: ContentPolicy) -> None:
        self._recorder = recorder
        self._left_out = {kind: names for kind, names in policy.left_out().items() if names}
        self._hand_over: RecordAll = batch_writer(recorder)

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
        for record in records:
            if type(record) in self._left_out:
                return self._hand_over([self._kept(record) for record in records])
        return self._hand_over(records)

    def _kept(self, record: Record) -> Record:
        left_out: Any = self._left_out.get(type(record))
        return evolve(record, **left_out) if left_out else record

    def find_open_answer(self, provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """What the recorder inside knows, if it can be asked."""
        index: Any = IAnswerIndex(self._recorder, None)
        return succeed(None) if index is None else index.find_open_answer(provider_response_id)

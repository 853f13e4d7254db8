"""The rows of one interception, written as it goes."""

from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime
from uuid import UUID

from attrs import define, field
from twisted.internet.defer import Deferred

from ..wire.formats import Answer, parse_arguments
from ..wire.tool_calls import ToolResult
from ..wire.usage import TokenCounts
from .batches import RecordAll
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from .values import new_id


def utc_now() -> datetime:
    """The time that goes into records."""
    return datetime.now(UTC)


@define(eq=False)
class RoundResult:
    """What one answer of the provider's said, as far as it has been read."""

    answer: Answer
    figures: TokenCounts
    ours: Container[str | None] = ()
    """Ids of calls that the gateway runs itself, which are told apart when they have been run."""


@define(eq=False)
class Ledger:
    """Knows which rows an answer makes. Each row's id is given once: one written early is replaced by its final form.

    Every method's Deferred fires when its rows are durable, and fails with RecordingError where one of them can't be.
    """

    record_all: RecordAll
    interception_id: UUID
    prompt: str | None
    _usage_id: UUID | None = field(default=None, kw_only=True)
    _prompt_id: UUID | None = field(default=None, init=False)
    _prompt_done: bool = field(default=False, init=False)
    """It belongs to the first answer; what was written of it while that went on may have failed."""

    def begin(self, interception: InterceptionRecord) -> "Deferred[None]":
        """The interception's own row: nothing may be spent before it is durable."""
        return self.record_all([interception])

    def progress(self, said: RoundResult) -> "Deferred[None]":
        """What an answer that takes long has said so far, so that a crash doesn't lose it."""
        now = utc_now()
        return self.record_all([*self._prompt_of(said.answer, now), self._usage(said, now)])

    def answered(self, said: RoundResult) -> "Deferred[None]":
        """All that an answer said after which the exchange goes on."""
        return self.record_all(self._all_of(said, utc_now()))

    def called(self, answer: Answer, results: Iterable[ToolResult]) -> "Deferred[None]":
        """What came of the gateway's own tools."""
        return self.record_all([*self._injected(answer, results, utc_now())])

    def end(self, ended: InterceptionRecordEnded, said: RoundResult | None) -> "Deferred[None]":
        """How it ended, and all that its last answer said. Without one, the prompt was given all the same."""
        now = ended.ended_at
        rows = self._all_of(said, now) if said is not None else [*self._prompt_of(None, now)]
        return self.record_all([*rows, ended])

    def _all_of(self, said: RoundResult, now: datetime) -> list[Record]:
        rows: list[Record] = [*self._prompt_of(said.answer, now), self._usage(said, now)]
        if said.answer.tool_calls:
            rows += self._tools(said, now)
        if said.answer.thoughts:
            rows += self._thoughts(said.answer, now)
        self._usage_id = None
        self._prompt_done = True
        return rows

    def _prompt_of(self, answer: Answer | None, now: datetime) -> Iterator[PromptUsageRecord]:
        if self.prompt is None or self._prompt_done:
            return
        self._prompt_id = self._prompt_id or new_id()
        yield PromptUsageRecord(
            id=self._prompt_id,
            interception_id=self.interception_id,
            provider_response_id=answer.response_id if answer else None,
            prompt=self.prompt,
            created_at=now,
        )

    def _usage(self, said: RoundResult, now: datetime) -> TokenUsageRecord:
        figures = said.figures
        self._usage_id = self._usage_id or new_id()
        return TokenUsageRecord(
            id=self._usage_id,
            interception_id=self.interception_id,
            provider_response_id=said.answer.response_id,
            input_tokens=figures.input,
            output_tokens=figures.output,
            cache_read_input_tokens=figures.cache_read,
            cache_write_input_tokens=figures.cache_write,
            metadata={**figures.others, "complete": said.answer.finished},
            created_at=now,
        )

    def _tools(self, said: RoundResult, now: datetime) -> Iterator[ToolUsageRecord]:
        for call in said.answer.tool_calls:
            if call.id in said.ours:
                continue
            yield ToolUsageRecord(
                id=new_id(),
                interception_id=self.interception_id,
                provider_response_id=said.answer.response_id,
                tool_call_id=call.id,
                tool=call.name,
                input=call.input,
                metadata=call.metadata,
                created_at=now,
            )

    def _injected(self, answer: Answer, results: Iterable[ToolResult], now: datetime) -> Iterator[ToolUsageRecord]:
        for result in results:
            call = result.call
            yield ToolUsageRecord(
                id=new_id(),
                interception_id=self.interception_id,
                provider_response_id=answer.response_id,
                tool_call_id=call.id,
                tool=call.tool.tool,
                input=parse_arguments(call.arguments),
                injected=True,
                server_url=call.tool.server_url,
                invocation_error=result.error,
                output=list(result.content),
                duration_ms=result.duration_ms,
                created_at=now,
            )

    def _thoughts(self, answer: Answer, now: datetime) -> Iterator[ModelThoughtRecord]:
        for thought in answer.thoughts:
            yield ModelThoughtRecord(
                id=new_id(),
                interception_id=self.interception_id,
                content=thought.content,
                metadata={"source": thought.source},
                created_at=now,
            )

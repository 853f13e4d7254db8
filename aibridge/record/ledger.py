"""The rows of one interception, written as it goes."""

from collections.abc import Callable, Container, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from ..errors import RecordingError
from ..interfaces import IRecorder
from ..wire.formats import Answer, Json, parse_arguments
from ..wire.rounds import ToolRun
from ..wire.usage import TokenFigures
from .ids import new_id
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)

_Write = tuple[Callable[[Any], "Deferred[None]"], Record]


def utc_now() -> datetime:
    """The time that goes into records."""
    return datetime.now(UTC)


@define(eq=False)
class Ledger:
    """Knows which rows an answer makes. Each row's id is given once: one written early is replaced by its final form.

    Every method's Deferred fires when its rows are durable, and fails with RecordingError where one of them can't be.
    """

    recorder: IRecorder
    interception: InterceptionRecord | None
    """None where only something is added to an interception that is over."""
    prompt: str | None
    figures: Callable[[Json], TokenFigures]
    interception_id: UUID = field(kw_only=True)
    _usage_id: UUID = field(factory=new_id, kw_only=True)
    _prompt_id: UUID = field(factory=new_id, init=False)
    _prompt_done: bool = field(default=False, init=False)
    """It belongs to the first answer; what was written of it while that went on may have failed."""

    @interception_id.default
    def _its_id(self) -> UUID:
        assert self.interception is not None
        return self.interception.id

    def begin(self) -> "Deferred[None]":
        """The interception's own row: nothing may be spent before it is durable."""
        assert self.interception is not None
        return _write_all([(self.recorder.record_interception, self.interception)])

    def progress(self, answer: Answer) -> "Deferred[None]":
        """What an answer that takes long has said so far, so that a crash doesn't lose it."""
        return _write_all([*self._prompt(answer), *self._usage(answer)])

    def answered(self, answer: Answer, ours: Container[str | None] = ()) -> "Deferred[None]":
        """All that one answer of the provider's said, but for `ours`: calls that the gateway runs itself."""
        writes = [*self._prompt(answer), *self._usage(answer), *self._tools(answer, ours), *self._thoughts(answer)]
        self._usage_id = new_id()
        self._prompt_done = True
        return _write_all(writes)

    def unanswered(self) -> "Deferred[None]":
        """There was no answer; the prompt was given all the same."""
        return _write_all(self._prompt(None))

    def called(self, answer: Answer, outcomes: Iterable[ToolRun]) -> "Deferred[None]":
        """What came of the gateway's own tools."""
        return _write_all(self._injected(answer, outcomes))

    def end(self, ended: InterceptionRecordEnded) -> "Deferred[None]":
        """How it ended."""
        return _write_all([(self.recorder.record_interception_ended, ended)])

    def _prompt(self, answer: Answer | None) -> Iterator[_Write]:
        if self.prompt is None or self._prompt_done:
            return
        yield (
            self.recorder.record_prompt_usage,
            PromptUsageRecord(
                id=self._prompt_id,
                interception_id=self.interception_id,
                provider_response_id=answer.response_id if answer else None,
                prompt=self.prompt,
                created_at=utc_now(),
            ),
        )

    def _usage(self, answer: Answer) -> Iterator[_Write]:
        figures = self.figures(answer.usage)
        yield (
            self.recorder.record_token_usage,
            TokenUsageRecord(
                id=self._usage_id,
                interception_id=self.interception_id,
                provider_response_id=answer.response_id,
                input_tokens=figures.input,
                output_tokens=figures.output,
                cache_read_input_tokens=figures.cache_read,
                cache_write_input_tokens=figures.cache_write,
                metadata={**figures.others, "complete": answer.finished},
                created_at=utc_now(),
            ),
        )

    def _tools(self, answer: Answer, ours: Container[str | None]) -> Iterator[_Write]:
        for call in answer.tool_calls:
            if call.id in ours:
                continue
            yield (
                self.recorder.record_tool_usage,
                ToolUsageRecord(
                    id=new_id(),
                    interception_id=self.interception_id,
                    provider_response_id=answer.response_id,
                    tool_call_id=call.id,
                    tool=call.name,
                    input=call.input,
                    metadata=call.metadata,
                    created_at=utc_now(),
                ),
            )

    def _injected(self, answer: Answer, outcomes: Iterable[ToolRun]) -> Iterator[_Write]:
        for run in outcomes:
            yield (
                self.recorder.record_tool_usage,
                ToolUsageRecord(
                    id=new_id(),
                    interception_id=self.interception_id,
                    provider_response_id=answer.response_id,
                    tool_call_id=run.result.call.id,
                    tool=run.tool,
                    input=parse_arguments(run.result.call.arguments),
                    injected=True,
                    server_url=run.server_url,
                    invocation_error=run.error,
                    output=[dict(part) for part in run.result.parts],
                    duration_ms=run.duration_ms,
                    created_at=utc_now(),
                ),
            )

    def _thoughts(self, answer: Answer) -> Iterator[_Write]:
        for thought in answer.thoughts:
            yield (
                self.recorder.record_model_thought,
                ModelThoughtRecord(
                    id=new_id(),
                    interception_id=self.interception_id,
                    content=thought.content,
                    metadata={"source": thought.source},
                    created_at=utc_now(),
                ),
            )


def all_durable(writes: "Iterable[Deferred[None]]") -> "Deferred[None]":
    """Fires when all of them have; fails with RecordingError where one can't."""
    waiting = list(writes)
    left, failures = len(waiting), []
    durable: Deferred[None] = Deferred()

    def one_is_over(result: Failure | None) -> None:
        nonlocal left
        left -= 1
        if isinstance(result, Failure):
            failures.append(result)
        if not left:
            _conclude(durable, failures)

    for each in waiting:
        each.addBoth(one_is_over)
    return durable if waiting else succeed(None)


def _write_all(writes: Iterable[_Write]) -> "Deferred[None]":
    return all_durable([maybeDeferred(write, record) for write, record in writes])


def _conclude(durable: "Deferred[None]", failures: list[Failure]) -> None:
    if not failures:
        durable.callback(None)
        return
    error = RecordingError("a record could not be made durable")
    error.__cause__ = failures[0].value
    durable.errback(error)

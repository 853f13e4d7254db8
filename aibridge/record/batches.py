"""Handing records over: one after the other, or all of one step at once where a recorder takes them so."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from ..errors import RecordingError
from ..interfaces import IBatchRecorder, IRecorder
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)

RecordAll = Callable[[Sequence[Record]], "Deferred[None]"]
"""Takes records. The Deferred fires once all are durable; it fails with RecordingError where one can't be made so."""

_METHODS: Mapping[type[Record], str] = {
    InterceptionRecord: "record_interception",
    InterceptionRecordEnded: "record_interception_ended",
    TokenUsageRecord: "record_token_usage",
    PromptUsageRecord: "record_prompt_usage",
    ToolUsageRecord: "record_tool_usage",
    ModelThoughtRecord: "record_model_thought",
}


def batch_writer(recorder: IRecorder) -> RecordAll:
    """How records get to that recorder."""
    at_once: Any = IBatchRecorder(recorder, None)
    return at_once.record_all if at_once is not None else partial(_one_by_one, recorder)


def gather_writes(writes: "Iterable[Deferred[None]]") -> "Deferred[None]":
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


def _one_by_one(recorder: IRecorder, records: Sequence[Record]) -> "Deferred[None]":
    # A host's own may raise where it should have failed.
    return gather_writes([maybeDeferred(getattr(recorder, _METHODS[type(record)]), record) for record in records])


def _conclude(durable: "Deferred[None]", failures: list[Failure]) -> None:
    if not failures:
        durable.callback(None)
        return
    error = RecordingError("a record could not be made durable")
    error.__cause__ = failures[0].value
    durable.errback(error)

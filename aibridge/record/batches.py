"""Handing records to a recorder: all records of one step at once, or one after the other to a recorder without that."""

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from ..errors import RecordingError
from ..interfaces import IBatchRecorder, IRecorder
from .records import Record

RecordAll = Callable[[Sequence[Record]], "Deferred[None]"]
"""Takes records. The Deferred fires once all are durable, and fails with RecordingError if any can't be made so."""


def batch_writer(recorder: IRecorder) -> RecordAll:
    """Return the function that hands records to that recorder: everything in the gateway records through it."""
    if IBatchRecorder.providedBy(recorder):
        return IBatchRecorder(recorder).record_all

    def record_each(records: Sequence[Record]) -> "Deferred[None]":
        # A host's method may raise where it should have returned a failed Deferred.
        return gather_writes([maybeDeferred(getattr(recorder, record.storage.method), record) for record in records])

    return record_each


def gather_writes(writes: "Iterable[Deferred[None]]") -> "Deferred[None]":
    """Return a Deferred that fires when all writes have ended; it fails with RecordingError if any of them failed."""
    waiting = list(writes)
    if not waiting:
        return succeed(None)
    left, failures = len(waiting), []
    durable: Deferred[None] = Deferred()

    def ended(result: Failure | None) -> None:
        nonlocal left
        left -= 1
        if isinstance(result, Failure):
            failures.append(result)
        if left:
            return
        if failures:
            error = RecordingError("a record could not be made durable")
            cause = failures[0].value
            if isinstance(cause, BaseException):  # a host may have failed its Deferred with a class
                error.__cause__ = cause
            durable.errback(error)
        else:
            durable.callback(None)

    for write in waiting:
        write.addBoth(ended)
    return durable

"""The way of spans to the collector: a bounded queue, and one export at a time in a thread of its own.

No request and no end of the process waits for a collector: the thread is a daemon, which nobody joins.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, TypeVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..metrics import Metrics

T = TypeVar("T")
RunInThread = Callable[[Callable[[], SpanExportResult]], "Deferred[SpanExportResult]"]

_log = Logger()
MAX_QUEUED = 4096
"""Spans."""
_BATCH = 512
_PERIOD = 1.0
"""Seconds that a span waits for others."""
_FLUSH_TIMEOUT = 2.0
"""Seconds in which the spans that wait at the end of the process can be exported."""

# The exporter's warnings would reach standard error; the log has one line in their place.
logging.getLogger("opentelemetry.exporter").addHandler(logging.NullHandler())


class SpanQueue:
    """Exports spans in batches. Those that there is no room for, or that the collector does not take, are counted."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics, reactor: Any, run_in_thread: RunInThread) -> None:
        self._exporter = exporter
        self._dropped = metrics.spans_dropped
        self._exported = metrics.spans_exported
        self._reactor = reactor
        self._run_in_thread = run_in_thread
        self._queued: deque[ReadableSpan] = deque()
        self._timer: IDelayedCall | None = None
        self._is_exporting = False
        self._is_failing = False
        self._flushed: Deferred[None] | None = None

    def add(self, span: ReadableSpan) -> None:
        """Add a span, if there is room for it."""
        queued = self._queued
        if len(queued) >= MAX_QUEUED:
            self._dropped.labels("queue_full").inc()
            return
        queued.append(span)
        if self._is_exporting:
            return
        if len(queued) >= _BATCH:
            self._export()
        elif self._timer is None:
            self._timer = self._reactor.callLater(_PERIOD, self._export)

    def flush(self) -> "Deferred[None]":
        """Fire when all spans until now are exported, or after two seconds; then the rest are dropped."""
        if not self._queued and not self._is_exporting:
            return succeed(None)
        flushed = self._flushed = Deferred(lambda _: None)
        if not self._is_exporting:
            self._export()
        return flushed.addTimeout(_FLUSH_TIMEOUT, self._reactor, lambda result, seconds: self._give_up())

    def _give_up(self) -> None:
        self._flushed = None
        self._dropped.labels("flush_timeout").inc(len(self._queued))
        self._queued.clear()

    def _export(self) -> None:
        """Export a batch, and further ones while there are whole ones, or the rest is waited for."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        batch = [self._queued.popleft() for _ in range(min(_BATCH, len(self._queued)))]
        self._is_exporting = True

        def done(result: SpanExportResult | Failure) -> None:
            self._is_exporting = False
            self._count(batch, result)
            if len(self._queued) >= _BATCH or (self._queued and self._flushed is not None):
                self._export()
            elif self._queued:
                self._timer = self._reactor.callLater(_PERIOD, self._export)
            elif self._flushed is not None:
                flushed, self._flushed = self._flushed, None
                flushed.callback(None)

        self._run_in_thread(lambda: self._exporter.export(batch)).addBoth(done)

    def _count(self, batch: Sequence[ReadableSpan], result: SpanExportResult | Failure) -> None:
        """Count a batch, and tell the log when the collector begins or ceases to take spans."""
        is_failure = result is not SpanExportResult.SUCCESS
        if is_failure:
            self._dropped.labels("export_failed").inc(len(batch))
        else:
            self._exported.inc(len(batch))
        if isinstance(result, Failure):
            _log.failure("Spans were not exported.", result)
        elif is_failure and not self._is_failing:
            _log.warn("The collector of traces takes no spans: they are dropped until it does. Requests go on.")
        elif self._is_failing and not is_failure:
            _log.info("The collector of traces takes spans again.")
        self._is_failing = is_failure


def in_daemon_thread(reactor: Any, call: Callable[[], T]) -> "Deferred[T]":
    """Run a call in a thread that the end of the process does not wait for. Fires with the result."""
    done: Deferred[T] = Deferred()

    def run() -> None:
        try:
            result: T | Failure = call()
        except Exception:
            result = Failure()
        reactor.callFromThread(done.callback, result)

    Thread(target=run, daemon=True, name="aibridge-traces").start()
    return done

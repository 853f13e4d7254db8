"""The way of spans to the collector: what waits, what is dropped, and what the end of the process waits for."""

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from aibridge import Metrics
from aibridge.tracing.export import MAX_QUEUED, SpanQueue, in_daemon_thread

OK, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


class QueueTests(SynchronousTestCase):
    """A queue before a collector that is in the test's hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.batches: list[Any] = []
        self.jobs: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.queue = SpanQueue(self, Metrics(self.registry), self.clock, self.in_thread)  # type: ignore[arg-type]

    def in_thread(self, call: Callable[[], Any]) -> "Deferred[Any]":
        self.jobs.append((call, Deferred()))
        return self.jobs[-1][1]

    def export(self, batch: Any) -> None:
        """The exporter's part."""
        self.batches.append(batch)

    def answer(self, result: Any = OK) -> None:
        """Let the thread run, and the collector answer."""
        call, done = self.jobs.pop()
        call()
        done.callback(result)

    def add(self, number: int) -> None:
        for span in range(number):
            self.queue.add(span)  # type: ignore[arg-type]

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"trace_spans_{name}_total", labels) or 0.0

    def test_batches(self) -> None:
        """Spans wait a second for others; a whole batch goes at once, one after another."""
        self.add(3)
        self.clock.advance(0.9)
        self.assertEqual(self.jobs, [])
        self.clock.advance(0.1)
        self.answer()
        self.add(1100)
        self.answer()
        self.answer()
        self.assertEqual((self.jobs, [len(batch) for batch in self.batches]), ([], [3, 512, 512]))
        self.clock.advance(1)
        self.answer()
        self.assertEqual((self.value("exported"), self.clock.getDelayedCalls()), (1103.0, []))

    def test_bounded(self) -> None:
        """While a collector does not answer, so many spans wait, and the rest are counted."""
        self.add(512)
        self.add(MAX_QUEUED + 7)
        self.assertEqual((self.value("dropped", reason="queue_full"), len(self.jobs)), (7.0, 1))

    def test_failing_collector(self) -> None:
        """Spans that are not taken are dropped and counted; the log says so once, and when that ends."""
        with capturedLogs() as events:
            for result in (FAILURE, FAILURE, OK, OK):
                self.add(2)
                self.clock.advance(1)
                self.answer(result)
        lines = [formatEvent(event) for event in events]
        self.assertEqual([line.split(":")[0] for line in lines], ["The collector of traces takes no spans", lines[1]])
        self.assertIn("takes spans again", lines[1])
        self.assertEqual((self.value("dropped", reason="export_failed"), self.value("exported")), (4.0, 4.0))

    def test_fault(self) -> None:
        """A fault of the exporter's is logged, and the next spans are exported."""
        self.add(1)
        self.clock.advance(1)
        self.jobs.pop()[1].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.add(1)
        self.clock.advance(1)
        self.answer()
        self.assertEqual(self.value("exported"), 1.0)

    def test_flush(self) -> None:
        """At the end all that waits is exported, without waiting for others."""
        self.successResultOf(self.queue.flush())
        self.add(600)
        flushed = self.queue.flush()
        self.answer()
        self.assertNoResult(flushed)
        self.answer()
        self.successResultOf(flushed)
        self.assertEqual((self.value("exported"), self.clock.getDelayedCalls()), (600.0, []))

    def test_flush_of_a_dead_collector(self) -> None:
        """The end waits two seconds for a collector, and no longer."""
        self.add(600)
        flushed = self.queue.flush()
        self.clock.advance(1.9)
        self.assertNoResult(flushed)
        self.clock.advance(0.2)
        self.successResultOf(flushed)
        self.assertEqual(self.value("dropped", reason="flush_timeout"), 88.0)
        self.answer(FAILURE)
        self.assertEqual((self.jobs, self.clock.getDelayedCalls()), ([], []))


class ThreadTests(TestCase):
    """The thread of an export."""

    timeout = 10

    async def test_result(self) -> None:
        """The result comes back to the reactor, and so does an exception."""
        self.assertEqual(await in_daemon_thread(reactor, lambda: 5), 5)
        with self.assertRaises(ZeroDivisionError):
            await in_daemon_thread(reactor, lambda: 1 // 0)

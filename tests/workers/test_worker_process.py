"""A worker's processes as the parent sees them, with processes that only note what they are told."""

import signal
from io import StringIO
from typing import Any

import orjson
from attrs import define, field
from prometheus_client import CollectorRegistry, Counter
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import (
    Logger,
    LogLevel,
    capturedLogs,
    formatEvent,
    formatEventAsClassicLogText,
    jsonFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from aibridge.json_log import json_of
from aibridge.worker import name_worker
from aibridge.workers.channel import FROM_PARENT, METRICS, READINESS, TO_PARENT, MessageReader, write_message
from aibridge.workers.metric_sums import MetricSums
from aibridge.workers.worker_process import LONGEST_PAUSE, STEADY, RestartingWorker, WorkerFailed, WorkerProcess

ONE = [["requests", "counter", "", [["requests_total", {}, 1.0]]]]


@define
class Transport:
    """The parent's side of a process."""

    protocol: WorkerProcess
    pid: int
    pipes: set[int] = field(factory=lambda: {FROM_PARENT, TO_PARENT})
    told: list[Any] = field(factory=list)
    signals: list[int] = field(factory=list)

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == FROM_PARENT
        self.told += MessageReader().feed(data)

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)

    def tell(self, **message: object) -> None:
        """A message of the worker."""
        self.protocol.childDataReceived(TO_PARENT, write_message(**message))

    def end(self, status: int = 0, signal: int | None = None) -> None:
        """The process's end."""
        self.pipes.clear()
        reason = ProcessTerminated(status or None, signal) if status or signal else ProcessDone(0)
        self.protocol.processEnded(Failure(reason))


class RestartingWorkerTests(SynchronousTestCase):
    """One worker, on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.processes: list[Transport] = []
        self.forgotten: list[int] = []
        self.sums = MetricSums()
        self.restarts = Counter("restarts", "", registry=CollectorRegistry())
        self.worker = RestartingWorker(1, self.spawn, self.forgotten.append, self.sums, self.restarts, self.clock)

    def spawn(self, number: int, protocol: WorkerProcess) -> None:
        transport = Transport(protocol, 100 + len(self.processes))
        self.processes.append(transport)
        protocol.makeConnection(transport)

    @property
    def process(self) -> Transport:
        return self.processes[-1]

    def start(self) -> None:
        """A worker that is ready."""
        started = self.worker.start()
        self.process.tell(ready=True)
        self.successResultOf(started)

    def test_restarts(self) -> None:
        """A worker that dies is started again, after pauses that grow from half a second to half a minute."""
        self.start()
        for pause in (0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE):
            count = len(self.processes)
            self.process.end(signal=9)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.processes), count)
            self.clock.advance(0.01)
            self.assertEqual(len(self.processes), count + 1)
            self.process.tell(ready=True)
        self.assertEqual(self.forgotten, [1] * 8)

    def test_steady(self) -> None:
        """A worker that was ready for a while has the first pause again; a long start does not count for that."""
        self.start()
        for pause in (0.5, 1):
            self.process.end(signal=9)
            self.clock.advance(pause)
            self.clock.advance(STEADY)
        self.process.tell(ready=True)
        self.clock.advance(STEADY)
        self.process.end(signal=9)
        self.clock.advance(0.5)
        self.assertEqual(len(self.processes), 4)

    def test_log(self) -> None:
        """The log says how a worker ended and when it starts again, and repeats what it wrote to standard error."""
        self.start()
        with capturedLogs() as events:
            self.process.protocol.childDataReceived(2, b"Segmentation ")
            self.process.protocol.childDataReceived(2, b"fault\n\n")
            self.process.end(signal=11)
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["worker 1: Segmentation fault", "Worker 1 ended with signal 11 (SIGSEGV). It starts again in 0.5 s."],
        )

    def test_no_start(self) -> None:
        """A worker whose first process ends before it is ready can't start: its own reason says why, or its last line."""
        for tell, reason in (
            (lambda process: process.tell(failed="database x: disk full"), "database x: disk full"),
            (
                lambda process: process.protocol.childDataReceived(2, b"Traceback\nImportError: y\n"),
                "can't start: worker 1 ended with status 1: ImportError: y",
            ),
            (lambda process: None, "can't start: worker 1 ended with status 1"),
        ):
            self.setUp()
            started = self.worker.start()
            tell(self.process)
            self.process.end(1)
            self.assertEqual(str(self.failureResultOf(started, WorkerFailed).value), reason)
            self.clock.advance(LONGEST_PAUSE)
            self.assertEqual(len(self.processes), 1)

    def test_no_start_later(self) -> None:
        """A worker that can't start later is tried again and again, and its state says why."""
        self.start()
        self.process.end(signal=9)
        for _ in range(3):
            self.clock.advance(LONGEST_PAUSE)
            self.process.tell(failed="disk full")
            self.process.end(1)
        report = self.successResultOf(self.readiness())
        self.assertEqual(report, {"ready": False, "detail": "ended with status 1: disk full"})
        self.assertEqual(len(self.processes), 4)

    def readiness(self) -> Any:
        """The report of the worker."""
        return Deferred.fromCoroutine(self.worker.readiness())

    def test_stop(self) -> None:
        """A stop has the worker drain, and waits for the end of its process, which is not started again."""
        self.start()
        stopped = self.worker.stop()
        self.assertEqual(self.process.told, [{"do": "stop"}])
        self.worker.hurry()
        self.assertEqual(self.process.told[1:], [{"do": "hurry"}])
        self.assertNoResult(stopped)
        self.process.end()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_between_processes(self) -> None:
        """A worker that has died stays so."""
        self.start()
        self.process.end(signal=9)
        self.successResultOf(self.worker.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_of_the_start(self) -> None:
        """A stop before the worker is ready ends the start at once, which is no failure."""
        started = self.worker.start()
        stopped = self.worker.stop()
        self.assertEqual(self.process.signals, [signal.SIGTERM])
        self.process.end()
        self.successResultOf(started)
        self.successResultOf(stopped)

    def test_readiness(self) -> None:
        """A worker says itself whether it is ready; one that is starting, is gone, or does not answer is not."""
        started = self.worker.start()
        self.assertEqual(self.successResultOf(self.readiness()), {"ready": False, "detail": "starting"})
        self.process.tell(ready=True)
        self.successResultOf(started)
        first, second = self.readiness(), self.readiness()
        self.assertEqual(self.process.told, [{"ask": READINESS}] * 2)
        self.process.tell(told=READINESS, value={"ready": True, "database": "up"})
        for report in (first, second):
            self.assertEqual(self.successResultOf(report), {"pid": 100, "ready": True, "database": "up"})
        late = self.readiness()
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(late), {"pid": 100, "ready": False, "detail": "does not answer"})
        gone = self.readiness()
        self.process.end(signal=9)
        self.assertFalse(self.successResultOf(gone)["ready"])
        self.assertEqual(self.successResultOf(self.readiness())["detail"], "ended with signal 9 (SIGKILL)")

    def test_metrics(self) -> None:
        """Metrics are asked for, or told unasked before the end; those that were known last stay."""
        self.start()
        asked = self.worker.refresh_metrics()
        self.process.tell(told=METRICS, value=ONE)
        self.successResultOf(asked)
        self.assertEqual(self.total(), 1)
        silent = self.worker.refresh_metrics()
        self.clock.advance(2)
        self.successResultOf(silent)
        self.assertEqual(self.total(), 1)
        for _ in range(2):
            self.process.tell(told=METRICS, value=ONE)
            self.process.end(signal=9)
            self.successResultOf(self.worker.refresh_metrics())
            self.clock.advance(LONGEST_PAUSE)
            self.process.tell(ready=True)
        self.assertEqual(self.total(), 2)

    def total(self) -> float | None:
        return self.sums.with_own(CollectorRegistry()).get_sample_value("requests_total")

    def test_signals(self) -> None:
        """A signal goes to a worker that is ready, once one that is starting is so: it has no handler for it yet."""
        started = self.worker.start()
        self.worker.send_signal(signal.SIGHUP)
        self.worker.send_signal(signal.SIGHUP)
        self.assertEqual(self.process.signals, [])
        self.process.tell(ready=True)
        self.successResultOf(started)
        self.assertEqual(self.process.signals, [signal.SIGHUP])
        self.worker.send_signal(signal.SIGUSR1)
        self.assertEqual(self.process.signals, [signal.SIGHUP, signal.SIGUSR1])
        self.process.end(signal=9)
        self.worker.send_signal(signal.SIGHUP)
        self.clock.advance(0.5)
        self.worker.send_signal(signal.SIGHUP)
        self.process.end(signal=9)
        self.clock.advance(1)
        self.process.tell(ready=True)
        self.assertEqual(self.process.signals, [])  # the last process has begun with the present settings

    def test_json(self) -> None:
        """In a log of JSON each event has its worker's number."""
        lines: list[str] = []
        log = Logger("aibridge.x", observer=name_worker(2, lambda event: lines.append(json_of(event) or "")))
        log.warn("{what} happened", what="it")
        line = orjson.loads(lines[0])
        self.assertEqual((line["worker"], line["logger"], line["message"]), (2, "aibridge.x", "it happened"))

    def test_events(self) -> None:
        """Events that the worker sends become events of the parent's log, with the worker's name in their lines."""
        self.start()
        sent = StringIO()
        log = Logger("aibridge.x", observer=name_worker(1, jsonFileLogObserver(sent)))
        log.warn("{what} happened", what="it")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            log.failure("wrong")
        data = sent.getvalue().encode()
        with capturedLogs() as events:
            for piece in (data[:20], data[20:-3], data[-3:] + data[:9]):
                self.process.protocol.childDataReceived(1, piece)
        lines = [formatEventAsClassicLogText(event) for event in events]
        self.assertRegex(lines[0], r"\[worker 1: aibridge\.x#warn\] it happened\n$")
        self.assertRegex(lines[1], r"(?s)\[worker 1: aibridge\.x#critical\] wrong\n.*Traceback.*ZeroDivisionError")
        self.assertEqual([(event["worker"], event["log_level"]) for event in events[:1]], [(1, LogLevel.warn)])
        self.assertEqual((len(events), len(self.flushLoggedErrors())), (2, 1))

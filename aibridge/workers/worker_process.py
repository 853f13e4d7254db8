"""A worker as the parent sees it: its process, and the processes that take its place when it dies."""

import signal
from collections.abc import Callable
from io import StringIO
from typing import Any

from prometheus_client import Counter
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.process import Process
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, eventsFromJSONLogFile, globalLogPublisher
from twisted.python.failure import Failure

from ..errors import AIBridgeError
from .channel import FROM_PARENT, METRICS, READINESS, TO_PARENT, Message, MessageReader, write_message
from .metric_sums import MetricSums

_log = Logger()

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a worker is started again; each pause is twice the last one."""

STEADY = 60.0
"""A worker that was ready for so many seconds has the first pause again."""

ANSWER_TIMEOUT = 2.0
"""Seconds that a page of the operator's site waits for a worker's answer."""


class WorkerFailed(AIBridgeError):
    """A worker could not start."""


class WorkerProcess(ProcessProtocol):
    """A process of a worker.

    :param on_message: called with each message that is not asked for: ``ready``, ``failed``, and the last metrics.
    :param on_end: called when the process has ended and all that it sent has been read, with the manner of its end.
    """

    transport: Process

    def __init__(self, number: int, on_message: Callable[[Message], None], on_end: Callable[[str], None]) -> None:
        self._number = number
        self._on_message = on_message
        self._on_end = on_end
        self._messages = MessageReader()
        self._events = ""
        self._errors = ""
        self.last_error = ""
        """The last line that the process wrote to standard error."""

    def send(self, **message: object) -> None:
        """Send the worker a message. A process that has just ended gets none."""
        if FROM_PARENT in self.transport.pipes:
            self.transport.writeToChild(FROM_PARENT, write_message(**message))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take messages; write events and lines of standard error to the parent's log."""
        if childFD == TO_PARENT:
            for message in self._messages.feed(data):
                self._on_message(message)
        elif childFD == 1:
            events, newline, self._events = (self._events + data.decode(errors="replace")).rpartition("\n")
            for event in eventsFromJSONLogFile(StringIO(events + newline)):
                globalLogPublisher(event)
        else:
            *lines, self._errors = (self._errors + data.decode(errors="replace")).split("\n")
            for line in filter(str.strip, lines):
                self.last_error = line
                _log.error("worker {number}: {line}", number=self._number, line=line)

    def processEnded(self, reason: Failure) -> None:
        """Tell that the process has ended."""
        end: Any = reason.value
        if isinstance(end, ProcessTerminated) and end.signal:
            self._on_end(f"signal {end.signal} ({signal.Signals(end.signal).name})")
        else:
            self._on_end(f"status {end.exitCode}")


class RestartingWorker:
    """A worker that is started again when its process ends, after a growing pause.

    :param spawn: starts a process.
    :param forget: called when a process has ended.
    """

    def __init__(
        self,
        number: int,
        spawn: Callable[[int, WorkerProcess], None],
        forget: Callable[[int], None],
        sums: MetricSums,
        restarts: Counter,
        clock: IReactorTime,
    ) -> None:
        self.number = number
        self._spawn = spawn
        self._forget = forget
        self._sums = sums
        self._restarts = restarts
        self._clock = clock
        self._process: WorkerProcess | None = None
        self._started: Deferred[None] = Deferred()
        self._stopped: Deferred[None] | None = None
        self._restart: IDelayedCall | None = None
        self._pause = FIRST_PAUSE
        self._ready_at: float | None = None
        """None while the worker is not ready."""
        self._state = "starting"
        self._failure = ""
        """The reason that the worker gave for not starting."""
        self._late_signals: set[int] = set()
        self._questions: dict[str, list[Deferred[Any]]] = {METRICS: [], READINESS: []}

    def start(self) -> "Deferred[None]":
        """Fires when the worker is ready. Fails with `WorkerFailed` if its first process ends before that."""
        self._start_process()
        return self._started

    def stop(self) -> "Deferred[None]":
        """Have the worker drain, and start it no more. Fires when its process has ended."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._restart is not None:
                self._restart.cancel()
            if self._process is None:
                self._stopped.callback(None)
            else:
                self._process.send(do="stop")
                if self._ready_at is None:  # it reads no messages yet
                    self._process.transport.signalProcess(signal.SIGTERM)
        return self._stopped

    def hurry(self) -> None:
        """Have the worker end without waiting for requests in flight."""
        if self._process is not None:
            self._process.send(do="hurry")

    def send_signal(self, number: int) -> None:
        """Send a signal to the worker, if it is ready. One that is starting would die of it, and gets it later.

        It needs the signal then: it began with the settings from before.
        """
        if self._process is None:
            return
        if self._ready_at is None:
            self._late_signals.add(number)
        else:
            self._process.transport.signalProcess(number)

    def refresh_metrics(self) -> "Deferred[Any]":
        """Fires when the sums have the worker's present metrics, or those of a moment ago, if it does not answer."""
        return self._ask(METRICS)

    async def readiness(self) -> dict[str, Any]:
        """Return the worker's report on its parts; it is not ready while it is starting, or does not answer."""
        if self._process is None or self._ready_at is None:
            return {"ready": False, "detail": self._state}
        pid = self._process.transport.pid
        report: dict[str, Any] | None = await self._ask(READINESS)
        return {"pid": pid, **(report or {"ready": False, "detail": "does not answer"})}

    def _ask(self, kind: str) -> "Deferred[Any]":
        if self._process is None or self._ready_at is None:
            return succeed(None)
        answer: Deferred[Any] = Deferred()
        self._questions[kind].append(answer)
        self._process.send(ask=kind)
        return answer.addTimeout(ANSWER_TIMEOUT, self._clock, onTimeoutCancel=lambda *_: None)

    def _start_process(self) -> None:
        self._restart = None
        self._failure = ""
        self._late_signals.clear()
        self._process = WorkerProcess(self.number, self._take_message, self._process_ended)
        self._spawn(self.number, self._process)

    def _take_message(self, message: Message) -> None:
        if "ready" in message:
            self._ready_at = self._clock.seconds()
            for number in sorted(self._late_signals):
                self.send_signal(number)
            if not self._started.called:
                self._started.callback(None)
        elif "failed" in message:
            self._failure = message["failed"]
        else:
            kind, value = message["told"], message["value"]
            if kind == METRICS:
                self._sums.update(self.number, value)
            self._answer(kind, value)

    def _answer(self, kind: str, value: object) -> None:
        answers, self._questions[kind] = self._questions[kind], []
        for answer in answers:
            answer.callback(value)

    def _process_ended(self, how: str) -> None:
        assert self._process is not None
        error = self._process.last_error
        ready_at, self._process, self._ready_at = self._ready_at, None, None
        self._sums.end(self.number)
        self._forget(self.number)
        for kind in self._questions:
            self._answer(kind, None)
        if self._stopped is not None:
            if not self._started.called:
                self._started.callback(None)
            self._stopped.callback(None)
        elif not self._started.called:
            why = f"can't start: worker {self.number} ended with {how}" + (f": {error}" if error else "")
            self._started.errback(WorkerFailed(self._failure or why))
        else:
            self._start_later(how, ready_at)

    def _start_later(self, how: str, ready_at: float | None) -> None:
        if ready_at is not None and self._clock.seconds() - ready_at >= STEADY:
            self._pause = FIRST_PAUSE
        self._state = f"ended with {how}" + (f": {self._failure}" if self._failure else "")
        _log.error(
            "Worker {number} ended with {how}. It starts again in {pause:g} s.",
            number=self.number,
            how=how,
            pause=self._pause,
        )
        self._restarts.inc()
        self._restart = self._clock.callLater(self._pause, self._start_process)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

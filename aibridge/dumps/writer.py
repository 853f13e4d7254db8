"""The writing of one provider's dumps: pieces wait in memory, bounded, until a thread has written them."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..metrics import Metrics
from .folder import DumpFolder
from .masking import Masker

T = TypeVar("T")
RunInThread = Callable[[Callable[[], T]], "Deferred[T]"]

_log = Logger()
_PIECE = 64 * 1024
"""Bytes of a file that are collected before they are written."""
_MAX_PENDING = 64 * 1024 * 1024
"""Bytes of all files that may wait. More would be taken from the requests."""
_PERIOD = 0.1
"""Seconds for which pieces of several files wait for each other: a thread at a time writes many."""
_PAUSE = 60.0
"""Seconds after which a folder that could not be written is tried again."""


@define(eq=False)
class DumpFile:
    """A file that is being written. Its methods neither wait nor fail."""

    writer: "DumpWriter"
    exchange: str
    """The path of the exchange's directory within the folder."""
    name: str
    masker: Masker
    pieces: list[bytes] = field(factory=list, init=False)
    size: int = field(default=0, init=False)
    """The bytes of `pieces`."""
    is_first: bool = field(default=True, init=False)
    is_dropped: bool = field(default=False, init=False)

    def write(self, data: bytes) -> None:
        """Add to the file."""
        if self.is_dropped:
            return
        self.pieces.append(data)
        self.size += len(data)
        self.writer.pending += len(data)
        if self.size >= _PIECE:
            self.writer.put(self, is_end=False)

    def close(self) -> None:
        """End the file."""
        if not self.is_dropped:
            self.writer.put(self, is_end=True)


@define(eq=False)
class _Job:
    """Bytes to be appended to a file."""

    pieces: list[bytes]
    size: int
    is_end: bool


@define(eq=False)
class DumpWriter:
    """Writes the dumps of one provider. If the folder can't be written, dumps are left out, and requests go on."""

    provider: str
    folder: DumpFolder
    run_in_thread: "RunInThread[list[DumpFile]]"
    clock: IReactorTime
    metrics: Metrics
    stopped: str = field(default="", init=False)
    """Why nothing is dumped at present; empty if that works."""
    pending: int = field(default=0, init=False)
    """Bytes that wait."""
    _jobs: dict[DumpFile, _Job] = field(factory=dict, init=False)
    _is_flushing: bool = field(default=False, init=False)
    _running: "Deferred[None] | None" = field(default=None, init=False)
    """Fires when all that waits is written; None if nothing does."""
    _timer: IDelayedCall | None = field(default=None, init=False)
    _try_again_at: float = field(default=0.0, init=False)

    def open(self, exchange: str, name: str, masker: Masker) -> DumpFile:
        """Begin a file of an exchange."""
        file = DumpFile(self, exchange, name, masker)
        if self.stopped and self.clock.seconds() < self._try_again_at:
            self.drop(file)
        return file

    def put(self, file: DumpFile, is_end: bool) -> None:
        """Hand the pieces of a file over to the thread, unless too much waits already."""
        if self.pending > _MAX_PENDING:
            self.drop(file)
        if file.is_dropped:
            return
        job = self._jobs.get(file)
        if job is None:
            self._jobs[file] = _Job(file.pieces, file.size, is_end)
        else:
            job.pieces += file.pieces
            job.size += file.size
            job.is_end = is_end
        file.pieces, file.size = [], 0
        if self._running is None:
            self._running = Deferred()
            self._timer = self.clock.callLater(_PERIOD, self._run)

    def drop(self, file: DumpFile) -> None:
        """Write no more of a file."""
        if not file.is_dropped:
            file.is_dropped = True
            self.pending -= file.size
            file.pieces.clear()
            self.metrics.dumps_dropped.labels(self.provider).inc()

    def flush(self) -> "Deferred[None]":
        """Fire when everything that was handed over is written."""
        if self._running is None:
            return succeed(None)
        flushed: Deferred[None] = Deferred()
        self._running.addCallback(flushed.callback)
        self._is_flushing = True
        if self._timer is not None:
            self._run()
        return flushed

    def _run(self) -> None:
        """Write all that waits in a thread, and all that came meanwhile a little later."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        jobs, self._jobs = self._jobs, {}
        for file in [file for file in jobs if file.is_dropped]:
            self.pending -= jobs.pop(file).size
        if not jobs:
            running, self._running, self._is_flushing = self._running, None, False
            if running is not None:
                running.callback(None)
            return

        def done(result: list[DumpFile] | Failure) -> None:
            self.pending -= sum(job.size for job in jobs.values())
            if isinstance(result, Failure):
                self._stop(result, jobs)
            else:
                self._go_on()
                for file in result:
                    self.drop(file)
            if self._jobs and not self._is_flushing:
                self._timer = self.clock.callLater(_PERIOD, self._run)
            else:
                self._run()

        self.run_in_thread(lambda: self._write(jobs)).addBoth(done)

    def _write(self, jobs: Mapping[DumpFile, _Job]) -> list[DumpFile]:
        """Append to the files, in the thread. Return those for which there was no room."""
        left: list[DumpFile] = []
        for file, job in jobs.items():
            data = file.masker.feed(b"".join(job.pieces)) + (file.masker.close() if job.is_end else b"")
            if not self.folder.append(file.exchange, file.name, data, file.is_first):
                left.append(file)
            file.is_first = False
        return left

    def _stop(self, failure: Failure, files: Iterable[DumpFile]) -> None:
        """Leave out dumps for a while. The log tells it once."""
        reason = getattr(failure.value, "strerror", None) or type(failure.value).__name__
        if not isinstance(failure.value, OSError):
            _log.failure("dumps of {provider} failed", failure, provider=self.provider)
        elif not self.stopped:
            _log.error(
                "Dumps of {provider} stop, and requests go on: {folder} can't be written: {reason}",
                provider=self.provider,
                folder=str(self.folder.path),
                reason=reason,
            )
        self.stopped, self._try_again_at = reason, self.clock.seconds() + _PAUSE
        self.metrics.dumps_stopped.labels(self.provider).set(1)
        for file in files:
            self.drop(file)

    def _go_on(self) -> None:
        if self.stopped:
            self.stopped = ""
            self.metrics.dumps_stopped.labels(self.provider).set(0)
            _log.info("Dumps of {provider} are written again.", provider=self.provider)

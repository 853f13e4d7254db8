"""Two queues that keep the reactor from waiting: of rows for the next commit, and of calls for a thread.

Rows that are queued while a batch is being stored form the next batch, and a batch that is about to begin waits for as
long as each turn of the reactor brings more rows. So a lone request waits for one commit, and a thousand share one. On
a core that is fully used this halves the commits.

Both classes are used on the reactor's thread only, so there is nothing to lock.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from ..waiters import Waiters
from .statements import Entry, Refusals
from .turns import ReactorTurns

T = TypeVar("T")

_log = Logger()


class IThreadedReactor(IReactorTime, IReactorThreads):
    """A reactor with timers and threads, such as each of Twisted's own."""


class WorkerThread:
    """Makes blocking calls one after the other, on a thread of its own that starts with the first call."""

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._turns = ReactorTurns(reactor)
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any] | None, Deferred[Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, call: Callable[[], T]) -> "Deferred[T]":
        """Fires with the result of the call. If the Deferred is cancelled the call is still made."""
        if self._thread is None:
            # A daemon: a call that hangs must not keep the program from ending.
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        if self._turns.loop is None:
            self._turns.find_loop()
        done: Deferred[T] = Deferred()
        self._calls.put((call, done))
        return done

    def stop(self) -> "Deferred[bool]":
        """Fires with True when all calls have been made and the thread has ended. Call it once; no call may follow."""
        if self._thread is None:
            return succeed(True)
        thread: Thread = self._thread

        def join(result: bool) -> bool:
            thread.join()
            return result

        done: Deferred[bool] = Deferred()
        self._calls.put((None, done))
        return done.addCallback(join)

    def _run(self) -> None:
        result: object
        while True:
            call, done = self._calls.get()
            if call is None:
                break
            try:
                result = call()
            except BaseException:  # the caller's errback decides, as with any Deferred
                result = Failure()
            self._turns.call_from_thread(done.callback, result)
            del call, done, result  # an idle thread must hold on to no rows
        self._turns.call_from_thread(done.callback, True)


StoreBatch = Callable[[Sequence[Entry]], "Deferred[Refusals]"]
"""Makes entries durable, except those that it returns; RecordingError if it can't do so for any."""

OnSettled = Callable[[Sequence[Entry], Refusals], None]
"""Called once it is known whether entries are durable: all are, except those that were refused."""

_FULL_BATCH = 100
"""Groups of entries that make a batch large enough to begin at once."""


@define(eq=False)
class _Group:
    """Entries that were written together, and the Deferred that fires for all of them."""

    entries: Sequence[Entry]
    done: "Deferred[Any]"
    """Fires with `Entry.left` of the first entry, which matters to an interception that begins."""
    size: int


_ENTRIES = attrgetter("entries")


class WriteQueue:
    """Stores entries in the order in which they come, one batch at a time."""

    def __init__(
        self,
        clock: IReactorTime,
        store: StoreBatch,
        on_settled: OnSettled = lambda entries, refused: None,
    ) -> None:
        self._turns = ReactorTurns(clock)
        self._store = store
        self._on_settled = on_settled
        self._waiting: list[_Group] = []
        self._storing: list[_Group] = []
        self._held = False
        self._gathering = False
        self._idle = Waiters()
        self.queued_rows = 0
        """Rows that are not durable yet."""
        self.queued_bytes = 0
        """About the memory that these rows take."""

    def write(self, entries: Sequence[Entry]) -> "Deferred[None]":
        """Fires when all entries are durable; fails with `RecordingError` if one of them can't be made so."""
        size = 0
        for entry in entries:
            size += entry.size
        done: Deferred[None] = Deferred()
        self._waiting.append(_Group(entries, done, size))
        self.queued_rows += len(entries)
        self.queued_bytes += size
        if not (self._storing or self._gathering):
            self._gather()
        return done

    def hold(self) -> "Deferred[None]":
        """Begin no further batch until `release`. Fires when no batch is being stored."""
        self._held = True
        return self._when_idle()

    def release(self) -> None:
        """Go on after `hold`."""
        self._held = False
        self._start_batch()

    def flush(self) -> "Deferred[None]":
        """Fires when everything that was queued has been stored."""
        self._start_batch()
        return self._when_idle()

    def fail(self, error: RecordingError) -> None:
        """Fail everything that is queued with that error instead of storing it."""
        waiting, self._waiting = self._waiting, []
        for group in waiting:
            self._on_settled(group.entries, dict.fromkeys(group.entries, error))
            self.queued_rows -= len(group.entries)
            self.queued_bytes -= group.size
            group.done.errback(error)

    def _when_idle(self) -> "Deferred[None]":
        if not self._storing and (self._held or not self._waiting):
            return succeed(None)
        return self._idle.wait()

    def _gather(self) -> None:
        """Begin a batch in the first turn of the reactor that brings no more rows for it, or when it is full."""
        self._gathering = True
        self._turns.call_next(self._start_batch, len(self._waiting))

    def _start_batch(self, gathered: int = _FULL_BATCH) -> None:
        """Begin a batch if that can be. Wait one turn more if more rows are waiting than were `gathered` before."""
        self._gathering = False
        if gathered < len(self._waiting) < _FULL_BATCH:
            self._gather()
        elif self._waiting and not self._storing and not self._held:
            self._storing, self._waiting = self._waiting, []
            entries = list(chain.from_iterable(map(_ENTRIES, self._storing)))
            self._store(entries).addBoth(self._end_batch, entries)

    def _end_batch(self, result: Refusals | Failure, entries: Sequence[Entry]) -> None:
        refused = _refuse_all(result, entries) if isinstance(result, Failure) else result
        self._on_settled(entries, refused)
        stored, self._storing = self._storing, []
        for group in stored:
            self.queued_rows -= len(group.entries)
            self.queued_bytes -= group.size
            error = next((refused[entry] for entry in group.entries if entry in refused), None) if refused else None
            if error is None:
                group.done.callback(group.entries[0].left)
            else:
                group.done.errback(error)
        if self._held or not self._waiting:
            if self._idle.waiting:
                self._idle.notify()
        elif not self._gathering:
            self._gather()


def _refuse_all(failure: Failure, entries: Sequence[Entry]) -> Refusals:
    """Return the refusals of a batch of which nothing could be stored."""
    if isinstance(failure.value, RecordingError):
        return dict.fromkeys(entries, failure.value)
    _log.failure("Rows could not be stored because of an unexpected error.", failure)
    return {entry: entry.error("the log says why") for entry in entries}

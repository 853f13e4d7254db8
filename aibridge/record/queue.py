"""The queue in front of what stores rows.

Rows that are queued while a batch is being stored form the next one, and a batch that is about to begin waits for as
long as each turn of the reactor brings more: so a lone request waits for one commit, and a thousand share one. On a
core that is fully used this halves the commits. Everything here happens on the reactor's thread, so there is nothing
to lock.
"""

from collections.abc import Awaitable, Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from ..waiters import Waiters
from .statements import Entry, Refusals

T = TypeVar("T")


class Worker:
    """Makes calls in their order, on a thread of its own that begins with the first of them.

    Use it on the reactor's thread only.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._calls: SimpleQueue[tuple[Callable[[], Any] | None, Deferred[Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    def do(self, call: Callable[[], T]) -> "Deferred[T]":
        """What the call returns or raises. Cancelled, the call is still made; nobody hears of it."""
        if self._thread is None:
            # A daemon: a call that hangs must not keep the program from ending.
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[T] = Deferred()
        self._calls.put((call, done))
        return done

    def stop(self) -> "Deferred[bool]":
        """True, when all calls have been made and the thread has ended. It does not begin again."""
        if self._thread is None:
            return succeed(True)
        done: Deferred[bool] = Deferred()
        self._calls.put((None, done))
        return done.addCallback(self._join)

    def _join(self, ended: bool) -> bool:
        assert self._thread is not None
        self._thread.join()
        return ended

    def _run(self) -> None:
        result: Any
        while True:
            call, done = self._calls.get()
            if call is None:
                break
            try:
                result = call()
            except BaseException:  # it is the caller's, as in any Deferred
                result = Failure()
            self._reactor.callFromThread(done.callback, result)
            del call, done, result  # an idle thread holds on to no rows
        self._reactor.callFromThread(done.callback, True)


StoreBatch = Callable[[Sequence[Entry]], Awaitable[Refusals]]
"""Makes entries durable, all but those that it returns; RecordingError where it can do so with none."""

Settled = Callable[[Sequence[Entry], Refusals], None]
"""Told of entries of which it is known now whether they are durable: all are, but those that were refused."""

_ENOUGH = 100
"""Groups of entries that make a batch large enough to begin at once."""

_log = Logger()


@define(eq=False)
class _Group:
    """Entries that are waited for together."""

    entries: Sequence[Entry]
    done: "Deferred[None]"
    size: int


class Writer:
    """Hands entries over in the order in which they come, one batch at a time."""

    def __init__(self, reactor: Any, store: StoreBatch, settled: Settled = lambda entries, refused: None) -> None:
        self._reactor = reactor
        self._store = store
        self._settled = settled
        self._waiting: list[_Group] = []
        self._storing: list[_Group] = []
        self._held = False
        self._gathering = False
        self._idle = Waiters()
        self.queued_rows = 0
        """How many rows are not durable yet."""
        self.queued_bytes = 0
        """About how much memory they take."""

    def write(self, entries: Sequence[Entry]) -> "Deferred[None]":
        """Fires when all of them are durable; fails with `RecordingError` when one can't be made so."""
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
        """Begin no further batch until `release`. Fires when none is under way."""
        self._held = True
        return self._when_idle()

    def release(self) -> None:
        self._held = False
        self._flush()

    def finish(self) -> "Deferred[None]":
        """Fires when all that was queued has been handed over."""
        self._flush()
        return self._when_idle()

    def fail(self, error: RecordingError) -> None:
        """What waits will not be stored."""
        waiting, self._waiting = self._waiting, []
        for group in waiting:
            self._settled(group.entries, dict.fromkeys(group.entries, error))
            self._leaves(group)
            group.done.errback(error)

    def _when_idle(self) -> "Deferred[None]":
        if not self._storing and (self._held or not self._waiting):
            return succeed(None)
        return self._idle.wait()

    def _gather(self) -> None:
        """A batch begins in the first turn of the reactor that brings no more for it, or when it is large enough."""
        self._gathering = True
        self._reactor.callLater(0, self._end_of_turn, len(self._waiting))

    def _end_of_turn(self, gathered: int) -> None:
        self._gathering = False
        if gathered < len(self._waiting) < _ENOUGH:
            self._gather()
        else:
            self._flush()

    def _flush(self) -> None:
        if self._storing or self._held or not self._waiting:
            return
        self._storing, self._waiting = self._waiting, []
        entries = [entry for group in self._storing for entry in group.entries]
        Deferred.fromCoroutine(self._store_batch(entries))

    async def _store_batch(self, entries: list[Entry]) -> None:
        try:
            refused = await self._store(entries)
        except RecordingError as error:
            refused = dict.fromkeys(entries, error)
        except Exception:
            _log.failure("rows could not be stored, for a reason that nobody foresaw")
            refused = {entry: entry.error("the log says why") for entry in entries}
        self._settled(entries, refused)
        self._stored(refused)

    def _stored(self, refused: Refusals) -> None:
        stored, self._storing = self._storing, []
        for group in stored:
            self._leaves(group)
            error = next((refused[entry] for entry in group.entries if entry in refused), None) if refused else None
            if error is None:
                group.done.callback(None)
            else:
                group.done.errback(error)
        if self._held or not self._waiting:
            self._idle.notify()
        elif not self._gathering:
            self._gather()

    def _leaves(self, group: _Group) -> None:
        self.queued_rows -= len(group.entries)
        self.queued_bytes -= group.size

"""The queue in front of what stores rows.

Rows that are queued while a batch is being stored form the next one, and a batch that is about to begin waits for as
long as each turn of the reactor brings more: so a lone request waits for one commit, and a thousand share one. On a
core that is fully used this halves the commits. Everything here happens on the reactor's thread, so there is nothing
to lock.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from ..errors import RecordingError
from .statements import Entry, Refusals

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
        self._idle: list[Deferred[None]] = []
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
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        return idle

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
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)
        elif not self._gathering:
            self._gather()

    def _leaves(self, group: _Group) -> None:
        self.queued_rows -= len(group.entries)
        self.queued_bytes -= group.size

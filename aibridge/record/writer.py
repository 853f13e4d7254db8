"""The queue in front of what stores rows.

Rows that are queued while a batch is being stored form the next one, so nothing waits for a timer: a lone
request waits for one commit, a thousand requests share one. Everything here happens on the reactor's thread,
so there is nothing to lock.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from ..errors import RecordingError
from .statements import Entry, Refusals

StoreBatch = Callable[[Sequence[Entry]], Awaitable[Refusals]]
"""Makes entries durable, all but those that it returns; RecordingError where it can do so with none."""

_log = Logger()


class Writer:
    """Hands entries over in the order in which they come, one batch at a time."""

    def __init__(self, reactor: Any, store: StoreBatch) -> None:
        self._reactor = reactor
        self._store = store
        self._waiting: dict[Entry, Deferred[None]] = {}
        self._storing: dict[Entry, Deferred[None]] = {}
        self._waiting_bytes = 0
        self._storing_bytes = 0
        self._held = False
        self._idle: list[Deferred[None]] = []

    @property
    def queued_rows(self) -> int:
        """How many rows are not durable yet."""
        return len(self._waiting) + len(self._storing)

    @property
    def queued_bytes(self) -> int:
        """About how much memory they take."""
        return self._waiting_bytes + self._storing_bytes

    def write(self, entry: Entry) -> "Deferred[None]":
        """Fires when the entry is durable; fails with `RecordingError` when it can't be made so."""
        if not self._waiting and not self._storing:
            # Not at once: what is recorded in the same turn of the reactor shares the commit.
            self._reactor.callLater(0, self._flush)
        done = self._waiting[entry] = Deferred()
        self._waiting_bytes += entry.size
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
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        for done in waiting.values():
            done.errback(error)

    def _when_idle(self) -> "Deferred[None]":
        if not self._storing and (self._held or not self._waiting):
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        return idle

    def _flush(self) -> None:
        if self._storing or self._held or not self._waiting:
            return
        self._storing, self._waiting = self._waiting, {}
        self._storing_bytes, self._waiting_bytes = self._waiting_bytes, 0
        Deferred.fromCoroutine(self._store_batch(list(self._storing)))

    async def _store_batch(self, entries: list[Entry]) -> None:
        try:
            refused = await self._store(entries)
        except RecordingError as error:
            refused = dict.fromkeys(entries, error)
        except Exception:
            _log.failure("rows could not be stored, for a reason that nobody foresaw")
            refused = {entry: entry.error("the log says why") for entry in entries}
        self._stored(refused)

    def _stored(self, refused: Refusals) -> None:
        stored, self._storing, self._storing_bytes = self._storing, {}, 0
        for entry, done in stored.items():
            if entry in refused:
                done.errback(refused[entry])
            else:
                done.callback(None)
        self._flush()
        if not self._storing:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

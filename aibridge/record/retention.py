"""Keeping records for so many days, and no longer."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from time import perf_counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .keeper import Keeper, Phase
from .ledger import utc_now
from .purge import Deleted, purge
from .store import Store

FIRST_AFTER = 60.0
EVERY = 3600.0
"""Seconds: the first look a while after the start, when there is most to do, and from the end of one to the next."""

REST = 9
"""After each step nothing is deleted for so many times as long as it took: recording has the database nine tenths of
the time, however slow that is."""

_log = Logger()


class Retention:
    """Deletes what is older than so many days, from `start` to `stop`. Use it on the reactor's thread only."""

    def __init__(self, reactor: Any, keeper: Keeper, store: Store, days: int) -> None:
        self._reactor = reactor
        self._keeper = keeper
        self._store = store
        self._longest = timedelta(days=days)
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_unless_cancelled)

    def stop(self) -> None:
        """A step that is under way is finished; nothing else begins."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        pause = FIRST_AFTER
        while True:
            await deferLater(self._reactor, pause)
            await self._look()
            pause = EVERY

    async def _look(self) -> None:
        """What is left because the database is away is there in an hour, too."""
        deleted: Counter[str] = Counter()
        steps = purge(self._store, utc_now() - self._longest)
        try:
            while self._keeper.phase is Phase.UP:
                step, seconds = await self._keeper.in_database(lambda: _timed(steps))
                if step is None:
                    break
                deleted[step.kind] += step.rows
                await deferLater(self._reactor, REST * seconds)
        except RecordingError as error:
            _log.warn("what is too old has to wait: {reason}", reason=str(error))
        for kind, rows in deleted.items():
            _log.info("{rows} {kind} were too old, and are deleted", rows=rows, kind=kind)


def _timed(steps: Iterator[Deleted]) -> tuple[Deleted | None, float]:
    """The next step, and the seconds it took."""
    begun = perf_counter()
    return next(steps, None), perf_counter() - begun


def _unless_cancelled(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("nothing is deleted any more", failure)

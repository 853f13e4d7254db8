"""Keeps the roll-ups of a database up to date while a gateway runs."""

from datetime import timedelta
from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .queue import IThreadedReactor, WorkerThread
from .rollups import NotLeading, Rollups
from .values import utc_now

FIRST_AFTER = 3.0
EVERY = 30.0
"""Seconds: the first run comes soon after the start, the next ones after each end."""

_log = Logger()


class RollupKeeper:
    """Runs the roll-ups again and again, from `start` to `stop`, on a thread of its own.

    Of several processes on one database one does so. Use it on the reactor's thread only.

    :param figures_days: the age at which figures are deleted; 0 keeps them for ever. It may be set later.
    """

    def __init__(self, url: str, reactor: IThreadedReactor, figures_days: int = 0) -> None:
        self._url = url
        self._reactor = reactor
        self.figures_days = figures_days
        self._thread: WorkerThread | None = None
        self._rollups: Rollups | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin with the first run in a few seconds."""

        def ended(failure: Failure) -> None:
            if not failure.check(CancelledError):
                _log.failure("Roll-ups are kept no longer; queries read all records instead.", failure)

        self._thread = WorkerThread(self._reactor, "aibridge-rollups")
        self._running = Deferred.fromCoroutine(self._run(self._thread)).addErrback(ended)

    async def stop(self) -> None:
        """Begin no further step; fires when the present one is finished."""
        if self._thread is None or self._running is None:
            return
        self._running.cancel()
        self._thread.run(self._close).addErrback(lambda failure: None)
        await self._thread.stop()
        self._thread = None

    async def _run(self, thread: WorkerThread) -> None:
        pause = FIRST_AFTER
        while True:
            await deferLater(self._reactor, pause)
            pause = EVERY
            try:
                await self._run_once(thread)
            except NotLeading:
                pass
            except RecordingError as error:
                _log.warn("Roll-ups are made later: {reason}", reason=str(error))

    async def _run_once(self, thread: WorkerThread) -> None:
        if self._rollups is None:
            self._rollups = await thread.run(partial(Rollups, self._url))
        rollups = self._rollups
        steps = rollups.run()
        while await thread.run(partial(next, steps, None)) is not None:
            pass
        if self.figures_days:
            before = utc_now() - timedelta(days=self.figures_days)
            await thread.run(partial(rollups.delete_before, before))

    def _close(self) -> None:
        if self._rollups is not None:
            self._rollups.close()

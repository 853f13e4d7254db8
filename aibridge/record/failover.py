"""Where rows go: into the database, and while that is away, into the spool.

::

    STARTING ──► UP ◄────────────── CATCHING_UP
        │         │ a commit fails,   ▲      │ a step
        │         ▼ or takes too long │      ▼ fails
        └──────► AWAY ────────────────┘    (AWAY)
                       it can be opened

UP, every row goes to the database, and the spool is empty. In the other states every row goes to the spool,
so that the rows of one id are never in two places in the wrong order. A batch whose commit failed or hangs
goes to the spool too; should the database have it after all, it gets the same rows once more. CATCHING_UP
ends with a moment in which new rows wait: the last ones leave the spool, then it is empty, and only then the
next one goes to the database.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from time import perf_counter
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .database import DatabaseAway, describe
from .queue import Settled, Worker, Writer
from .spool import STEP_ROWS, Spool, move
from .statements import Encoder, Entry, Refusals
from .store import Store

T = TypeVar("T")

Observer = Callable[[float, int], None]
"""Told of each commit to the database: the seconds until it was heard of, and how many rows it was for."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Seconds between two attempts to reach the database; each pause is twice the last one."""

_RESERVE = 0.1
"""The part of the spool's room in which nothing new begins: it is for the ends of what is under way."""

_log = Logger()


class Phase(Enum):
    """How it stands with the database."""

    STARTING = "starting"
    UP = "up"
    AWAY = "away"
    CATCHING_UP = "catching up"


@frozen
class SpoolRoom:
    """A process's spool, as two connections: one takes rows in while the other moves them out."""

    appending: Spool
    moving: Spool
    max_bytes: int

    @property
    def rows(self) -> int:
        """How many rows wait in it. Each of the two numbers is changed by one thread only."""
        return self.appending.added - self.moving.removed


class FailoverStore:
    """Makes rows durable, in the database alone where there is no spool. Use it on the reactor's thread only.

    ``opened`` is called on the database's thread each time that it was opened, and ``came_up`` on the reactor's each
    time that rows begin to go there.
    """

    def __init__(
        self,
        reactor: Any,
        store: Store,
        encoder: Encoder,
        spool: SpoolRoom | None,
        *,
        opened: Callable[[], None],
        came_up: Callable[[], None],
        settled: Settled,
        commit_timeout: float,
        observe: Observer,
    ) -> None:
        self.phase = Phase.STARTING
        """Without a spool it stays UP once it is: each commit tells for itself."""
        self.reason = ""
        """Why the database is away."""
        self.used_bytes = 0
        """The room that the spool took when it was last looked at."""
        self.writer = Writer(reactor, self._keep, settled)
        self._reactor = reactor
        self._store = store
        self._encoder = encoder
        self._spool = spool
        self._opened = opened
        self._came_up = came_up
        self._commit_timeout = commit_timeout
        self._observe = observe
        self._database = Worker(reactor, "aibridge-writer")
        self._disk = Worker(reactor, "aibridge-spool")
        self._returning: Deferred[None] | None = None
        self._stopping = False

    @property
    def spooled_rows(self) -> int:
        return self._spool.rows if self._spool else 0

    @property
    def is_full(self) -> bool:
        """Whether the spool has room for the ends of interceptions only."""
        return self.phase is not Phase.UP and self._takes_up(1 - _RESERVE)

    def in_database(self, call: Callable[[], T]) -> "Deferred[T]":
        """The call on the database's thread, however long it takes."""
        return self._database.do(call)

    def in_time(self, call: Callable[[], T]) -> "Deferred[T]":
        """The call on the database's thread; `DatabaseAway` when it takes too long, and it goes on all the same."""
        done = self._database.do(call)
        if self._spool is not None:
            done.addTimeout(self._commit_timeout, self._reactor, onTimeoutCancel=_too_slow)
        return done

    async def start(self) -> None:
        """Open the database, or begin without it. RecordingError where waiting for it would not help."""
        await self.writer.hold()
        try:
            await self.in_time(self._open)
            self._is_up()
        except DatabaseAway as error:
            if self._spool is None:
                raise
            self.lost(error)
        self.writer.release()

    async def stop(self, leave: Callable[[bool], None]) -> None:
        """Make durable what is queued, and end. The last call on the database's thread is ``leave``: is all in there?

        Where there is a spool, a database that hangs is not waited for: its thread leaves when it gets there, or with
        the program.
        """
        self._stopping = True
        if self._returning is not None:
            self._returning.cancel()
        await self.writer.finish()
        await self._disk.stop()
        is_up = self.phase is Phase.UP
        self._database.do(lambda: self._close(leave, is_up)).addErrback(_not_clean)
        ended = self._database.stop()
        if self._spool is not None:
            ended.addTimeout(self._commit_timeout, self._reactor, onTimeoutCancel=_leave_it)
        await ended

    def lost(self, error: RecordingError) -> None:
        """The database is away: rows go to the spool until it is back."""
        self.reason = str(error)
        if self.phase is Phase.AWAY or self._spool is None:
            return
        self.phase = Phase.AWAY
        _log.warn("the database is away, records go to the spool: {reason}", reason=self.reason)
        if self._returning is None and not self._stopping:
            self._returning = Deferred.fromCoroutine(self._return()).addErrback(self._given_up)

    def _is_up(self) -> None:
        self.phase = Phase.UP
        self._came_up()

    # Rows come in

    async def _keep(self, entries: Sequence[Entry]) -> Refusals:
        if self.phase is Phase.UP:
            try:
                return await self._commit(entries)
            except DatabaseAway as error:
                if self._spool is None:
                    raise
                self.lost(error)
        return await self._append(entries)

    async def _commit(self, entries: Sequence[Entry]) -> Refusals:
        begun = perf_counter()
        refused = await self.in_time(lambda: self._store.commit(entries))
        self._observe(perf_counter() - begun, len(entries))
        return refused

    async def _append(self, entries: Sequence[Entry]) -> Refusals:
        assert self._spool is not None
        if self._takes_up(1):
            raise RecordingError("the database is away, and the spool is full")
        spool = self._spool.appending
        refused, self.used_bytes = await self._disk.do(lambda: (spool.append(entries), spool.used_bytes()))
        return refused

    # Rows move on

    async def _return(self) -> None:
        pause = FIRST_PAUSE
        while self.phase is not Phase.UP:
            await deferLater(self._reactor, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                await self._look_at_spool()
                await self._catch_up()
            except CancelledError:
                raise
            except RecordingError as error:
                self.lost(error)
            except Exception as error:  # nobody foresaw it, and rows are waiting all the same
                _log.failure("the way back to the database failed")
                self.lost(RecordingError(describe(error)))
        self._returning = None

    async def _catch_up(self) -> None:
        await self.in_database(self._open)
        self.phase = Phase.CATCHING_UP
        _log.info("the database is back: {rows} spooled rows move over", rows=self.spooled_rows)
        while self.spooled_rows > STEP_ROWS:
            _, self.used_bytes = await self.in_database(self._step)
        try:
            await self.writer.hold()
            while (await self.in_time(self._step))[0]:
                pass
            self._is_up()
        finally:
            self.writer.release()
        _log.info("all spooled rows are in the database")
        await self._tidy()

    def _open(self) -> None:
        self._store.open()
        self._opened()

    def _close(self, leave: Callable[[bool], None], is_up: bool) -> None:
        if self._spool is not None:
            self._spool.appending.close()
            self._spool.moving.close()
        try:
            leave(is_up)
        finally:
            self._store.close()

    def _step(self) -> tuple[int, int]:
        assert self._spool is not None
        spool = self._spool.moving
        return move(spool, self._store, self._encoder), spool.used_bytes()

    async def _tidy(self) -> None:
        assert self._spool is not None
        try:
            await self.in_database(self._spool.moving.shrink)
        except RecordingError as error:
            _log.warn("the spool did not become smaller: {reason}", reason=str(error))

    async def _look_at_spool(self) -> None:
        assert self._spool is not None
        self.used_bytes = await self.in_database(self._spool.moving.used_bytes)

    def _given_up(self, failure: Failure) -> None:
        self._returning = None
        if not self._stopping:
            _log.failure("nobody waits for the database any more", failure)

    # Time and room

    def _takes_up(self, part: float) -> bool:
        return self._spool is not None and self.used_bytes >= part * self._spool.max_bytes


def _too_slow(_: object, seconds: float) -> None:
    raise DatabaseAway(f"no answer within {seconds:g} s")


def _leave_it(_: object, seconds: float) -> None:
    _log.warn("the database still does not answer; what it did not take is in the spool")


def _not_clean(failure: Failure) -> None:
    _log.failure("the database was not left in order", failure)

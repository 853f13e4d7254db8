"""The place where rows go: into the database, and while that is away, into the spool.

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
from functools import partial
from time import perf_counter
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from ..http.deadlines import Deadlines
from .budgets.gate import BudgetGate
from .database import DatabaseAway, DatabaseRefused, describe
from .queue import IThreadedReactor, OnSettled, WorkerThread, WriteQueue
from .spool import STEP_ROWS, Spool, SpoolFailed, move_batch
from .statements import Encoder, Entry, Refusals
from .store import Store

T = TypeVar("T")

OnCommit = Callable[[float, int], None]
"""Called after each commit to the database with the seconds that it took, as the reactor saw it, and its rows."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Seconds between two attempts to reach the database; each pause is twice the last one."""

_RESERVE = 0.1
"""The part of the spool's room that is kept for the ends of interceptions: none begins when only this is left."""

_log = Logger()


class DatabaseState(Enum):
    """The state of the database, as the process sees it."""

    STARTING = "starting"
    UP = "up"
    AWAY = "away"
    CATCHING_UP = "catching up"


@frozen
class ProcessSpool:
    """The spool of this process, as two connections: rows are added through one while the other moves them out."""

    appending: Spool
    moving: Spool
    max_bytes: int

    @property
    def rows(self) -> int:
        """The rows that wait in the spool. Each of the two numbers is changed by one thread only."""
        return self.appending.added - self.moving.removed


class FailoverStore:
    """Makes rows durable; without a spool, in the database alone. Use it on the reactor's thread only.

    ``on_open`` is called on the database's thread each time that the database was opened, and ``on_up`` on the
    reactor's each time that rows begin to go there. ``waits``: a server that refuses the connection counts as away at
    the start, too.
    """

    def __init__(
        self,
        reactor: IThreadedReactor,
        store: Store,
        encoder: Encoder,
        spool: ProcessSpool | None,
        *,
        gate: BudgetGate,
        on_open: Callable[[], None],
        on_up: Callable[[], None],
        on_settled: OnSettled,
        on_commit: OnCommit,
        commit_timeout: float,
        waits: bool = False,
    ) -> None:
        self.state = DatabaseState.STARTING
        """Without a spool it stays UP once it is: each commit finds out for itself."""
        self.reason = ""
        """The reason why the database is away."""
        self.spool_failure = ""
        """The reason why the spool does not take rows either; empty if it does, or is not needed."""
        self.used_bytes = 0
        """The room that all spools in the folder took when that was last measured."""
        self.queue = WriteQueue(reactor, self._store_batch, on_settled)
        self._reactor = reactor
        self._store = store
        self._encoder = encoder
        self._spool = spool
        self._gate = gate
        self._on_open = on_open
        self._on_up = on_up
        self._on_commit = on_commit
        self._commit_timeout = commit_timeout
        self._deadlines = Deadlines(reactor)
        self._waits = waits
        self._database = WorkerThread(reactor, "aibridge-writer")
        self._disk = WorkerThread(reactor, "aibridge-spool")
        self._reconnecting: Deferred[None] | None = None
        self._stopping = False

    @property
    def spooled_rows(self) -> int:
        """The rows that wait in the spool."""
        return self._spool.rows if self._spool else 0

    @property
    def is_full(self) -> bool:
        """True while the spool has room for the ends of interceptions only."""
        return self.state is not DatabaseState.UP and self._spool_uses(1 - _RESERVE)

    def run(self, call: Callable[[], T]) -> "Deferred[T]":
        """Make the call on the database's thread, however long it takes."""
        return self._database.run(call)

    def run_in_time(self, call: Callable[[], T]) -> "Deferred[T]":
        """Make the call on the database's thread. `DatabaseAway` if it takes too long; it goes on all the same.

        Without a spool nothing could be done instead, so the call may take as long as it likes.
        """

        done = self._database.run(call)
        if self._spool is None:
            return done
        deadline = self._deadlines.start(self._commit_timeout, done.cancel)

        def ended(result: T) -> T:
            self._deadlines.cancel(deadline)
            if deadline.expired:
                raise DatabaseAway(f"no answer within {self._commit_timeout:g} s")
            return result

        return done.addBoth(ended)

    async def start(self) -> None:
        """Open the database, or begin without it. RecordingError if it can't be opened and waiting would not help."""
        await self.queue.hold()
        try:
            await self.run_in_time(self._open_database)
            self._mark_up()
        except (DatabaseAway, DatabaseRefused) as error:
            if self._spool is None or not (self._waits or isinstance(error, DatabaseAway)):
                raise
            self.mark_away(error)
        self.queue.release()

    async def stop(self, leave: Callable[[bool], None]) -> None:
        """Make durable what is queued, and end everything that `start` began. Call it once.

        ``leave`` is the last call on the database's thread; its argument is True if the database has all rows. With a
        spool, a database that hangs is not waited for: the thread ends when the database answers, or with the program.
        """
        self._stopping = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        await self.queue.flush()
        await self._disk.stop()
        is_up = self.state is DatabaseState.UP
        self._database.run(lambda: self._close(leave, is_up)).addErrback(
            lambda failure: _log.failure("The database was not left in order.", failure)
        )
        ended = self._database.stop()
        if self._spool is not None:
            ended.addTimeout(self._commit_timeout, self._reactor, onTimeoutCancel=_log_hanging_database)
        await ended
        self._deadlines.stop()

    def mark_away(self, error: RecordingError) -> None:
        """Send rows to the spool until the database is back, and begin to look for it."""
        self.reason = str(error)
        if self.state is DatabaseState.AWAY or self._spool is None:
            return
        self.state = DatabaseState.AWAY
        _log.warn("The database is away, records go to the spool: {reason}", reason=self.reason)
        if self._reconnecting is None and not self._stopping:
            self._reconnecting = Deferred.fromCoroutine(self._reconnect(self._spool))
            self._reconnecting.addErrback(self._end_of_reconnecting)

    def _mark_up(self) -> None:
        self.state = DatabaseState.UP
        self.spool_failure = ""
        self._on_up()

    # New rows

    def _store_batch(self, entries: Sequence[Entry]) -> "Deferred[Refusals]":
        if self.state is not DatabaseState.UP:
            return Deferred.fromCoroutine(self._append(entries))
        begun = perf_counter()

        def committed(refused: Refusals) -> Refusals:
            self._on_commit(perf_counter() - begun, len(entries))
            if self._gate.accounts.outcomes:
                self._gate.settle()
            return refused

        def failed(failure: Failure) -> "Failure | Deferred[Refusals]":
            if self._spool is None or not isinstance(failure.value, DatabaseAway):
                return failure
            self.mark_away(failure.value)
            return Deferred.fromCoroutine(self._append(entries))

        return self.run_in_time(partial(self._store.commit, entries)).addCallbacks(committed, failed)

    async def _append(self, entries: Sequence[Entry]) -> Refusals:
        assert self._spool is not None
        if self._spool_uses(1):
            raise RecordingError("the database is away, and the spool is full")
        spool, refused = self._spool.appending, self._gate.check_away(entries)
        if refused:
            ends = [self._encoder(self._gate.end_record(entry, error)) for entry, error in refused.items()]
            entries = [*entries, *ends]
        try:
            unstorable, self.used_bytes = await self._disk.run(lambda: (spool.append(entries), spool.used_bytes()))
        except SpoolFailed as error:
            self._note_spool(str(error))
            raise
        self._note_spool("")
        return {**refused, **unstorable}

    def _note_spool(self, failure: str) -> None:
        """Note whether the spool takes rows. The log says so when that changes."""
        if failure and not self.spool_failure:
            _log.error("The spool can't be written either, so requests are refused: {reason}", reason=failure)
        elif self.spool_failure and not failure:
            _log.info("The spool can be written again.")
        self.spool_failure = failure

    def _spool_uses(self, part: float) -> bool:
        return self._spool is not None and self.used_bytes >= part * self._spool.max_bytes

    # The way back to the database

    async def _reconnect(self, spool: ProcessSpool) -> None:
        pause = FIRST_PAUSE
        while self.state is not DatabaseState.UP:
            await deferLater(self._reactor, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if self.spool_failure:
                await self._try_spool(spool)
            try:
                # Other processes share the folder: the room they gave back counts, too.
                self.used_bytes = await self.run(spool.moving.used_bytes)
                await self._catch_up(spool)
            except CancelledError:
                raise
            except RecordingError as error:
                self.mark_away(error)
            except Exception as error:  # a fault of the gateway's own; rows are waiting all the same
                _log.failure("The database could not be reached because of an unexpected error.")
                self.mark_away(RecordingError(describe(error)))
        self._reconnecting = None

    async def _try_spool(self, spool: ProcessSpool) -> None:
        """Find out whether a spool that has failed takes rows again.

        A gateway that is not ready may get no request whose row would show it.
        """
        try:
            await self._disk.run(spool.appending.try_to_write)
            self._note_spool("")
        except SpoolFailed as error:
            self._note_spool(str(error))

    async def _catch_up(self, spool: ProcessSpool) -> None:
        def move() -> tuple[int, int]:
            return move_batch(spool.moving, self._store, self._encoder), spool.moving.used_bytes()

        await self.run(self._open_database)
        self.state = DatabaseState.CATCHING_UP
        _log.info("The database is back, {rows} spooled rows move over.", rows=spool.rows)
        while spool.rows > STEP_ROWS:
            _, self.used_bytes = await self.run(move)
        try:
            await self.queue.hold()
            while (moved := await self.run_in_time(move))[0]:
                pass
            self.used_bytes = moved[1]
            self._mark_up()
        finally:
            self.queue.release()
        self._gate.settle()
        _log.info("All spooled rows are in the database.")
        try:
            await self.run(spool.moving.shrink)
            self.used_bytes = await self.run(spool.moving.used_bytes)
        except RecordingError as error:
            _log.warn("The spool's file could not be made smaller: {reason}", reason=str(error))

    def _end_of_reconnecting(self, failure: Failure) -> None:
        self._reconnecting = None
        if not self._stopping:
            _log.failure("The gateway no longer tries to reach the database.", failure)

    # On the database's thread

    def _open_database(self) -> None:
        self._store.open()
        self._on_open()

    def _close(self, leave: Callable[[bool], None], is_up: bool) -> None:
        if self._spool is not None:
            self._spool.appending.close()
            self._spool.moving.close()
        try:
            leave(is_up)
        finally:
            self._store.close()


def _log_hanging_database(_: object, seconds: float) -> None:
    _log.warn("The database still does not answer. The rows that it did not take are in the spool.")

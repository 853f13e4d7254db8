"""Retention: deleting records that are older than so many days."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from attrs import frozen
from sqlalchemy import Column, ColumnElement, Connection, Row, Table, and_, exists, func, not_, select, true
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .failover import DatabaseState, FailoverStore
from .queue import IThreadedReactor
from .records import IN_PROGRESS
from .rollup_changes import freeze, hour_of
from .schema import interceptions, processes, stored_objects, toolsets, turns
from .store import Store
from .values import utc_now

STEP_ROWS = 10
"""Rows that are deleted in one transaction."""

FIRST_AFTER = 60.0
EVERY = 3600.0
"""Seconds: the first purge comes a while after the start, when there is most to do; the next ones after each end."""

REST = 9
"""After each step nothing is deleted for so many times as long as it took: recording has the database nine tenths of
the time, however slow the database is."""

_LOCK = 0x61696264
"""The key of PostgreSQL's advisory lock ("aibd"): only purges take it."""

_log = Logger()


@frozen
class _Kind:
    """A table whose rows are deleted, the column that tells their age, and the condition under which they may go."""

    name: str
    table: Table
    at: Column[datetime]
    may_go: ColumnElement[bool]


_KINDS = (
    _Kind("interceptions", interceptions, interceptions.c.started_at, interceptions.c.status != IN_PROGRESS),
    _Kind("turns of conversations", turns, turns.c.created_at, true()),
    _Kind("lists of tools", toolsets, toolsets.c.created_at, not_(exists().where(turns.c.toolset_id == toolsets.c.id))),
    _Kind("stored objects", stored_objects, stored_objects.c.created_at, true()),
    _Kind("processes", processes, processes.c.ended_at, true()),
)
"""Rows of other tables that refer to one of these go with it (``ON DELETE CASCADE``), or are deleted before it."""


@frozen
class Deleted:
    """The result of one step of a purge."""

    kind: str
    rows: int


def purge(store: Store, before: datetime, *, patient: bool = False) -> Iterator[Deleted]:
    """Delete what is older, step by step; between two steps no lock is held.

    Several processes may do so at once, on PostgreSQL taking turns: a process that finds another one at it leaves the
    rest to that one, unless ``patient``.
    """
    with store.transaction() as connection:
        freeze(connection, before)
    for kind in _KINDS:
        since = None
        while True:
            with store.transaction() as connection:
                if not _take_turn(connection, patient):
                    return
                rows = _delete_oldest(connection, kind, before, since)
            if not rows:
                break
            since = rows[-1].at
            yield Deleted(kind.name, len(rows))


def count_old(store: Store, before: datetime) -> int:
    """Return the number of interceptions that a purge would delete."""
    kind = _KINDS[0]
    query = select(func.count()).select_from(kind.table).where(and_(kind.at < before, kind.may_go))
    with store.transaction() as connection:
        return connection.scalar(query) or 0


def _delete_oldest(connection: Connection, kind: _Kind, before: datetime, since: datetime | None) -> Sequence[Row[Any]]:
    due = and_(kind.at < before, kind.may_go, kind.at >= since if since else true())
    oldest = select(kind.table.c.id, kind.at.label("at")).where(due).order_by(kind.at).limit(STEP_ROWS)
    rows = connection.execute(oldest).all()
    if rows:
        connection.execute(kind.table.delete().where(kind.table.c.id.in_([row.id for row in rows])))
    return rows


def _take_turn(connection: Connection, patient: bool) -> bool:
    """Take PostgreSQL's lock for the rest of the transaction; False if another process has it. SQLite needs none."""
    if connection.dialect.name != "postgresql":
        return True
    lock = func.pg_advisory_xact_lock if patient else func.pg_try_advisory_xact_lock
    return connection.scalar(select(lock(_LOCK))) is not False


class Retention:
    """Purges the database again and again, from `start` to `stop`. Use it on the reactor's thread only."""

    def __init__(self, reactor: IThreadedReactor, failover: FailoverStore, store: Store, days: int) -> None:
        self._reactor = reactor
        self._failover = failover
        self._store = store
        self._longest = timedelta(days=days)
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Begin with the first purge in a minute."""

        def ended(failure: Failure) -> None:
            if not failure.check(CancelledError):
                _log.failure("Old records are deleted no longer.", failure)

        self._running = Deferred.fromCoroutine(self._run()).addErrback(ended)

    def stop(self) -> None:
        """Begin no further step; the present one is finished."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        pause = FIRST_AFTER
        while True:
            await deferLater(self._reactor, pause)
            await self._purge()
            pause = EVERY

    async def _purge(self) -> None:
        """Delete what is too old now. If the database is away, the next purge deletes it."""
        deleted: Counter[str] = Counter()
        # Whole hours, so that the sums of an hour are those of all its records.
        steps = purge(self._store, hour_of(utc_now() - self._longest))

        def timed_step() -> tuple[Deleted | None, float]:
            begun = perf_counter()
            return next(steps, None), perf_counter() - begun

        try:
            while self._failover.state is DatabaseState.UP:
                step, seconds = await self._failover.run(timed_step)
                if step is None:
                    break
                deleted[step.kind] += step.rows
                await deferLater(self._reactor, REST * seconds)
        except RecordingError as error:
            _log.warn("Old records are deleted later: {reason}", reason=str(error))
        for kind, rows in deleted.items():
            _log.info("{rows} {kind} were too old, and are deleted.", rows=rows, kind=kind)

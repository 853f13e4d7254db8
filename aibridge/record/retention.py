"""Keeping records for so many days, and no longer."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

from attrs import frozen
from sqlalchemy import Column, ColumnElement, Connection, Table, and_, exists, func, not_, select, true
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import RecordingError
from .failover import FailoverStore, Phase
from .ledger import utc_now
from .records import IN_PROGRESS
from .schema import interceptions, processes, toolsets, turns
from .store import Store

STEP_ROWS = 10
"""How much is deleted in one transaction."""

_LOCK = 0x61696264
"""The key of PostgreSQL's advisory lock ("aibd"): only those who delete take it."""


@frozen
class _Kind:
    """A table whose rows perish, what tells their age, and which of them may go."""

    name: str
    table: Table
    at: Column[datetime]
    may_go: ColumnElement[bool]


_KINDS = (
    _Kind("interceptions", interceptions, interceptions.c.started_at, interceptions.c.status != IN_PROGRESS),
    _Kind("turns of conversations", turns, turns.c.created_at, true()),
    _Kind("lists of tools", toolsets, toolsets.c.created_at, not_(exists().where(turns.c.toolset_id == toolsets.c.id))),
    _Kind("processes", processes, processes.c.ended_at, true()),
)
"""What refers to a row of these goes with it (``ON DELETE CASCADE``), or is deleted before it."""


@frozen
class Deleted:
    """What one step has deleted."""

    kind: str
    rows: int


def purge(store: Store, before: datetime, *, patient: bool = False) -> Iterator[Deleted]:
    """Delete what is older, step by step; between two steps nothing is held.

    Several processes may do so at once, on PostgreSQL taking turns: who finds another one at it leaves the rest to
    that one, unless ``patient``.
    """
    for kind in _KINDS:
        since = None
        while True:
            with store.transaction() as connection:
                if not _is_alone(connection, patient):
                    return
                rows = _delete_some(connection, kind, before, since)
            if not rows:
                break
            since = rows[-1].at
            yield Deleted(kind.name, len(rows))


def _delete_some(connection: Connection, kind: _Kind, before: datetime, since: datetime | None) -> list[Any]:
    due = and_(kind.at < before, kind.may_go, kind.at >= since if since else true())
    oldest = select(kind.table.c.id, kind.at.label("at")).where(due).order_by(kind.at).limit(STEP_ROWS)
    rows = list(connection.execute(oldest))
    if rows:
        connection.execute(kind.table.delete().where(kind.table.c.id.in_([row.id for row in rows])))
    return rows


def _is_alone(connection: Connection, patient: bool) -> bool:
    """For as long as the transaction lasts. On SQLite whoever writes is the only one."""
    if connection.dialect.name != "postgresql":
        return True
    lock = func.pg_advisory_xact_lock if patient else func.pg_try_advisory_xact_lock
    return connection.scalar(select(lock(_LOCK))) is not False


FIRST_AFTER = 60.0
EVERY = 3600.0
"""Seconds: the first look a while after the start, when there is most to do, and from the end of one to the next."""

REST = 9
"""After each step nothing is deleted for so many times as long as it took: recording has the database nine tenths of
the time, however slow that is."""

_log = Logger()


class Retention:
    """Deletes what is older than so many days, from `start` to `stop`. Use it on the reactor's thread only."""

    def __init__(self, reactor: Any, keeper: FailoverStore, store: Store, days: int) -> None:
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

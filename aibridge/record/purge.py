"""Deleting what is older than it may be, with all that refers to it, the oldest first.

It happens in transactions of a few milliseconds, for while one of them lasts, recording waits: SQLite has one writer.
Each begins where the last one came to, so that what has been deleted already is not searched through again and
again. What is still in progress stays, whatever its age.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from attrs import frozen
from sqlalchemy import Column, ColumnElement, Connection, Table, and_, exists, func, not_, select, true

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

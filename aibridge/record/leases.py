"""Whose interceptions are whose, and which of them nobody will end any more.

Each start of a gateway is a process with an id of its own: a row in ``aibridge_processes``, and the
``process_id`` of its interceptions. Others know that it is dead

- on the same machine from its claim (`aibridge.record.claims`): at once, and for certain;
- anywhere else from its lease: it says every `HEARTBEAT` seconds that it is alive (``seen_at``, by the
  database's clock), and who has said nothing for `LEASE` seconds counts as dead.

Then what it left ``in_progress`` is marked ``interrupted``. Should it live after all (its way to the database
was cut), nothing is lost: its next word makes it alive again, and the true end of an interception replaces
the mark.

``oldest_at`` is when the oldest interception that was under way at that word began. It spares the
interceptions an index of their own for this: only the few that began later have to be looked at.
"""

import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from .database import DatabaseAway
from .ledger import utc_now
from .records import IN_PROGRESS, INTERRUPTED, InterceptionRecord, InterceptionRecordEnded, Record
from .schema import UtcDateTime, interceptions, processes
from .statements import Entry, Refusals


class OpenInterceptions:
    """Told of every row, because only one that is durable, or never will be, changes anything."""

    def __init__(self) -> None:
        self._started_at: dict[UUID, datetime] = {}

    def __len__(self) -> int:
        return len(self._started_at)

    @property
    def oldest_at(self) -> datetime:
        """When the oldest of them began; now, where there is none. On any thread."""
        return min(list(self._started_at.values()), default=utc_now())  # a list of them all is made in one step

    def add(self, record: InterceptionRecord) -> None:
        """It is about to be written."""
        self._started_at[record.id] = record.started_at

    def settled(self, entries: Sequence[Entry], refused: Refusals) -> None:
        """These are durable, but for those that were refused."""
        for entry in entries:
            record = entry.record
            if type(record) is InterceptionRecordEnded:
                if not refused or not isinstance(refused.get(entry), DatabaseAway):
                    self._started_at.pop(record.id, None)
            elif refused and entry in refused:
                self.refused(record)

    def refused(self, record: Record) -> None:
        """It never will be durable."""
        if isinstance(record, InterceptionRecord | InterceptionRecordEnded):
            self._started_at.pop(record.id, None)


HEARTBEAT = 10.0
LEASE = 60.0

_CLOCKS_DIFFER = timedelta(hours=1)
"""An interception may seem to have begun before it did, where a clock was set back."""


def renew(connection: Connection, process_id: UUID, started_at: datetime, oldest_at: datetime) -> None:
    """The process is alive, and nothing it still has under way began before ``oldest_at``."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    alive = {"seen_at": _now(connection), "oldest_at": oldest_at, "ended_at": None}
    statement = insert(processes).values(id=process_id, host=socket.gethostname(), started_at=started_at, **alive)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=alive))


def silent(connection: Connection) -> list[UUID]:
    """Those whose lease is over."""
    since = _now(connection) - timedelta(seconds=LEASE)
    query = select(processes.c.id).where(processes.c.ended_at.is_(None), processes.c.seen_at < since)
    return list(connection.scalars(query))


def end(connection: Connection, process_id: UUID) -> int:
    """The process is over, and so is whatever it had under way. How many interceptions that interrupted."""
    mine = and_(interceptions.c.process_id == process_id, interceptions.c.status == IN_PROGRESS)
    oldest_at = connection.scalar(select(processes.c.oldest_at).where(processes.c.id == process_id))
    if oldest_at is not None:
        mine = and_(mine, interceptions.c.started_at >= oldest_at - _CLOCKS_DIFFER)
    connection.execute(processes.update().where(processes.c.id == process_id).values(ended_at=utc_now()))
    marked = connection.execute(
        interceptions.update()
        .where(mine)
        .values(status=INTERRUPTED, ended_at=utc_now(), error="the gateway's process ended before this did")
    )
    return marked.rowcount


def _now(connection: Connection) -> datetime:
    """By the database's clock, which is the same for all."""
    now: datetime = connection.execute(select(func.now(type_=UtcDateTime()))).scalar_one()
    return now

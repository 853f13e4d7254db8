"""Leases: how gateways on one database find out which of them have died, and end what those had begun.

Each start of a gateway is a process with an id of its own: a row in ``aibridge_processes``, and the
``process_id`` of its interceptions. Others know that it is dead

- on the same machine from its claim (`aibridge.record.claims`): at once, and for certain;
- anywhere else from its lease: every `HEARTBEAT` seconds a process writes that it is alive (``seen_at``, by the
  database's clock), and a process that has not done so for `LEASE` seconds counts as dead.

Then its interceptions that are ``in_progress`` are marked ``interrupted``. Should it live after all (its way to
the database was cut), nothing is lost: its next heartbeat renews the lease, and the true end of an interception
replaces the mark.

``oldest_at`` is when the oldest interception that was in progress at that heartbeat began. It spares the
interceptions an index of their own for this: only those that began later have to be looked at.
"""

import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, and_, func, select

from .budgets.accounts import Accounts
from .budgets.sql import ConnectionCursor
from .column_types import UtcDateTime
from .database import DatabaseAway, insert_into
from .records import IN_PROGRESS, INTERRUPTED, InterceptionRecord, InterceptionRecordEnded, Record
from .schema import interceptions, processes
from .statements import Entry, Refusals
from .values import utc_now

HEARTBEAT = 10.0
LEASE = 60.0

_CLOCKS_DIFFER = timedelta(hours=1)
"""An interception may seem to have begun earlier than it did, where a clock was set back."""


class OpenInterceptions(dict[UUID, datetime]):
    """The interceptions of this process that have begun and whose end is not durable yet: when each of them began."""

    @property
    def oldest_at(self) -> datetime:
        """The start of the oldest of them; now, if there is none. May be read on any thread."""
        return min(list(self.values()), default=utc_now())  # list() copies them in one step

    def settle(self, entries: Sequence[Entry], refused: Refusals) -> None:
        """Remove the interceptions whose end is durable, or never will be; see `OnSettled`."""
        for entry in entries:
            record = entry.record
            if type(record) is InterceptionRecordEnded:
                if not refused or not isinstance(refused.get(entry), DatabaseAway):
                    self.pop(record.id, None)
            elif refused and entry in refused:
                self.discard(record)

    def discard(self, record: Record) -> None:
        """Remove the interception of a record that never will be durable."""
        if isinstance(record, InterceptionRecord | InterceptionRecordEnded):
            self.pop(record.id, None)


def renew_lease(connection: Connection, process_id: UUID, started_at: datetime, oldest_at: datetime) -> None:
    """Write that the process is alive, and that none of its interceptions in progress began before ``oldest_at``."""
    alive = {"seen_at": _database_time(connection), "oldest_at": oldest_at, "ended_at": None}
    statement = insert_into(connection, processes).values(
        id=process_id, host=socket.gethostname(), started_at=started_at, **alive
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=alive))


def has_running_process(connection: Connection) -> bool:
    """Return True if a gateway runs on this database, as far as leases tell."""
    since = _database_time(connection) - timedelta(seconds=LEASE)
    query = select(processes.c.id).where(processes.c.ended_at.is_(None), processes.c.seen_at >= since)
    return connection.scalar(query.limit(1)) is not None


def expired_processes(connection: Connection) -> list[UUID]:
    """Return the processes whose lease is over."""
    since = _database_time(connection) - timedelta(seconds=LEASE)
    query = select(processes.c.id).where(processes.c.ended_at.is_(None), processes.c.seen_at < since)
    return list(connection.scalars(query))


def end_process(connection: Connection, process_id: UUID, accounts: Accounts) -> int:
    """Mark a process as ended and its interceptions in progress as interrupted; return how many there were.

    What they reserve of caps on money is given back.
    """
    in_progress = and_(interceptions.c.process_id == process_id, interceptions.c.status == IN_PROGRESS)
    oldest_at = connection.scalar(select(processes.c.oldest_at).where(processes.c.id == process_id))
    if oldest_at is not None:
        in_progress = and_(in_progress, interceptions.c.started_at >= oldest_at - _CLOCKS_DIFFER)
    connection.execute(processes.update().where(processes.c.id == process_id).values(ended_at=utc_now()))
    reserving = connection.scalars(select(interceptions.c.id).where(in_progress, interceptions.c.reserved_nanousd > 0))
    with accounts.released(ConnectionCursor(connection), list(reserving)):
        marked = connection.execute(
            interceptions.update()
            .where(in_progress)
            .values(
                status=INTERRUPTED,
                ended_at=utc_now(),
                error="the gateway's process ended before this did",
                reserved_nanousd=None,
            )
        )
    return marked.rowcount


def _database_time(connection: Connection) -> datetime:
    """The time of the database's clock, which is the same for all processes."""
    now: datetime = connection.execute(select(func.now(type_=UtcDateTime()))).scalar_one()
    return now

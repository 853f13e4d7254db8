"""Roll-ups: sums by the hour and sessions, made again as a whole from the interceptions that have changed.

One process at a time keeps them, the leader: its lease is in `rollup_state`, and every write extends it, so that two
leaders never write at once. What has changed since the last run is found without a mark on any row:

- interceptions that began, or were in progress, since then: no process has an older one (``aibridge_processes``);
- tokens that were recorded since then, of older interceptions too;
- rows that came late or were changed: whoever does that leaves a mark (`mark_changed`).

Sums are read outside the transaction that writes them, so SQLite is locked for the few rows of an hour only.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from ..errors import RecordingError
from .database import open_engine, plain_errors
from .figures import start_of, tools_by_hour, usage_by_hour
from .rollup_tables import rollup_marks, rollup_state, sessions, tools_hourly, usage_hourly
from .schema import UtcDateTime, interceptions, processes, token_usages
from .session_rollup import read_sessions
from .values import new_id, utc_now

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=90)

_NAME = "rollups"
_CLOCKS_DIFFER = timedelta(minutes=1)
"""Interceptions of a machine whose clock is behind seem to have begun earlier than they did."""
_HOURS_AT_ONCE = timedelta(days=1)
_SESSIONS_AT_ONCE = 100
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class NotLeading(RecordingError):
    """Another process keeps the roll-ups."""


@frozen(kw_only=True)
class RolledUp:
    """A step of a run."""

    kind: str
    """``hours`` or ``sessions``."""
    number: int
    total: int
    """The number of them in this run."""


@frozen(kw_only=True)
class _State:
    since: datetime | None
    rolled_at: datetime | None
    frozen_before: datetime | None


def mark_changed(connection: Connection, since: datetime | None) -> None:
    """Have the interceptions that began since then rolled up again; None if nothing has changed."""
    if since is not None:
        connection.execute(rollup_marks.insert().values(id=new_id(), since=since))


def mark_interceptions(connection: Connection, ids: Sequence[UUID]) -> None:
    """Have these interceptions, whose rows came late, rolled up again."""
    first = select(func.min(interceptions.c.started_at, type_=UtcDateTime())).where(interceptions.c.id.in_(ids))
    mark_changed(connection, connection.scalar(first))


def freeze(connection: Connection, before: datetime) -> None:
    """Keep figures before that moment as they are, because their rows are about to be deleted; and no content.

    The sums of an hour that is deleted in part are made of what is left.
    """
    hour = hour_of(before)
    _make_state(connection)
    known = rollup_state.c.frozen_before
    connection.execute(update(rollup_state).where(or_(known.is_(None), known < hour)).values(frozen_before=hour))
    began_before = and_(sessions.c.first_at < before, sessions.c.first_prompt.is_not(None))
    connection.execute(sessions.update().where(began_before).values(first_prompt=None))


class Rollups:
    """The roll-ups in the database of that URL. Every method blocks, and raises RecordingError without the database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._holder = new_id()
        with plain_errors(url):
            self._engine: Engine = open_engine(url)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def run(self, *, rebuild: bool = False, take_over: bool = False) -> Iterator[RolledUp]:
        """Bring the roll-ups up to date, step by step. `NotLeading` if another process does so, unless ``take_over``.

        With ``rebuild`` everything is made again, as far as its rows are still there.
        """
        with plain_errors(self._url):
            began = utc_now()
            state = self._lead(take_over)
            with self._engine.connect() as connection:
                marks = {mark.id: mark.since for mark in connection.execute(select(rollup_marks))}
                next_since = min(_oldest_open(connection, began), began) - _CLOCKS_DIFFER
            since = None if rebuild else state.since
            if since is not None:
                since = min([since, *marks.values()])
            yield from self._roll_hours(since, state, began)
            yield from self._roll_sessions(since)
            self._end(began, next_since, list(marks))

    def delete_before(self, moment: datetime) -> None:
        """Delete figures of hours and sessions that ended before that moment."""
        with plain_errors(self._url), self._engine.begin() as connection:
            self._extend(connection)
            for table in (usage_hourly, tools_hourly):
                connection.execute(table.delete().where(table.c.hour < hour_of(moment)))
            connection.execute(sessions.delete().where(sessions.c.last_at < moment))

    def _lead(self, take_over: bool) -> _State:
        """Take or extend the lease, and return the state. `NotLeading` if another process has it."""
        with self._engine.begin() as connection:
            _make_state(connection)
            if take_over:
                connection.execute(update(rollup_state).values(holder=self._holder))
            self._extend(connection)
            row = connection.execute(select(rollup_state)).mappings().one()
        return _State(since=row["since"], rolled_at=row["rolled_at"], frozen_before=row["frozen_before"])

    def _extend(self, connection: Connection) -> None:
        """Extend the lease in the transaction of a write. The row's lock keeps any other leader from writing."""
        now, state = utc_now(), rollup_state.c
        is_free = or_(state.holder.is_(None), state.holder == self._holder, state.leads_until < now)
        taken = update(rollup_state).where(is_free).values(holder=self._holder, leads_until=now + LEASE)
        if not connection.execute(taken).rowcount:
            raise NotLeading("another process keeps the roll-ups at the moment")

    def _roll_hours(self, since: datetime | None, state: _State, now: datetime) -> Iterator[RolledUp]:
        hours = [hour for hour in self._changed_hours(since) if hour >= (state.frozen_before or _EVER)]
        done = 0
        while done < len(hours):
            some = [hour for hour in hours[done:] if hour < hours[done] + _HOURS_AT_ONCE]
            i = interceptions.c
            inside = and_(i.started_at >= some[0], i.started_at < some[-1] + HOUR)
            with self._engine.connect() as connection:
                usage = connection.execute(usage_by_hour(inside)).mappings().all()
                tools = connection.execute(tools_by_hour(inside)).mappings().all()
            with self._engine.begin() as connection:
                self._extend(connection)
                for table, rows in ((usage_hourly, usage), (tools_hourly, tools)):
                    whole = and_(table.c.hour >= some[0], table.c.hour <= some[-1])
                    _replace(connection, table, whole, [dict(row) for row in rows])
            done += len(some)
            yield RolledUp(kind="hours", number=done, total=len(hours))

    def _changed_hours(self, since: datetime | None) -> list[datetime]:
        """Return the hours in which interceptions began that are new or changed since then."""
        i, t = interceptions.c, token_usages.c
        hour = start_of("hour", i.started_at).label("hour")
        with self._engine.connect() as connection:
            query = select(hour).distinct().order_by("hour")
            if since is None:
                return list(connection.scalars(query))
            found = set(connection.scalars(query.where(i.started_at >= hour_of(since))))
            late = query.select_from(token_usages.join(interceptions, t.interception_id == i.id))
            found |= set(connection.scalars(late.where(t.created_at >= since, i.started_at < since)))
        return sorted(found)

    def _roll_sessions(self, since: datetime | None) -> Iterator[RolledUp]:
        with self._engine.connect() as connection:
            keys = changed_sessions(connection, since)
        for start in range(0, len(keys), _SESSIONS_AT_ONCE):
            some = keys[start : start + _SESSIONS_AT_ONCE]
            with self._engine.connect() as connection:
                rows = [*read_sessions(connection, is_of_sessions(some))]
            with self._engine.begin() as connection:
                self._extend(connection)
                _replace(connection, sessions, sessions.c.id.in_([row["id"] for row in rows]), rows)
            yield RolledUp(kind="sessions", number=start + len(some), total=len(keys))

    def _end(self, began: datetime, since: datetime, marks: Sequence[UUID]) -> None:
        with self._engine.begin() as connection:
            self._extend(connection)
            connection.execute(update(rollup_state).values(since=since, rolled_at=began))
            connection.execute(rollup_marks.delete().where(rollup_marks.c.id.in_(marks)))


SessionKey = tuple[str, str, str]
"""The client's id of a session, the actor and the client."""


def changed_sessions(connection: Connection, since: datetime | None) -> list[SessionKey]:
    """Return the sessions with interceptions that are new or changed since then; all, if that is None."""
    i, t = interceptions.c, token_usages.c
    query = select(i.client_session_id, i.initiator_id, i.client).distinct().where(i.client_session_id.is_not(None))
    if since is None:
        return [tuple(row) for row in connection.execute(query)]
    late = query.select_from(token_usages.join(interceptions, t.interception_id == i.id))
    found = {tuple(row) for row in connection.execute(query.where(i.started_at >= since))}
    found |= {tuple(row) for row in connection.execute(late.where(t.created_at >= since, i.started_at < since))}
    return sorted(found)


def is_of_sessions(keys: Sequence[SessionKey]) -> ColumnElement[bool]:
    """Return the condition of the interceptions of these sessions."""
    i = interceptions.c
    # The first part is what the index serves.
    its_id = i.client_session_id.in_([key[0] for key in keys])
    return and_(its_id, tuple_(i.client_session_id, i.initiator_id, i.client).in_(keys))


def _make_state(connection: Connection) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(rollup_state).values(name=_NAME).on_conflict_do_nothing())


def _oldest_open(connection: Connection, now: datetime) -> datetime:
    """Return when the oldest interception began that may still be in progress."""
    oldest = select(func.min(processes.c.oldest_at, type_=UtcDateTime())).where(processes.c.ended_at.is_(None))
    return connection.scalar(oldest) or now


def _replace(connection: Connection, table: Table, old: ColumnElement[bool], rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(table.delete().where(old))
    if rows:
        connection.execute(table.insert(), rows)


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

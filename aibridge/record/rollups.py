"""Roll-ups: sums by the hour and sessions, made again as a whole from the interceptions that have changed.

Sums of days that have ended are made of those of their hours, so they stay right where rows are gone.

One process at a time keeps the roll-ups, the leader: its lease is in `rollup_state`, and every write extends it, so
that two leaders never write at once. What has changed since the last run is found without a mark on any row:

- interceptions that began, or were in progress, since then: no process has an older one (``aibridge_processes``);
- tokens that were recorded since then, of older interceptions too;
- rows that came late or were changed: whoever does that leaves a mark (`mark_changed`).

Sums are read outside the transaction that writes them, so SQLite is locked for the few rows of an hour only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from attrs import fields, frozen
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, func, or_, select, type_coerce, update

from ..errors import RecordingError
from .column_types import UtcDateTime
from .database import open_engine, open_reader, plain_errors
from .figures import sums_of_day, tools_by_hour, usage_by_hour
from .rollup_changes import (
    DAY,
    HOUR,
    changed_hours,
    changed_sessions,
    day_of,
    forget_days,
    hour_of,
    is_of_sessions,
    make_state,
    oldest_open,
)
from .rollup_tables import DAYS, rollup_marks, rollup_state, sessions, tools_hourly, usage_daily, usage_hourly
from .schema import interceptions
from .session_rollup import read_sessions
from .values import new_id, utc_now

LEASE = timedelta(seconds=90)

_CLOCKS_DIFFER = timedelta(minutes=1)
"""Interceptions of a machine whose clock is behind seem to have begun earlier than they did."""
_SESSIONS_AT_ONCE = 100
_DELETED_AT_ONCE = 1000
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class NotLeading(RecordingError):
    """Another process keeps the roll-ups."""


@frozen(kw_only=True)
class RolledUp:
    """A step of a run."""

    kind: str
    """``hours``, ``days``, ``sessions``, or ``older days``, which had no sums yet."""
    number: int
    total: int
    """The number of them in this run."""


@frozen(kw_only=True)
class _State:
    since: datetime | None
    rolled_at: datetime | None
    frozen_before: datetime | None
    days_since: datetime


class Rollups:
    """The roll-ups in the database of that URL. Every method blocks, and raises RecordingError without the database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._holder = new_id()
        with plain_errors(url):
            self._engine: Engine = open_engine(url)
            # On SQLite the engine's transactions lock the database, even if they only read.
            self._reader = open_reader(url) if self._engine.dialect.name == "sqlite" else self._engine

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def run(self, *, rebuild: bool = False, take_over: bool = False) -> Iterator[RolledUp]:
        """Bring the roll-ups up to date, step by step. `NotLeading` if another process does so, unless ``take_over``.

        With ``rebuild`` everything is made again, as far as its rows are still there.
        """
        with plain_errors(self._url):
            began = utc_now()
            state = self._lead(began, rebuild=rebuild, take_over=take_over)
            with self._reader.connect() as connection:
                marks = {mark.id: mark.since for mark in connection.execute(select(rollup_marks))}
                next_since = min(oldest_open(connection, began), began) - _CLOCKS_DIFFER
                since = None if rebuild else state.since
                if since is not None:
                    since = min([since, *marks.values()])
                changed = changed_hours(connection, since)
            hours = [hour for hour in changed if hour >= (state.frozen_before or _EVER)]
            yield from self._roll_hours(hours)
            # The day of the last run may have ended since then, even if none of its hours has changed.
            days = {day_of(moment) for moment in (*hours, state.rolled_at or began)}
            yield from self._roll_days([day for day in sorted(days) if state.days_since <= day < day_of(began)])
            yield from self._roll_sessions(since)
            self._end(began, next_since, list(marks))
            yield from self._roll_older_days()

    def delete_before(self, moment: datetime) -> None:
        """Delete figures of hours and sessions that ended before that moment, in steps that are short."""
        with plain_errors(self._url):
            self._delete_hours(hour_of(moment))
            some = select(sessions.c.id).where(sessions.c.last_at < moment).limit(_DELETED_AT_ONCE)
            deleted = _DELETED_AT_ONCE
            while deleted == _DELETED_AT_ONCE:
                with self._writing() as connection:
                    deleted = connection.execute(sessions.delete().where(sessions.c.id.in_(some))).rowcount

    def _delete_hours(self, end: datetime) -> None:
        """Delete the sums of hours before that one, and of their days, which are then made again of what is left."""
        hour = usage_hourly.c.hour
        while (oldest := self._find(func.min(hour), hour < end)) is not None:
            day = day_of(oldest)
            with self._writing() as connection:
                for table in (usage_hourly, tools_hourly):
                    connection.execute(table.delete().where(table.c.hour < min(day + DAY, end)))
                for table, _ in DAYS:
                    connection.execute(table.delete().where(table.c.day <= day))
                forget_days(connection, day + DAY)

    def _lead(self, now: datetime, *, rebuild: bool, take_over: bool) -> _State:
        """Take the lead, and return the state. `NotLeading` if another process has it."""
        state = rollup_state.c
        with self._engine.begin() as connection:
            make_state(connection)
            is_free = or_(state.holder.is_(None), state.holder == self._holder, state.leads_until < now)
            lead = update(rollup_state).values(holder=self._holder, leads_until=now + LEASE)
            if not connection.execute(lead if take_over else lead.where(is_free)).rowcount:
                raise NotLeading("another process keeps the roll-ups at the moment")
            if rebuild:
                forget_days(connection, day_of(now))
            connection.execute(update(rollup_state).where(state.days_since.is_(None)).values(days_since=day_of(now)))
            names = [field.name for field in fields(_State)]
            row = connection.execute(select(*(state[name] for name in names))).one()
        return _State(**row._mapping)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that extends the lease. The state's row is locked, so that any other leader waits."""
        with self._engine.begin() as connection:
            own = update(rollup_state).where(rollup_state.c.holder == self._holder)
            if not connection.execute(own.values(leads_until=utc_now() + LEASE)).rowcount:
                raise NotLeading("the roll-ups must begin again: another process keeps them, or rows were erased")
            yield connection

    def _roll_hours(self, hours: Sequence[datetime]) -> Iterator[RolledUp]:
        """Make hours again: the hours of a day are read together, and each is written by itself."""
        done = 0
        for _, group in groupby(hours, day_of):
            some = [*group]
            i = interceptions.c
            inside = and_(i.started_at >= some[0], i.started_at < some[-1] + HOUR)
            sums: dict[tuple[Table, datetime], list[dict[str, Any]]] = {}
            with self._reader.connect() as connection:
                for table, query in ((usage_hourly, usage_by_hour(inside)), (tools_hourly, tools_by_hour(inside))):
                    for row in connection.execute(query).mappings():
                        sums.setdefault((table, row["hour"]), []).append(dict(row))
            for hour in some:
                with self._writing() as connection:
                    frozen_before = connection.scalar(select(rollup_state.c.frozen_before))
                    if hour >= (frozen_before or _EVER):  # a purge may have begun meanwhile
                        for table in (usage_hourly, tools_hourly):
                            _replace(connection, table, table.c.hour == hour, sums.get((table, hour), ()))
            done += len(some)
            yield RolledUp(kind="hours", number=done, total=len(hours))

    def _roll_days(self, days: Sequence[datetime]) -> Iterator[RolledUp]:
        for number, day in enumerate(days, 1):
            self._write_day(day)
            yield RolledUp(kind="days", number=number, total=len(days))

    def _roll_older_days(self) -> Iterator[RolledUp]:
        """Make the days before those that have been made, the last one first, as far back as there is anything."""
        total = 0
        while (span := self._find_older_days()) is not None:
            first, last = span
            left = (last - first).days
            total = total or left + 1
            self._write_day(last, is_first=True)
            yield RolledUp(kind="older days", number=total - left, total=total)

    def _find_older_days(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last one of the days that have to be made yet; None if there are none.

        They have hours; or they have old sums only, because an erased person was alone on them.
        """
        since = select(rollup_state.c.days_since).scalar_subquery()
        columns = (usage_hourly.c.hour, usage_daily.c.day)
        found = [self._find(edge(at), at < since) for at in columns for edge in (func.min, func.max)]
        days = [day_of(moment) for moment in found if moment is not None]
        return (min(days), max(days)) if days else None

    def _write_day(self, day: datetime, *, is_first: bool = False) -> None:
        """Make the sums of a day again, of those of its hours. If `is_first`, no earlier day has sums."""
        with self._reader.connect() as connection:
            sums = {
                days: [{"day": day, **row} for row in connection.execute(sums_of_day(days, hours, day)).mappings()]
                for days, hours in DAYS
            }
        with self._writing() as connection:
            for table, rows in sums.items():
                _replace(connection, table, table.c.day == day, rows)
            if is_first:
                connection.execute(update(rollup_state).values(days_since=day))

    def _find(self, moment: ColumnElement[Any], condition: ColumnElement[bool]) -> datetime | None:
        """Return the first or the last moment of the rows that meet a condition; None if there are none."""
        with self._reader.connect() as connection:
            return connection.scalar(select(type_coerce(moment, UtcDateTime())).where(condition))

    def _roll_sessions(self, since: datetime | None) -> Iterator[RolledUp]:
        with self._reader.connect() as connection:
            keys = changed_sessions(connection, since)
        for start in range(0, len(keys), _SESSIONS_AT_ONCE):
            some = keys[start : start + _SESSIONS_AT_ONCE]
            with self._reader.connect() as connection:
                rows = [*read_sessions(connection, is_of_sessions(some))]
            with self._writing() as connection:
                _replace(connection, sessions, sessions.c.id.in_([row["id"] for row in rows]), rows)
            yield RolledUp(kind="sessions", number=start + len(some), total=len(keys))

    def _end(self, began: datetime, since: datetime, marks: Sequence[UUID]) -> None:
        with self._writing() as connection:
            connection.execute(update(rollup_state).values(since=since, rolled_at=began))
            connection.execute(rollup_marks.delete().where(rollup_marks.c.id.in_(marks)))


def _replace(connection: Connection, table: Table, old: ColumnElement[bool], rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(table.delete().where(old))
    if rows:
        connection.execute(table.insert(), rows)

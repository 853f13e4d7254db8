"""Changes that the roll-ups have to follow: hours and sessions that have changed, and marks of what changes rows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_, update

from .column_types import UtcDateTime
from .database import insert_into
from .figures import start_of
from .rollup_tables import rollup_marks, rollup_state, sessions, usage_hourly
from .schema import interceptions, processes, token_usages
from .values import new_id, utc_now

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_NAME = "rollups"

SessionKey = tuple[str, str, str]
"""The client's id of a session, the actor and the client."""


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
    make_state(connection)
    known = rollup_state.c.frozen_before
    connection.execute(update(rollup_state).where(or_(known.is_(None), known < hour)).values(frozen_before=hour))
    began_before = and_(sessions.c.first_at < before, sessions.c.first_prompt.is_not(None))
    connection.execute(sessions.update().where(began_before).values(first_prompt=None))


def forget_actor(connection: Connection, name: str) -> None:
    """Have the days on which there are sums of an actor, which are about to be deleted, made again without them.

    Until then questions about such days are answered from their hours. A run that has read the sums can't write them.
    """
    last = connection.scalar(select(func.max(usage_hourly.c.hour)).where(usage_hourly.c.actor == name))
    connection.execute(update(rollup_state).values(holder=None))
    if last is not None:
        forget_days(connection, min(day_of(last) + DAY, day_of(utc_now())))


def changed_hours(connection: Connection, since: datetime | None) -> list[datetime]:
    """Return the hours in which interceptions began that are new or changed since then; all, if that is None."""
    i, t = interceptions.c, token_usages.c
    hour = start_of("hour", i.started_at).label("hour")
    query = select(hour).distinct().order_by("hour")
    if since is None:
        return [*connection.scalars(query)]
    late = query.select_from(token_usages.join(interceptions, t.interception_id == i.id))
    found = {*connection.scalars(query.where(i.started_at >= hour_of(since)))}
    found |= {*connection.scalars(late.where(t.created_at >= since, i.started_at < since))}
    return sorted(found)


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
    # An index serves the first part.
    its_id = i.client_session_id.in_([key[0] for key in keys])
    return and_(its_id, tuple_(i.client_session_id, i.initiator_id, i.client).in_(keys))


def make_state(connection: Connection) -> None:
    """Make the row of `rollup_state`, unless it is there."""
    connection.execute(insert_into(connection, rollup_state).values(name=_NAME).on_conflict_do_nothing())


def oldest_open(connection: Connection, now: datetime) -> datetime:
    """Return when the oldest interception began that may still be in progress."""
    oldest = select(func.min(processes.c.oldest_at, type_=UtcDateTime())).where(processes.c.ended_at.is_(None))
    return connection.scalar(oldest) or now


def forget_days(connection: Connection, before: datetime) -> None:
    """Have all days before that one made again. Until then questions about them are answered from their hours."""
    since = rollup_state.c.days_since
    connection.execute(update(rollup_state).where(since < before).values(days_since=before))


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """Return the beginning of a moment's day, in UTC."""
    return hour_of(moment).replace(hour=0)

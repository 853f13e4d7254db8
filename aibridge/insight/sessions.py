"""Sessions: their list, and the story of one."""

from datetime import datetime
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, select

from ..record.schema import interceptions as table
from ..record.session_rollup import read_sessions
from .conditions import of_interceptions
from .cursors import Page, format_cursor, make_page
from .filters import Filter, bad_cursor
from .interceptions import details
from .lanes import assign_lanes
from .rows import SessionDetail, SessionRow

MOST_INTERCEPTIONS = 500
"""Interceptions of a session that come at once."""


def sessions(connection: Connection, wanted: Filter, now: datetime, *, content: bool = False) -> Page[SessionRow]:
    """Return the sessions, the last active first, without first prompts unless content is asked for."""
    since, _ = wanted.span(now)
    condition = of_interceptions(evolve(wanted, since=since, min_cost=None))
    rows = [_row(values, content) for values in read_sessions(connection, condition)]
    rows = [row for row in rows if row.cost_nanousd >= (wanted.min_cost or 0)]
    rows.sort(key=lambda row: (row.last_at, row.id), reverse=True)
    if wanted.cursor is not None:
        if len(wanted.cursor) != 2:
            raise bad_cursor()
        rows = [row for row in rows if (row.last_at, row.id) < wanted.cursor]
    return make_page(rows, wanted.limit, lambda row: (row.last_at, row.id))


def session(connection: Connection, id_: str, wanted: Filter, *, content: bool = False) -> SessionDetail | None:
    """Return a session by its id, or by the client's own id of it; None if it is unknown.

    Of several sessions with one client's id, it is the last active one that the filter allows.
    """
    row = _find(connection, id_, wanted, content)
    if row is None:
        return None
    i = table.c
    its_own = Filter(session=row.client_session_id, actor=row.actor, client=row.client)
    query = select(*(column for column in i if column.name != "process_id")).where(of_interceptions(its_own))
    if wanted.cursor is not None:
        if len(wanted.cursor) != 2:
            raise bad_cursor()
        at, last = wanted.cursor
        query = query.where(i.started_at >= at, (i.started_at > at) | (i.id > last))
    query = query.order_by(i.started_at, i.id).limit(MOST_INTERCEPTIONS + 1)
    found = connection.execute(query).mappings().all()
    steps, lanes = assign_lanes(details(connection, found[:MOST_INTERCEPTIONS], content=content))
    last_row = found[MOST_INTERCEPTIONS - 1] if len(found) > MOST_INTERCEPTIONS else None
    cursor = format_cursor((last_row["started_at"], last_row["id"])) if last_row is not None else None
    return SessionDetail(session=row, interceptions=tuple(steps), lanes=lanes, next_cursor=cursor)


def _find(connection: Connection, id_: str, wanted: Filter, content: bool) -> SessionRow | None:
    """Return the row of a session."""
    owner = Filter(actor=wanted.actor, client=wanted.client)
    found = [*read_sessions(connection, of_interceptions(evolve(owner, session=id_)))]
    if not found:
        found = [each for each in read_sessions(connection, of_interceptions(owner)) if str(each["id"]) == id_]
    return max((_row(values, content) for values in found), key=lambda row: row.last_at, default=None)


def _row(values: dict[str, Any], content: bool) -> SessionRow:
    hidden = {} if content else {"first_prompt": None}
    return SessionRow(**{"client_session_id": values.pop("session"), **values, **hidden})

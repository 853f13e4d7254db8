"""Sessions: their list, and the story of one."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import evolve
from sqlalchemy import ColumnElement, Connection, and_, or_, select, true

from ..record.figures import session_id, unindexed
from ..record.rollup_changes import SessionKey, changed_sessions, is_of_sessions
from ..record.rollup_tables import sessions as table
from ..record.schema import interceptions
from ..record.session_rollup import read_sessions
from ..record.values import bounded
from .conditions import of_interceptions, one_page
from .cursors import Page, format_cursor, make_page
from .filters import Filter, bad_cursor
from .interceptions import details
from .lanes import assign_lanes
from .rows import SessionDetail, SessionRow
from .sources import rolled_at
from .spans import is_of_spans, rare_spans

MOST_INTERCEPTIONS = 500
"""Interceptions of a session that come at once."""

_MOST_RARE = 5000
"""Sessions that are found by what is rare in them."""


def sessions(connection: Connection, wanted: Filter, *, content: bool = False) -> Page[SessionRow]:
    """Return the sessions, the last active first, without first prompts unless content is asked for.

    Filters of an interception want the sessions in which there is such an interception; the figures are always those
    of whole sessions.
    """
    keys = changed_sessions(connection, rolled_at(connection))
    order = (table.c.last_at, table.c.id)
    is_wanted = and_(_of_sessions(wanted), _of_rare(connection, wanted))
    known = select(table).where(is_wanted, table.c.id.not_in([session_id(*key) for key in keys]))
    rows = [_row(values, content) for values in connection.execute(one_page(known, wanted, order)).mappings()]
    rows += [_row(values, content) for values in _live_sessions(connection, keys, wanted)]
    rows.sort(key=lambda row: (row.last_at, row.id), reverse=True)
    return make_page(rows[: wanted.limit + 1], wanted.limit, lambda row: (row.last_at, row.id))


def session(connection: Connection, id_: str, wanted: Filter, *, content: bool = False) -> SessionDetail | None:
    """Return a session by its id, or by the client's own id of it; None if it is unknown.

    Of several sessions with one client's id, it is the last active one that the filter allows.
    """
    row = _find(connection, id_, wanted, content)
    if row is None:
        return None
    i = interceptions.c
    its_own = Filter(session=row.client_session_id, actor=row.actor, client=row.client)
    query = select(*(column for column in i if column.name != "process_id")).where(of_interceptions(its_own))
    if wanted.cursor is not None:
        if [type(key) for key in wanted.cursor] != [datetime, UUID]:
            raise bad_cursor()
        at, last = wanted.cursor
        query = query.where(i.started_at >= at, or_(i.started_at > at, i.id > last))
    query = query.order_by(i.started_at, i.id).limit(MOST_INTERCEPTIONS + 1)
    found = connection.execute(query).mappings().all()
    steps, lanes = assign_lanes(details(connection, found[:MOST_INTERCEPTIONS], content=content))
    last_row = found[MOST_INTERCEPTIONS - 1] if len(found) > MOST_INTERCEPTIONS else None
    cursor = format_cursor((last_row["started_at"], last_row["id"])) if last_row is not None else None
    return SessionDetail(session=row, interceptions=tuple(steps), lanes=lanes, next_cursor=cursor)


def _of_sessions(wanted: Filter) -> ColumnElement[bool]:
    """Return the condition of the rolled-up sessions that a filter wants."""
    s, i = table.c, interceptions.c
    equal = {s.actor: wanted.actor, s.client: wanted.client, s.session: wanted.session}
    conditions: list[ColumnElement[bool]] = [column == bounded(value) for column, value in equal.items() if value]
    if wanted.team is not None:
        conditions.append(s.team == bounded(wanted.team))
    if wanted.since is not None:
        conditions.append(s.last_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(s.first_at < wanted.until)
    if wanted.min_cost:
        conditions.append(s.cost_nanousd >= wanted.min_cost)
    if (inside := _inside(wanted)) != Filter():
        # By the index of actors SQLite would look through everything that the actor ever did.
        same = and_(i.client_session_id == s.session, unindexed(i.initiator_id) == s.actor, i.client == s.client)
        conditions.append(select(i.id).where(same, of_interceptions(inside)).correlate(table).exists())
    return and_(true(), *conditions)


def _of_rare(connection: Connection, wanted: Filter) -> ColumnElement[bool]:
    """Return the condition of the sessions in which there is something rare, if that is what a filter wants."""
    inside = evolve(_inside(wanted), actor=wanted.actor, client=wanted.client)
    spans = rare_spans(connection, inside) if _inside(wanted) != Filter() else None
    if spans is None:
        return true()
    i = interceptions.c
    query = select(i.client_session_id, i.initiator_id, i.client).distinct().where(i.client_session_id.is_not(None))
    keys = connection.execute(query.where(of_interceptions(inside), is_of_spans(spans)).limit(_MOST_RARE + 1)).all()
    return table.c.id.in_([session_id(*key) for key in keys]) if len(keys) <= _MOST_RARE else true()


def _inside(wanted: Filter) -> Filter:
    """Return the part of a filter that an interception of a session must meet."""
    return Filter(provider=wanted.provider, model=wanted.model, status=wanted.status, tool=wanted.tool)


def _live_sessions(connection: Connection, keys: list[SessionKey], wanted: Filter) -> Iterator[Mapping[str, Any]]:
    """Yield those of these sessions that a filter wants, made of their interceptions as they are now."""
    if not keys:
        return
    inside = evolve(wanted, min_cost=None, cursor=None, since=None, until=None)
    i = interceptions.c
    matching = select(i.client_session_id, i.initiator_id, i.client).distinct()
    rows = connection.execute(matching.where(is_of_sessions(keys), of_interceptions(inside)))
    found = [(session, actor, client) for session, actor, client in rows]
    for values in read_sessions(connection, is_of_sessions(found)):
        is_in_span = (wanted.since is None or values["last_at"] >= wanted.since) and (
            wanted.until is None or values["first_at"] < wanted.until
        )
        is_on_page = wanted.cursor is None or (values["last_at"], values["id"]) < wanted.cursor
        if is_in_span and is_on_page and values["cost_nanousd"] >= (wanted.min_cost or 0):
            yield values


def _find(connection: Connection, id_: str, wanted: Filter, content: bool) -> SessionRow | None:
    """Return the row of a session, made of its interceptions as far as these are kept."""
    owner = _of_sessions(Filter(actor=wanted.actor, client=wanted.client))
    its_id = table.c.session == bounded(id_)
    with suppress(ValueError):
        its_id = or_(its_id, table.c.id == UUID(id_))
    query = select(table).where(owner, its_id).order_by(table.c.last_at.desc()).limit(1)
    known = connection.execute(query).mappings().first()
    if known is not None:
        condition = is_of_sessions([(known["session"], known["actor"], known["client"])])
    elif keys := [key for key in changed_sessions(connection, rolled_at(connection)) if str(session_id(*key)) == id_]:
        condition = is_of_sessions(keys)
    else:
        condition = of_interceptions(Filter(session=id_, actor=wanted.actor, client=wanted.client))
    live = max(read_sessions(connection, condition), key=lambda values: values["last_at"], default=known)
    return None if live is None else _row(live, content)


def _row(values: Any, content: bool) -> SessionRow:
    named = {("client_session_id" if name == "session" else name): value for name, value in values.items()}
    return SessionRow(**named | ({} if content else {"first_prompt": None}))

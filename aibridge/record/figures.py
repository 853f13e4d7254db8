"""SQL expressions and queries for figures of interceptions: tokens and costs, sums by the hour and the day, sessions.

Roll-ups are made from these queries, and questions about time that is not rolled up yet use them as they are.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .column_types import UtcDateTime
from .records import FAILED, INTERRUPTED
from .rollup_tables import BOUNDS_MS, DURATION, FIRST_BYTE, TOKENS
from .schema import interceptions, token_usages, tool_usages, user_prompts

TEAM_KEY = "team"
"""The member of an actor's metadata that names the team."""

FIRST_PROMPT = 200
"""Characters that a session keeps of its first prompt."""

_SESSIONS = UUID("b0a9f4f2-6b0e-4c55-8a43-9f6f1a9c8d10")
_SQLITE_UNITS = {"hour": (13, ":00:00.000000"), "day": (10, " 00:00:00.000000"), "month": (7, "-01 00:00:00.000000")}

UNITS = ("hour", "day", "month")
"""The units of time by which figures can be summed."""


class truncated(FunctionElement[Any]):  # noqa: N801 - a function of SQL
    """``truncated(moment, literal_column("'hour'"))``: the beginning of a moment's hour, day or month, in UTC."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(truncated, "postgresql")
def _truncated_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    moment, unit = element.clauses
    return f"date_trunc({compiler.process(unit, **options)}, {compiler.process(moment, **options)}, 'UTC')"


@compiles(truncated, "sqlite")
def _truncated_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    moment, unit = element.clauses
    length, rest = _SQLITE_UNITS[unit.name.strip("'")]
    return f"(substr({compiler.process(moment, **options)}, 1, {length}) || '{rest}')"


class unindexed(FunctionElement[Any]):  # noqa: N801 - a function of SQL
    """``unindexed(column)``: the column, by which SQLite is not tempted to read a whole table in an index's order."""

    inherit_cache = True


@compiles(unindexed, "postgresql")
def _unindexed_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(unindexed, "sqlite")
def _unindexed_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    # https://www.sqlite.org/optoverview.html#disqualifying_where_clause_terms_using_unary_
    return f"+{compiler.process(element.clauses, **options)}"


def start_of(unit: str, moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the beginning of a moment's ``hour``, ``day`` or ``month``, in UTC."""
    return truncated(moment, literal_column(f"'{unit}'"))


def team_of(metadata: ColumnElement[Any], key: str = TEAM_KEY) -> ColumnElement[str]:
    """Return the team that an actor's metadata names; empty if there is none."""
    return func.coalesce(metadata[key].as_string(), literal("", Text))


is_error = interceptions.c.status.in_((FAILED, INTERRUPTED))
"""The condition of interceptions that count as errors; a client that left is no error."""

_all_tokens = sum((token_usages.c[name] for name in TOKENS[1:]), start=token_usages.c[TOKENS[0]])
_is_unpriced = and_(
    token_usages.c.cost_nanousd.is_(None),
    func.coalesce(token_usages.c.metadata["billing"].as_string(), literal("", Text)) != "subscription",
)


def total(values: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the sum of whole numbers as one: PostgreSQL's own is a decimal number. 0 if there are no values."""
    return cast(func.coalesce(func.sum(values), 0), BigInteger)


token_sums: Sequence[ColumnElement[int]] = [
    *(total(token_usages.c[name]).label(name) for name in TOKENS),
    total(token_usages.c.cost_nanousd).label("cost_nanousd"),
    total(case((_is_unpriced, _all_tokens), else_=0)).label("unpriced_tokens"),
]
"""Sums over rows of `token_usages`; the tokens of a subscription have no price and are not unpriced."""

_SUMS = (*TOKENS, "cost_nanousd", "unpriced_tokens")


def _histogram(milliseconds: ColumnElement[Any], names: Sequence[str]) -> list[ColumnElement[int]]:
    """Return the number of values in each class of a histogram; the bound belongs to the class below it."""
    classes: list[ColumnElement[int]] = []
    for number, name in enumerate(names):
        above = milliseconds > BOUNDS_MS[number - 1] if number else milliseconds.is_not(None)
        inside = and_(above, milliseconds <= BOUNDS_MS[number]) if number < len(BOUNDS_MS) else above
        classes.append(total(case((inside, 1), else_=0)).label(name))
    return classes


def interceptions_with_figures(condition: ColumnElement[bool], *extra: ColumnElement[Any]) -> Subquery:
    """Return the interceptions that meet a condition, a row each, with the sums of their tokens and costs."""
    i = interceptions.c
    columns = (i.id, i.initiator_id, i.provider_name, i.model, i.client, i.client_session_id, i.started_at, i.ended_at)
    joined = interceptions.outerjoin(token_usages, token_usages.c.interception_id == i.id)
    further = (i.first_byte_ms, case((is_error, 1), else_=0).label("is_error"), team_of(i.metadata).label("team"))
    query = select(*columns, *further, *token_sums, *extra).select_from(joined).where(condition)
    return query.group_by(unindexed(i.id)).subquery("figures")


def usage_by_hour(condition: ColumnElement[bool]) -> Select[Any]:
    """Return the sums of interceptions that meet a condition, with the columns of `usage_hourly`."""
    each = interceptions_with_figures(condition).c
    hour = start_of("hour", each.started_at).label("hour")
    names = (each.initiator_id.label("actor"), each.team, each.provider_name.label("provider"), each.model, each.client)
    sums = [total(each[name]).label(name) for name in _SUMS]
    counts = (func.count().label("requests"), total(each.is_error).label("errors"))
    histogram = _histogram(each.first_byte_ms, FIRST_BYTE)
    query = select(hour, *names, *counts, *sums, *histogram)
    return query.group_by(hour, each.initiator_id, each.team, each.provider_name, each.model, each.client)


def tools_by_hour(condition: ColumnElement[bool]) -> Select[Any]:
    """Return the calls of tools in interceptions that meet a condition, with the columns of `tools_hourly`."""
    i, t = interceptions.c, tool_usages.c
    dimensions = (
        start_of("hour", i.started_at).label("hour"),
        i.initiator_id.label("actor"),
        team_of(i.metadata).label("team"),
        i.provider_name.label("provider"),
        i.model,
        i.client,
        t.tool,
        func.coalesce(t.server_url, literal("", Text)).label("server_url"),
        t.injected,
    )
    failed = total(case((t.invocation_error.is_not(None), 1), else_=0)).label("errors")
    # By the index of ids SQLite would read all calls, and look up the interception of each.
    joined = tool_usages.join(interceptions, t.interception_id == unindexed(i.id))
    query = select(*dimensions, func.count().label("calls"), failed, *_histogram(t.duration_ms, DURATION))
    return query.select_from(joined).where(condition).group_by(*(literal_column(str(n + 1)) for n in range(9)))


def sums_of_day(days: Table, hours: Table, day: datetime) -> Select[Any]:
    """Return the sums of a day's hours, with the columns of a table of days but the day itself."""
    counted = {column.name for column in days.c if isinstance(column.type, BigInteger)}
    keys = [hours.c[column.name] for column in days.c if column.name not in ("day", *counted)]
    sums = [total(hours.c[column.name]).label(column.name) for column in days.c if column.name in counted]
    inside = and_(hours.c.hour >= day, hours.c.hour < day + timedelta(days=1))
    return select(*keys, *sums).where(inside).group_by(*keys)


def session_parts(condition: ColumnElement[bool]) -> Select[Any]:
    """Return figures of sessions, a row for each model and provider of a session; `fold` adds them up."""

    def count_of(table: Any) -> ColumnElement[int]:
        rows = select(func.count()).select_from(table).where(table.c.interception_id == interceptions.c.id)
        return rows.scalar_subquery()

    each = interceptions_with_figures(
        and_(condition, interceptions.c.client_session_id.is_not(None)),
        count_of(user_prompts).label("prompts"),
        count_of(tool_usages).label("tool_calls"),
    ).c
    key = (each.client_session_id, each.initiator_id, each.client, each.team, each.provider_name, each.model)
    sums = [total(each[name]).label(name) for name in ("prompts", "tool_calls", *_SUMS)]
    return select(
        each.client_session_id.label("session"),
        each.initiator_id.label("actor"),
        each.client,
        each.team,
        each.provider_name.label("provider"),
        each.model,
        func.min(each.started_at, type_=UtcDateTime()).label("first_at"),
        func.max(func.coalesce(each.ended_at, each.started_at), type_=UtcDateTime()).label("last_at"),
        func.count().label("interceptions"),
        total(each.is_error).label("errors"),
        *sums,
    ).group_by(*key)


def first_prompts(condition: ColumnElement[bool]) -> Select[Any]:
    """Return the beginning of each session's first prompt that was kept."""
    i, p = interceptions.c, user_prompts.c
    place = func.row_number().over(
        partition_by=(i.client_session_id, i.initiator_id, i.client), order_by=(p.created_at, p.id)
    )
    joined = user_prompts.join(interceptions, p.interception_id == i.id)
    ranked = (
        select(
            i.client_session_id.label("session"),
            i.initiator_id.label("actor"),
            i.client,
            func.substr(p.prompt, 1, FIRST_PROMPT).label("prompt"),
            place.label("place"),
        )
        .select_from(joined)
        .where(condition, i.client_session_id.is_not(None), p.prompt.is_not(None))
        .subquery("ranked")
    )
    return select(ranked).where(ranked.c.place == 1)


def session_id(session: str, actor: str, client: str) -> UUID:
    """Return the id of a session's roll-up."""
    return uuid5(_SESSIONS, "\0".join((session, actor, client)))

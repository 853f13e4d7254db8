"""The conditions of SQL that a filter stands for."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, select, true

from ..record.column_types import Id, UtcDateTime
from ..record.figures import team_of
from ..record.schema import interceptions, token_usages, tool_usages
from ..record.values import bounded, storable
from .cursors import is_behind
from .filters import Filter, bad_cursor

_ROLLED_UP = ("actor", "team", "provider", "model", "client")
"""Filters that sums can tell apart."""

_KEY_TYPES: Mapping[type[Any], type[Any]] = {Id: UUID, UtcDateTime: datetime}


def of_interceptions(wanted: Filter) -> ColumnElement[bool]:
    """Return the condition of the interceptions that a filter wants."""
    i = interceptions.c
    equal = {
        i.initiator_id: wanted.actor,
        i.provider_name: wanted.provider,
        i.model: wanted.model,
        i.client: wanted.client,
        i.status: wanted.status,
        i.client_session_id: wanted.session,
    }
    conditions: list[ColumnElement[bool]] = [column == bounded(value) for column, value in equal.items() if value]
    if wanted.team is not None:
        conditions.append(team_of(i.metadata) == storable(wanted.team))
    if wanted.tool:
        called = and_(tool_usages.c.interception_id == i.id, tool_usages.c.tool == storable(wanted.tool))
        conditions.append(select(tool_usages.c.id).where(called).correlate(interceptions).exists())
    if wanted.since is not None:
        conditions.append(i.started_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(i.started_at < wanted.until)
    if wanted.min_cost:
        spent = select(func.coalesce(func.sum(token_usages.c.cost_nanousd), 0))
        cost = spent.where(token_usages.c.interception_id == i.id).correlate(interceptions).scalar_subquery()
        conditions.append(cost >= wanted.min_cost)
    return and_(true(), *conditions)


def is_rolled_up(wanted: Filter) -> bool:
    """Return True if sums can answer for the filter, its span of time apart."""
    return not (wanted.status or wanted.session or wanted.tool or wanted.min_cost)


def wanted_names(wanted: Filter) -> Iterator[str]:
    """Yield the columns of sums by which a filter chooses, its span of time apart."""
    for name in _ROLLED_UP:
        value = getattr(wanted, name)
        if value or (name == "team" and value is not None):
            yield name


def of_sums(wanted: Filter, table: Any) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of sums that a filter wants, its span of time apart."""
    for name in wanted_names(wanted):
        yield table.c[name] == bounded(getattr(wanted, name))


def one_page(query: Select[Any], wanted: Filter, order: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """Return the query for the filter's page in falling order, with one row more, which tells of a next page.

    InvalidParameter for a cursor that was made for another list.
    """
    if wanted.cursor is not None:
        kinds = [_KEY_TYPES.get(type(column.type), column.type.python_type) for column in order]
        if [type(key) for key in wanted.cursor] != kinds:
            raise bad_cursor()
        query = query.where(is_behind(order, wanted.cursor))
    return query.order_by(*(column.desc() for column in order)).limit(wanted.limit + 1)

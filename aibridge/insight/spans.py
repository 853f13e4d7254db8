"""Spans of time in which there may be interceptions that a filter wants, found in the roll-ups.

Without them, a list of rare interceptions would look at all records before it ends. The roll-ups tell in which hours
there is a model, a team, a tool, an error or a high cost, where no index of the records does.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, and_, false, func, or_, select, true

from ..record.column_types import UtcDateTime
from ..record.records import FAILED, IN_PROGRESS, INTERRUPTED
from ..record.rollup_changes import DAY, HOUR, day_of, hour_of
from ..record.rollup_tables import (
    people_daily,
    rollup_marks,
    rollup_state,
    tools_daily,
    tools_hourly,
    usage_daily,
    usage_hourly,
)
from ..record.schema import interceptions
from ..record.values import storable
from .conditions import of_sums, one_page, wanted_names
from .filters import Filter

MOST_SPANS = 500
"""Spans that are looked at one by one. With more hours than that a filter's interceptions are not rare."""

_FAR = datetime(9000, 1, 1, tzinfo=UTC)


@frozen
class Span:
    """A span of time; None is open. The end is excluded."""

    since: datetime | None
    until: datetime | None

    def condition(self) -> ColumnElement[bool]:
        """Return the condition of the interceptions that began in it."""
        at = interceptions.c.started_at
        begun = at >= self.since if self.since is not None else true()
        return and_(begun, at < self.until if self.until is not None else true())


def newest_rows(connection: Connection, query: Select[Any], wanted: Filter) -> Sequence[RowMapping]:
    """Return the rows of a page of interceptions, newest first, with one row more if there is a next page."""
    order = (interceptions.c.started_at, interceptions.c.id)
    found: list[RowMapping] = []
    for span in find_spans(connection, wanted, is_narrowed=_is_hard_to_find(wanted)):
        rest = evolve(wanted, limit=wanted.limit - len(found))
        page = one_page(query.where(span.condition()), rest, order)
        found += connection.execute(page).mappings().all()
        if len(found) > wanted.limit:
            break
    return found


def rare_spans(connection: Connection, wanted: Filter) -> Sequence[Span] | None:
    """Return all spans, the newest first; None if the filter's interceptions are not rare, or an index finds them."""
    if not (_is_hard_to_find(wanted) or wanted.actor):
        return None
    found = [*islice(find_spans(connection, evolve(wanted, cursor=None), is_narrowed=True), MOST_SPANS + 1)]
    return found if len(found) <= MOST_SPANS else None


def is_of_spans(spans: Sequence[Span] | None) -> ColumnElement[bool]:
    """Return the condition of the interceptions that began in one of these spans; None stands for all time."""
    return true() if spans is None else or_(false(), *(span.condition() for span in spans))


def find_spans(connection: Connection, wanted: Filter, *, is_narrowed: bool) -> Iterator[Span]:
    """Yield the spans, the newest first: what is not rolled up yet, hours, and what is older than the roll-ups.

    Without `is_narrowed` there is one span, that of the filter itself.
    """
    before = _end_of(wanted)
    known = _rolled_up(connection) if is_narrowed else None
    if known is None:
        yield Span(wanted.since, before)
        return
    first, last = known
    begins = wanted.since or first
    if before is None or before > last:
        yield Span(max(last, begins), before)
    hours = _hours(connection, wanted, max(first, hour_of(begins)), min(last, before or last))
    for number, hour in enumerate(hours):
        if number == MOST_SPANS:
            yield Span(wanted.since, hour + HOUR)
            return
        yield Span(max(hour, begins), min(hour + HOUR, before or hour + HOUR))
    if wanted.since is None or wanted.since < first:
        yield Span(wanted.since, min(first, before or first))


def _end_of(wanted: Filter) -> datetime | None:
    """Return the moment before which all rows of the page began."""
    at = wanted.cursor[0] if wanted.cursor is not None else None
    if not isinstance(at, datetime) or at > _FAR:
        return wanted.until
    return min(at + HOUR, wanted.until or _FAR)


def _is_hard_to_find(wanted: Filter) -> bool:
    """Return True if no index of interceptions leads to what is wanted."""
    status = wanted.status in (FAILED, INTERRUPTED, IN_PROGRESS)
    others = status or wanted.tool or wanted.min_cost or wanted.provider or wanted.model or wanted.client
    # The index of actors leads to a team's interceptions, too, if the actor is given.
    return not wanted.session and bool(others or (wanted.team is not None and not wanted.actor))


def _rolled_up(connection: Connection) -> tuple[datetime, datetime] | None:
    """Return the hours from which and up to which the roll-ups know all interceptions; None if there are none.

    Whatever began after the second one may have changed since, or may have come late. Before the first one rows or
    figures have been deleted.
    """
    state = connection.execute(select(rollup_state)).mappings().one_or_none()
    if state is None or state["since"] is None or state["days_since"] is None:
        return None
    marked = connection.scalar(select(func.min(rollup_marks.c.since, type_=UtcDateTime())))
    last = hour_of(min(state["since"], marked or state["since"]))
    first = max(state["days_since"] + DAY, state["frozen_before"] or state["days_since"])
    return (first, last) if first < last else None


def _hours(connection: Connection, wanted: Filter, first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield the hours of that time, the last one first, in which the roll-ups know of something that is wanted."""
    if wanted.status == IN_PROGRESS:
        return  # such a request began after the last run, or was in progress then
    of_tool = wanted.tool is not None
    is_of_people = {*wanted_names(wanted)} <= {*people_daily.c.keys()}
    days = tools_daily if of_tool else people_daily if is_of_people else usage_daily
    of_days = select(days.c.day).distinct().where(_of_sums(wanted, days), days.c.day >= day_of(first))
    today = day_of(last)
    found = [today, *connection.scalars(of_days.where(days.c.day < today).order_by(days.c.day.desc()))]
    hours = tools_hourly if of_tool else usage_hourly
    at = hours.c.hour
    for day in found:
        inside = and_(at >= max(day, first), at < min(day + DAY, last), _of_sums(wanted, hours))
        yield from connection.scalars(select(at).distinct().where(inside).order_by(at.desc())).all()


def _of_sums(wanted: Filter, table: Table) -> ColumnElement[bool]:
    """Return the condition of the sums in which something that is wanted may be."""
    known = evolve(wanted, actor=wanted.actor if "actor" in table.c else None)
    conditions = [*of_sums(known, table)]
    if wanted.tool:
        conditions.append(table.c.tool == storable(wanted.tool))
    elif wanted.min_cost:
        conditions.append(table.c.cost_nanousd >= wanted.min_cost)
    if wanted.status in (FAILED, INTERRUPTED) and not wanted.tool:
        conditions.append(table.c.errors > 0)
    return and_(true(), *conditions)

"""The sources of sums: whole days and hours from the roll-ups, and the rest of a span live, as far as records are kept.

The roll-ups are up to date but for the hour in which they were made last; that one and later ones are added live.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import ColumnElement, Connection, Select, Subquery, Table, and_, select, union_all

from ..record.figures import tools_by_hour, usage_by_hour
from ..record.rollup_changes import DAY, HOUR, day_of, hour_of
from ..record.rollup_tables import (
    DURATION,
    FIGURES,
    FIRST_BYTE,
    people_daily,
    rollup_state,
    tools_daily,
    tools_hourly,
    usage_daily,
    usage_hourly,
)
from ..record.schema import interceptions
from .conditions import is_rolled_up, of_interceptions, of_sums, wanted_names
from .filters import Filter

MONTH = 30
"""Days of a question that needs a span and has none."""


@frozen
class _Kind:
    """The tables of sums of one kind, and the query that makes the same sums of records."""

    live: Callable[[Any], Select[Any]]
    hours: Table
    days: Sequence[Table]
    """The tables of whole days, the smallest first. Each lacks some of the columns by which hours are told apart."""
    figures: Sequence[str]

    def days_for(self, wanted: Filter, keys: Collection[str]) -> Table | None:
        """Return the first table of days that has the columns which a question needs; None if only hours have them."""
        needed = {*keys, *wanted_names(wanted)}
        return next((table for table in self.days if needed <= {*table.c.keys()}), None)


_USAGE = _Kind(usage_by_hour, usage_hourly, (usage_daily, people_daily), (*FIGURES, *FIRST_BYTE))
_TOOLS = _Kind(tools_by_hour, tools_hourly, (tools_daily,), ("calls", "errors", *DURATION))


def usage_source(connection: Connection, wanted: Filter, now: datetime, keys: Collection[str]) -> Subquery:
    """Return the sums that a filter wants, with the figures of `usage_hourly`, the columns named by `keys`, and ``at``.

    ``at`` is a moment of the day; it is the beginning of the hour if `keys` has ``hour``.
    """
    return _source(connection, wanted, now, _USAGE, keys)


def tools_source(connection: Connection, wanted: Filter, now: datetime) -> Subquery:
    """Return the calls of the tools that a filter wants, with the columns of `tools_hourly` that tell tools apart."""
    source = _source(connection, evolve(wanted, tool=None), now, _TOOLS, ("tool", "server_url", "injected"))
    return select(source).where(source.c.tool == wanted.tool).subquery("of_tool") if wanted.tool else source


def rolled_at(connection: Connection) -> datetime | None:
    """Return when the last run of the roll-ups began; None if there was none."""
    return connection.scalar(select(rollup_state.c.rolled_at))


def _source(connection: Connection, wanted: Filter, now: datetime, kind: _Kind, keys: Collection[str]) -> Subquery:
    """Return the union of the sums that the roll-ups have and of those that are made live of the rest."""
    since = wanted.since or hour_of((wanted.until or now) - timedelta(days=MONTH))
    span = evolve(wanted, since=since)

    def columns(table: Any, at: str) -> Select[Any]:
        return select(table.c[at].label("at"), *(table.c[name] for name in (*keys, *kind.figures)))

    def live(condition: ColumnElement[bool]) -> Select[Any]:
        return columns(kind.live(condition).subquery(), "hour")

    rolled_up = select(rollup_state.c.rolled_at, rollup_state.c.days_since).where(rollup_state.c.rolled_at.is_not(None))
    state = connection.execute(rolled_up).one_or_none() if is_rolled_up(wanted) else None
    # The whole hours that the roll-ups have: from `first` to `last`, that one excluded.
    first = last = _next(HOUR, since)
    if state is not None:
        last = hour_of(min(state.rolled_at, wanted.until or state.rolled_at))
    if state is None or last <= first:
        return live(of_interceptions(span)).subquery("sums")
    parts = []
    for table, at, begin, end in _stored(first, last, kind.hours, kind.days_for(wanted, keys), state.days_since):
        inside = and_(table.c[at] >= begin, table.c[at] < end, *of_sums(wanted, table))
        parts.append(columns(table, at).where(inside))
    if since < first:
        parts.append(live(of_interceptions(evolve(span, until=first))))
    # Behind the roll-ups time is open: what begins while the question is answered counts.
    parts.append(live(and_(of_interceptions(span), interceptions.c.started_at >= last)))
    return union_all(*parts).subquery("sums")


def _stored(
    first: datetime, last: datetime, hours: Table, days: Table | None, days_since: datetime | None
) -> Iterator[tuple[Table, str, datetime, datetime]]:
    """Yield the tables in which a span's sums are, each with the name of its column of time and its part of the span.

    Whole days come from the table of days, if there is one, as far as it has been made.
    """
    from_day = _next(DAY, max(first, days_since)) if days_since is not None else last
    to_day = day_of(last)
    if days is None or from_day >= to_day:
        yield hours, "hour", first, last
        return
    yield days, "day", from_day, to_day
    if first < from_day:
        yield hours, "hour", first, from_day
    if to_day < last:
        yield hours, "hour", to_day, last


def _next(unit: timedelta, moment: datetime) -> datetime:
    """Return the moment, if an hour or a day begins with it, or the beginning of the next one."""
    start = (day_of if unit == DAY else hour_of)(moment)
    return moment if moment == start else start + unit

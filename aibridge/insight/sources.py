"""The sources of sums: whole hours from the roll-ups, and the rest of a span, as far as records are kept, live.

The roll-ups are up to date but for the hour in which they were made last; that one and later ones are added live.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, Select, Subquery, Table, and_, select, union_all

from ..record.figures import tools_by_hour, usage_by_hour
from ..record.rollup_tables import rollup_state, tools_hourly, usage_hourly
from ..record.rollups import HOUR, hour_of
from ..record.schema import interceptions
from .conditions import is_rolled_up, of_interceptions, of_sums
from .filters import Filter

MONTH = 30
"""Days of a question that needs a span and has none."""


def usage_source(connection: Connection, wanted: Filter, now: datetime) -> Subquery:
    """Return the sums by the hour that a filter wants, with the columns of `usage_hourly`."""
    return _source(connection, wanted, now, usage_hourly, usage_by_hour)


def tools_source(connection: Connection, wanted: Filter, now: datetime) -> Subquery:
    """Return the calls by the hour that a filter wants, with the columns of `tools_hourly`."""
    tool = wanted.tool
    source = _source(connection, evolve(wanted, tool=None), now, tools_hourly, tools_by_hour)
    return select(source).where(source.c.tool == tool).subquery("of_tool") if tool else source


def rolled_at(connection: Connection) -> datetime | None:
    """Return when the last run of the roll-ups began; None if there was none."""
    return connection.scalar(select(rollup_state.c.rolled_at))


def _source(
    connection: Connection, wanted: Filter, now: datetime, table: Table, live: Callable[[Any], Select[Any]]
) -> Subquery:
    since = wanted.since or hour_of((wanted.until or now) - timedelta(days=MONTH))
    span = evolve(wanted, since=since)
    made_at = rolled_at(connection) if is_rolled_up(wanted) else None
    # The whole hours that the roll-ups have: from `first` to `last`, that one excluded.
    first = since if since == hour_of(since) else hour_of(since) + HOUR
    last = hour_of(min(made_at, wanted.until or made_at)) if made_at is not None else first
    if last <= first:
        return live(of_interceptions(span)).subquery("sums")
    hours = and_(table.c.hour >= first, table.c.hour < last, *of_sums(wanted, table))
    parts = [select(table).where(hours)]
    if since < first:
        parts.append(live(of_interceptions(evolve(span, until=first))))
    # Behind the roll-ups time is open: what begins while the question is answered counts.
    parts.append(live(and_(of_interceptions(span), interceptions.c.started_at >= last)))
    return union_all(*parts).subquery("sums")

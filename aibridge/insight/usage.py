"""Sums: the overview, usage by any grouping, models and people."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from math import ceil
from typing import Any

from attrs import evolve
from sqlalchemy import ColumnElement, Connection, Row, RowMapping, Subquery, func, select

from ..record.figures import UNITS, start_of, total
from ..record.rollup_tables import BOUNDS_MS, FIGURES, FIRST_BYTE
from .conditions import one_page
from .cursors import Page, make_page
from .filters import Filter, InvalidParameter
from .rows import Figures, Overview, PersonRow, UnpricedModel, UsageRow
from .sources import MONTH, usage_source

DIMENSIONS = ("actor", "team", "provider", "model", "client")
GROUPS = (*UNITS, *DIMENSIONS)
"""The words of ``group_by``."""

_PERCENT_USUAL = 0.95


def parse_groups(text: str) -> tuple[str, ...]:
    """Return the words of a ``group_by``. InvalidParameter for an unknown one, and for two units of time."""
    words = tuple(text.split(","))
    for word in words:
        if word not in GROUPS:
            raise InvalidParameter("group_by", f"Unknown group {word[:50]!r}. Known: {', '.join(GROUPS)}.")
    if len({*words}) < len(words) or sum(word in UNITS for word in words) > 1:
        raise InvalidParameter("group_by", f"Give each group once, and one of {', '.join(UNITS)} at most.")
    return words


def usage(connection: Connection, wanted: Filter, group_by: Sequence[str], now: datetime) -> Page[UsageRow]:
    """Return the sums of each group, the latest and the most expensive first."""
    source = usage_source(connection, wanted, now, [word for word in group_by if word not in ("day", "month")])
    keys = {word: start_of(word, source.c.at) if word in UNITS else source.c[word] for word in group_by}
    sums = select(*(key.label(word) for word, key in keys.items()), *_sums(source)).group_by(*keys.values()).subquery()
    times = [sums.c[word] for word in group_by if word in UNITS]
    order = [*times, sums.c.cost_nanousd, sums.c.requests, *(sums.c[word] for word in group_by if word in DIMENSIONS)]
    page = one_page(select(sums), wanted, order)
    rows = [_usage_row(row, group_by) for row in connection.execute(page).mappings()]

    def sort_keys(row: UsageRow) -> list[object]:
        return [getattr(row.figures if column.name in FIGURES else row, column.name) for column in order]

    return make_page(rows, wanted.limit, sort_keys)


def models(connection: Connection, wanted: Filter, now: datetime) -> Page[UsageRow]:
    """Return the sums of each model of each provider, the most expensive first."""
    return usage(connection, wanted, ("model", "provider"), now)


def overview(connection: Connection, wanted: Filter, now: datetime) -> Overview:
    """Return the figures of the last 30 days; a span in the filter does not count."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    span = evolve(wanted, since=today - timedelta(days=MONTH - 1), until=None)
    source = usage_source(connection, span, now, ("provider", "model", "client"))
    day = start_of("day", source.c.at)
    keys = (day, source.c.provider, source.c.model, source.c.client)
    query = select(day.label("day"), *keys[1:], *_sums(source)).group_by(*keys)
    rows = connection.execute(query).mappings().all()

    def since(first: datetime) -> Figures:
        return _add_up(row for row in rows if row["day"] >= first)

    def by(*names: str) -> tuple[UsageRow, ...]:
        return tuple(UsageRow(**key, figures=_add_up(group)) for key, group in _grouped(rows, names))

    return Overview(
        today=since(today),
        last_7_days=since(today - timedelta(days=6)),
        last_30_days=since(today - timedelta(days=MONTH)),
        by_day=by("day"),
        by_model=by("day", "model"),
        by_client=by("day", "client"),
        by_provider=by("day", "provider"),
        unpriced_models=_unpriced(rows),
    )


def people(connection: Connection, wanted: Filter, now: datetime) -> Page[PersonRow]:
    """Return the actors by their costs in the span, the highest first, each compared with their own usual day."""
    page = usage(connection, wanted, ("actor",), now)
    days = _days_of(connection, [row.actor for row in page.rows if row.actor is not None], now)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)

    def person(row: UsageRow) -> PersonRow:
        own = days.get(row.actor or "", ())
        past = sorted(day.cost for day in own if day.day < today)
        usual = past[ceil(len(past) * _PERCENT_USUAL) - 1] if past else 0
        spent = sum(day.cost for day in own if day.day >= today)
        return PersonRow(
            actor=row.actor or "",
            team=own[-1].team if own else "",
            figures=row.figures,
            today_nanousd=spent,
            usual_day_nanousd=usual,
            over_usual=spent / usual if usual else None,
        )

    return Page(rows=tuple(map(person, page.rows)), next_cursor=page.next_cursor)


# Sums


def _sums(source: Subquery) -> list[ColumnElement[int]]:
    return [total(source.c[name]).label(name) for name in (*FIGURES, *FIRST_BYTE)]


def _days_of(connection: Connection, actors: Sequence[str], now: datetime) -> Mapping[str, Sequence[Row[Any]]]:
    """Return the costs of these actors' last 30 days, with their teams, each actor's days in their order."""
    source = usage_source(connection, Filter(), now, ("actor", "team"))
    day = start_of("day", source.c.at).label("day")
    cost = total(source.c.cost_nanousd).label("cost")
    query = select(source.c.actor, day, func.max(source.c.team).label("team"), cost)
    found: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(query.where(source.c.actor.in_(actors)).group_by(source.c.actor, day).order_by(day)):
        found.setdefault(row.actor, []).append(row)
    return found


# Rows


def _usage_row(row: RowMapping, group_by: Sequence[str]) -> UsageRow:
    return UsageRow(**{word: row[word] for word in group_by}, figures=_add_up([row]))


def _grouped(rows: Iterable[RowMapping], names: Sequence[str]) -> Iterable[tuple[dict[str, Any], list[RowMapping]]]:
    """Return the rows by the values of these columns, in their order."""
    groups: dict[tuple[Any, ...], list[RowMapping]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return [(dict(zip(names, key, strict=True)), group) for key, group in sorted(groups.items())]


def _add_up(rows: Iterable[RowMapping]) -> Figures:
    """Return the sums over rows of sums."""
    kept = [*rows]
    sums = {name: sum(row[name] for row in kept) for name in FIGURES}
    histogram = [sum(row[name] for row in kept) for name in FIRST_BYTE]
    p50, p95 = (percentile(histogram, part) for part in (0.5, 0.95))
    return Figures(**sums, first_byte_p50=p50, first_byte_p95=p95)


def percentile(histogram: Sequence[int], part: float) -> float | None:
    """Return the seconds within which that part of a histogram's values lies; None if it has no values.

    Values are taken to be spread evenly over their class. Past the last bound it is the last bound that is returned.
    """
    number = sum(histogram)
    if not number:
        return None
    rank = part * number
    sums = [*accumulate(histogram)]
    place = next(index for index, at in enumerate(sums) if at >= rank and histogram[index])
    if place == len(BOUNDS_MS):
        return BOUNDS_MS[-1] / 1000
    low, high = (BOUNDS_MS[place - 1] if place else 0), BOUNDS_MS[place]
    inside = (rank - (sums[place] - histogram[place])) / histogram[place]
    return (low + (high - low) * inside) / 1000


def _unpriced(rows: Iterable[RowMapping]) -> tuple[UnpricedModel, ...]:
    tokens: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["provider"], row["model"])
        tokens[key] = tokens.get(key, 0) + row["unpriced_tokens"]
    found = [
        UnpricedModel(provider=each, model=model, tokens=count) for (each, model), count in tokens.items() if count
    ]
    return tuple(sorted(found, key=lambda row: -row.tokens))

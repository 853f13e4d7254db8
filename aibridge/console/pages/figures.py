"""The pages of sums: overview, people, models and tools."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from ...costs.prices import NANODOLLARS
from ...insight.filters import FILTERS
from ...insight.rows import Figures, Overview, UsageRow
from ...record.values import utc_now
from .charts import largest, stacked_bars
from .formats import count, day, money
from .manage import read_budgets
from .page import Page, Values, Visit

_DAYS = 30
_PARTS = {"model": "by_model", "client": "by_client", "provider": "by_provider"}
_MEASURES: Mapping[str, tuple[str, Callable[[Figures], float], Callable[[float], str]]] = {
    "cost": ("Cost", lambda sums: sums.cost_nanousd / NANODOLLARS, lambda value: money(round(value * NANODOLLARS))),
    "tokens": ("Tokens", lambda sums: tokens_of(sums), lambda value: count(round(value))),
    "requests": ("Requests", lambda sums: sums.requests, lambda value: count(round(value))),
    "errors": ("Errors", lambda sums: sums.errors, lambda value: count(round(value))),
}
"""The figures of the overview's chart: the title of each, the figure, and its text."""


def tokens_of(sums: Figures) -> int:
    """Return all tokens, those of caches too."""
    return sums.input_tokens + sums.output_tokens + sums.cache_read_input_tokens + sums.cache_write_input_tokens


async def overview(visit: Visit) -> Values:
    """Read the sums of 30 days, and draw one of them by the day."""
    found: Overview = await visit.ask("overview")
    part = visit.value("by", "model")
    if part not in _PARTS:
        part = "model"
    measure = visit.value("show", "cost" if found.last_30_days.cost_nanousd else "tokens")
    if measure not in _MEASURES:
        measure = "cost"
    rows: Sequence[UsageRow] = getattr(found, _PARTS[part])
    title, figure, text_of = _MEASURES[measure]
    series = largest(_by_day(rows, part, figure, utc_now()))
    labels = [day(each) for each in _last_days(utc_now())]
    return {
        "spans": [("Today", found.today), ("7 days", found.last_7_days), ("30 days", found.last_30_days)],
        "chart": stacked_bars(f"{title} of the last 30 days, by {part}", labels, series, text_of) if series else None,
        "legend": [(name, text_of(sum(values))) for name, values in series.items()],
        "part": part,
        "parts": [*_PARTS],
        "measure": measure,
        "measures": {name: title for name, (title, _, _) in _MEASURES.items()},
        "unpriced": found.unpriced_models,
        "state": await visit.site.state(),
        "tokens_of": tokens_of,
    }


def _last_days(now: datetime) -> list[datetime]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=ago) for ago in reversed(range(_DAYS))]


def _by_day(
    rows: Sequence[UsageRow], part: str, figure: Callable[[Figures], float], now: datetime
) -> dict[str, list[float]]:
    """Return a figure of each day for each value of the part; those without any are left out."""
    place = {each: number for number, each in enumerate(_last_days(now))}
    series: dict[str, list[float]] = {}
    for row in rows:
        value = figure(row.figures)
        if value and row.day in place:
            name = getattr(row, part) or "unknown"
            series.setdefault(name, [0.0] * _DAYS)[place[row.day]] += value
    return series


async def people(visit: Visit) -> Values:
    """Read the actors by their costs."""
    page = await visit.ask("people")
    most = max((row.figures.cost_nanousd for row in page.rows), default=0)
    return {"page": page, "most": most, "tokens_of": tokens_of, "budgets": await read_budgets(visit)}


async def models(visit: Visit) -> Values:
    """Read the models by their costs."""
    return {"page": await visit.ask("models"), "tokens_of": tokens_of}


async def tools(visit: Visit) -> Values:
    """Read the tools by their calls."""
    return {"page": await visit.ask("tools")}


PAGES: Mapping[str, Page] = {
    "": Page(
        title="Overview",
        template="overview.html",
        load=overview,
        filters=[name for name in FILTERS if name not in ("from", "to")],
        parameters=("by", "show"),
        nav="Overview",
    ),
    "people": Page(title="People", template="people.html", load=people, filters=FILTERS, nav="People"),
    "models": Page(title="Models", template="models.html", load=models, filters=FILTERS, nav="Models"),
    "tools": Page(title="Tools", template="tools.html", load=tools, filters=FILTERS, nav="Tools"),
}

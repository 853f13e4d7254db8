"""The commands ``aibridge cost …``."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from time import sleep

from attrs import asdict

from ..config.model import Config
from ..costs.calculator import Prices
from ..costs.load import load_prices
from ..costs.prices import PER_MILLION, PICODOLLARS, ModelPrices, Period
from ..errors import ConfigError
from ..record import migrations
from ..record.reprice import count_priceable, reprice
from ..record.values import utc_now
from .db import open_store
from .output import Progress

_REPRICE_PAUSE = 0.002
"""Seconds between two steps, in which a running gateway can write."""
_HEADINGS = ("TIER", "INPUT TOKENS", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "LONG WRITE", "SEARCH")
_TEXTS = 2
"""The first columns hold text, the others numbers."""
_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_long")


def show_cost(config: Config, model: str, provider: str | None) -> Iterator[str]:
    """Show what answers of a model are charged now, and by which table."""
    if provider is not None and provider not in config.providers:
        raise ConfigError("command line", "--provider", f"no provider {provider} is configured")
    prices = load_prices(config.prices, *config.price_sources)
    if prices is None:
        raise ConfigError("command line", "MODEL", "no price is known, as prices.source is off")
    found = {name: prices.find(name, model) for name in ([provider] if provider else config.providers)}
    known = {name: each for name, each in found.items() if each is not None}
    if not known:
        raise ConfigError(
            "command line",
            "MODEL",
            f"no price of {model} is known for {' or '.join(found)}, so its cost is not recorded. "
            f'Set it in [prices.models."{model}"], or the name of the provider in [prices.providers]',
        )
    for name, each in known.items():
        yield from _describe(prices, name, model, each)


def reprice_records(config: Config, since: datetime, everything: bool) -> Iterator[str]:
    """Find the costs of recorded tokens again, by the present prices. A gateway may run meanwhile."""
    prices = load_prices(config.prices, *config.price_sources)
    if prices is None:
        raise ConfigError("command line", "--since", "no price is known, as prices.source is off")
    migrations.require_current(config.database.url)
    totals = Counter(rows=0, priced=0, unknown=0)
    with closing(open_store(config)) as store:
        due = count_priceable(store, prices, since, everything)
        with Progress("rows priced", due) as bar:
            for step in reprice(store, prices, since, everything):
                totals.update(asdict(step))
                bar.advance(step.rows)
                sleep(_REPRICE_PAUSE)
    yield f"{totals['rows']} rows since {since:%Y-%m-%d %H:%M} UTC, by {prices.version}"
    yield f"{totals['priced']} have another cost now, {totals['unknown']} have no price"


def _describe(prices: Prices, provider: str, model: str, found: ModelPrices) -> Iterator[str]:
    """Describe a model's prices: in dollars per million tokens, and for a web search."""
    now = utc_now()
    yield f"{model} of {provider}: {found.name} of {found.provider} in {prices.version}"
    lines: list[tuple[str, ...]] = [_HEADINGS]
    for tier, periods in found.tiers.items():
        lines += reversed([*_lines(tier or "standard", periods, now)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [*map(str.ljust, line[:_TEXTS], widths), *map(str.rjust, line[_TEXTS:], widths[_TEXTS:])]
        yield "  ".join(cells).rstrip()
    for words, factor in found.factors.items():
        yield f"{words}: prices of tokens are multiplied by {float(factor):g}."
    yield "In USD: for a million tokens, and for a web search. The cost of what has no price (-) is not recorded."
    if any(period.daily for periods in found.tiers.values() for period in periods):
        yield f"Prices depend on the hour; these are those of {now:%H:%M} UTC."
    yield ""


def _lines(tier: str, periods: tuple[Period, ...], now: datetime) -> Iterator[tuple[str, ...]]:
    """Yield a line for each threshold of a tier, the highest first; none if the tier has no price now."""
    rates = next((period.rates for period in periods if period.contains(now)), ())
    most: str | None = None
    for each in rates:  # the highest threshold first
        span = f"over {each.above:,}" if each.above >= 0 else f"up to {most}" if most else "any number"
        most = f"{each.above:,}"
        amounts = [_dollars(getattr(each, kind), PER_MILLION) for kind in _KINDS]
        yield (tier, span, *amounts, _dollars(each.web_search, PICODOLLARS))


def _dollars(amount: int | None, per: int) -> str:
    """Return an amount of picodollars in dollars, with at least two digits behind the point."""
    if amount is None:
        return "-"
    whole, _, rest = f"{amount / per:.6f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"

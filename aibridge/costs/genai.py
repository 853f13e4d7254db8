"""The table that the package genai-prices brings along. https://github.com/pydantic/genai-prices

Only its data is read (`aibridge.costs.genai_data`). Its own calculation takes 210 µs for an answer, and its updater,
which fetches newer data, is never started.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING

from attrs import evolve

from .genai_data import find_model, read_providers
from .prices import PICODOLLARS, STANDARD, ModelPrices, Period, Rates, picodollars

if TYPE_CHECKING:
    from genai_prices.types import (
        ModelInfo,
        ModelPrice,
        PriceVariant,
        StartDateConstraint,
        TieredPrices,
        TimeOfDateConstraint,
    )

    Price = Decimal | TieredPrices
    Constraint = StartDateConstraint | TimeOfDateConstraint | None
    Priced = tuple[Constraint, ModelPrice]
    """Prices, and the condition under which they hold."""

_TOKENS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_long",
}
"""The package's names of prices for a million tokens, and those of `Rates`."""
_SEARCHES = "web_searches_kcount"
_MEDIA = ("audio", "image", "video")
_UNUSED = ("storage_searches_kcount",)
"""Prices of things that usage objects don't count."""
_BATCH = "service_tier=batch"


class GenAIPrices:
    """The package's table. A model is compiled when it is first looked up."""

    def __init__(self) -> None:
        self.version = f"genai-prices {version('genai-prices')}"
        self._providers = {provider.id: provider for provider in read_providers()}

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model; of a model of others that this provider offers, the standard ones."""
        if (own := self._providers.get(provider)) is None:
            return None
        if found := find_model(own, model):
            return _read(found, provider)
        for other in own.fallback_model_providers or ():
            if found := find_model(self._providers[other], model):
                prices = _read(found, other)
                return evolve(prices, tiers={STANDARD: prices.tiers[STANDARD]})
        return None


def _read(model: "ModelInfo", provider: str) -> ModelPrices:
    standard: list[Priced]
    if isinstance(model.prices, list):
        standard = [(price.constraint, price.prices) for price in model.prices]
    else:
        standard = [(None, model.prices)]
    variants: dict[str, list[PriceVariant]] = {}
    for variant in model.price_variants or ():
        if (word := _word(variant.when)) and _given(variant.prices):
            variants.setdefault(word, []).append(variant)
    tiers = {STANDARD: tuple(_standard_periods(standard))}
    tiers |= {word: tuple(_variant_periods(standard, same)) for word, same in variants.items()}
    keys = {key for _, prices in standard for key in prices.__dict__}
    return ModelPrices(model.id, provider, tiers, has_media=any(word in key for key in keys for word in _MEDIA))


def _word(when: dict[str, str]) -> str | None:
    """Return the words of an answer that choose a variant; None if answers don't have such words."""
    [(name, value), *others] = when.items()
    if others:
        return None
    if (name, value) == ("processing", "batch"):
        return _BATCH
    return f"{name}={value}" if name in ("service_tier", "speed") else None


def _standard_periods(standard: "Sequence[Priced]") -> Iterator[Period]:
    """Yield the periods of the standard tier. The package lets the last price that fits count."""
    for constraint, prices in reversed(standard):
        yield _period(_rates(prices.__dict__), [constraint])


def _variant_periods(standard: "Sequence[Priced]", variants: "Sequence[PriceVariant]") -> Iterator[Period]:
    """Yield the periods of another tier: its prices on top of the standard ones.

    The time before a variant's own date has no price: it is not known when it was introduced.
    """
    for constraint, prices in reversed(standard):
        for variant in variants:
            both = {**prices.__dict__, **_given(variant.prices)}
            yield _period(_rates(both), [constraint, variant.constraint])
        yield _period((), [constraint])


def _given(prices: "ModelPrice") -> "dict[str, Price]":
    return {key: price for key, price in prices.__dict__.items() if price is not None}


def _period(rates: tuple[Rates, ...], constraints: "Iterable[Constraint]") -> Period:
    """Return the period in which all these constraints hold. At most one of them is about hours of the day."""
    since: datetime | None = None
    daily: tuple[time, time] | None = None
    for constraint in filter(None, constraints):
        if (date := getattr(constraint, "start_date", None)) is not None:
            start = datetime(date.year, date.month, date.day, tzinfo=UTC)
            since = max(start, since or start)
        else:
            daily = _utc(getattr(constraint, "start_time")), _utc(getattr(constraint, "end_time"))  # noqa: B009
    return Period(rates, since, daily)


def _utc(moment: time) -> time:
    any_day = datetime(2000, 1, 2)
    return datetime.combine(any_day, moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).time()


def _rates(prices: "dict[str, Price | None]") -> tuple[Rates, ...]:
    """Return the prices by thresholds; empty if something else than tokens and searches has a price."""
    tokens: dict[str, Price] = {}
    searches: int | None = None
    for key, price in prices.items():
        if price is None or key in _UNUSED or any(word in key for word in _MEDIA):
            continue
        if key in _TOKENS:
            tokens[_TOKENS[key]] = price
        elif key == _SEARCHES and isinstance(price, Decimal):
            searches = picodollars(price, PICODOLLARS // 1000)
        else:
            return ()
    steps = {-1} | {tier.start for price in tokens.values() if not isinstance(price, Decimal) for tier in price.tiers}
    return tuple(
        Rates(above, web_search=searches, **{kind: _price_above(price, above) for kind, price in tokens.items()})
        for above in sorted(steps, reverse=True)
    )


def _price_above(price: "Price", above: int) -> int:
    """Return a price for requests of more input tokens than that."""
    if isinstance(price, Decimal):
        return picodollars(price)
    reached = [tier.price for tier in price.tiers if tier.start <= above]
    return picodollars(reached[-1] if reached else price.base)

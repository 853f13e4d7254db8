"""Prices of models as plain values, in whole picodollars: 10⁻¹² USD.

One USD per million tokens is a million picodollars per token, so that every published price is a whole number.
"""

from collections.abc import Mapping
from datetime import datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from attrs import Factory, evolve, frozen

PICODOLLARS = 10**12
"""In a dollar."""
NANODOLLARS = 10**9
"""In a dollar: the unit of costs."""
PER_MILLION = 10**6
"""Picodollars per token, for a dollar per million tokens."""
STANDARD = ""
"""The tier of an answer that names none."""

Costs = Mapping[tuple[str, int], Mapping[str, int]]
"""Picodollars by tier and threshold, and in these by the name of a field of `Rates`."""


@frozen
class Rates:
    """Picodollars for a token of each kind, and for a web search. None where the table has no price."""

    above: int = -1
    """The prices are those of requests of more input tokens than this, cached ones among them."""
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    """For the usual time: 5 minutes with Anthropic, 30 minutes with OpenAI."""
    cache_write_long: int | None = None
    """For an hour with Anthropic, 12 hours with OpenAI."""
    web_search: int | None = None


@frozen
class Period:
    """The prices of a span of time."""

    rates: tuple[Rates, ...]
    """The highest threshold first. Empty if the table has no price that can be used."""
    since: datetime | None = None
    daily: tuple[time, time] | None = None
    """Beginning and end of the hours of each day, in UTC, to which the prices are limited."""

    def contains(self, moment: datetime) -> bool:
        """Return True if these prices are in force at that moment."""
        if self.since is not None and moment < self.since:
            return False
        if self.daily is None:
            return True
        (start, end), now = self.daily, moment.time()
        return start <= now < end if start <= end else now >= start or now < end


@frozen
class ModelPrices:
    """All prices of a model."""

    name: str
    """The model's name in the table."""
    provider: str
    """The provider's name in the table."""
    tiers: Mapping[str, tuple[Period, ...]]
    """By `STANDARD` or the answer's own words, such as ``service_tier=flex``. The first period that fits counts."""
    factors: Mapping[str, Fraction] = Factory(dict)
    """By the answer's own words: multiplies the prices of tokens."""
    has_media: bool = False
    """True if audio, images or video have prices of their own, which are not kept here."""


class PriceTable(Protocol):
    """A table of prices."""

    version: str

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model. `provider` is one of the table's own names."""


def picodollars(usd: Decimal | int, per: int = PER_MILLION) -> int:
    """Return an amount of dollars, multiplied by that number, in whole units."""
    return int((Decimal(usd) * per).to_integral_value())


def dollars(nanodollars: int) -> str:
    """Return an amount of nanodollars in dollars, with at least two digits behind the point."""
    whole, _, rest = f"{Decimal(nanodollars) / NANODOLLARS:.9f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def scaled(rates: Rates, factor: Fraction) -> Rates:
    """Return the prices with those of tokens multiplied. A web search has the same price everywhere."""
    kinds = ("input", "output", "cache_read", "cache_write", "cache_write_long")
    prices = {kind: price for kind in kinds if (price := getattr(rates, kind)) is not None}
    return evolve(rates, **{kind: round(price * factor) for kind, price in prices.items()})


def tiers_of(costs: Costs, web_search: int | None) -> dict[str, tuple[Period, ...]]:
    """Return the tiers with these prices.

    A tier that does not name a threshold of the standard tier has no known price above it.
    """
    tiers: dict[str, tuple[Period, ...]] = {}
    for tier in dict.fromkeys(tier for tier, _ in costs):
        steps = {above for other, above in costs if other in (tier, STANDARD)}
        tiers[tier] = (
            Period(
                tuple(
                    Rates(above, web_search=web_search, **costs.get((tier, above), {}))
                    for above in sorted(steps, reverse=True)
                )
            ),
        )
    return tiers

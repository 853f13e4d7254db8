"""The cost of an answer: one lookup in compiled prices, and a product for each kind of token."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from hashlib import sha256
from math import prod

from attrs import asdict, define, evolve, frozen

from ..caches import CachedDict
from ..wire.formats import Answer
from ..wire.usage import TokenCounts
from .prices import NANODOLLARS, PICODOLLARS, STANDARD, ModelPrices, Period, PriceTable, Rates, picodollars, scaled
from .settings import OwnPrices

_USUAL = {
    "service_tier": ("standard", "default", "on_demand"),
    "speed": ("standard",),
    "inference_geo": ("global", "not_available"),
}
"""The words of answers that are priced as the table says without them."""
_NANODOLLAR = PICODOLLARS // NANODOLLARS
"""In picodollars."""
_MOST = 10**6 * NANODOLLARS
"""The most nanodollars that an answer can cost. A higher cost comes of wrong counts, and may not fit the database."""
_LONG_WRITES = ("ephemeral_1h_input_tokens", "ttl_12h_tokens")
_SEARCHES = "web_search_requests"
_MEDIA = ("audio_tokens", "image_tokens", "video_tokens")
_OWN = "your own"

Terms = tuple[str, str, str | None, str | None, str | None]
"""Provider, model, and the answer's own ``service_tier``, ``speed`` and ``inference_geo``."""


@frozen
class Tariff:
    """The prices for answers of some `Terms`."""

    periods: tuple[Period, ...] = ()
    """The first that fits counts. Empty if these answers can't be priced."""
    has_media: bool = False


class Prices:
    """Prices of answers of the configured providers.

    `providers` has, for each of them, its names in the table. An operator's own prices beat the table, and the first
    pattern that matches a model counts. A model, tier or place that is not known has no cost: None, not 0.
    """

    def __init__(
        self,
        table: PriceTable,
        providers: Mapping[str, Sequence[str]],
        own: Mapping[str, OwnPrices] | None = None,
        factors: Mapping[str, float] | None = None,
        header: bool = False,
    ) -> None:
        self._table = table
        self._providers = providers
        self._own = own or {}
        self._factors = {words: Fraction(str(factor)) for words, factor in (factors or {}).items()}
        self.header = header
        """True if unstreamed answers tell their cost in a header."""
        self._tariffs: CachedDict[Terms, Tariff] = CachedDict(self._compile)
        self.version = table.version + _digest(self._own, factors or {})
        """The table and its version, and a digest of the operator's own settings if there are any."""

    def cost(
        self,
        provider: str,
        model: str,
        tokens: TokenCounts,
        started_at: datetime,
        service_tier: str | None = None,
        speed: str | None = None,
        inference_geo: str | None = None,
    ) -> int | None:
        """Return the cost of an answer in nanodollars (10⁻⁹ USD); None if it is not known.

        `model` is the one that answered, and the prices are those that were in force when the request began. The last
        three are the answer's own words.
        """
        tariff = self._tariffs[provider, model, service_tier, speed, inference_geo]
        for period in tariff.periods:
            if (period.since is None and period.daily is None) or period.contains(started_at):
                break
        else:
            return None
        if tariff.has_media and _counts_media(tokens):
            return None
        total = tokens.input + tokens.cache_read + tokens.cache_write
        for rates in period.rates:
            if total > rates.above:
                return _cost(rates, tokens)
        return None

    def most(
        self, provider: str, model: str, started_at: datetime, input_tokens: int, output_tokens: int
    ) -> int | None:
        """Return the nanodollars that so many tokens of a model can cost at most, whatever its tier.

        None if the model has no price.
        """
        if (found := self.find(provider, model)) is None:
            return None
        own = [factor for words, factor in self._factors.items() if words.startswith(f"{provider}:")]
        factor = prod(max(Fraction(1), each) for each in (*found.factors.values(), *own))
        dearest = 0
        for periods in found.tiers.values():
            for rates in next((period.rates for period in periods if period.contains(started_at)), ()):
                inputs = max(filter(None, (rates.input, rates.cache_write, rates.cache_write_long)), default=0)
                dearest = max(dearest, input_tokens * inputs + output_tokens * (rates.output or 0))
        return round(dearest * factor) // _NANODOLLAR or None

    def knows(self, provider: str, model: str) -> bool:
        """Return True if there are prices of this model."""
        return bool(self._tariffs[provider, model, None, None, None].periods)

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model, with the operator's own above those of the table."""
        names = self._providers.get(provider, ())
        found = next(filter(None, (self._table.find(name, model) for name in names)), None)
        for pattern, own in self._own.items():
            if fnmatchcase(model, pattern) and own.provider in (None, provider):
                return _with_own(pattern, own, found)
        return found

    def _compile(self, terms: Terms) -> Tariff:
        """Return the tariff of these terms: a tier of the table, multiplied by the factors of the other words."""
        provider, model, *said = terms
        if (found := self.find(provider, model)) is None:
            return Tariff()
        tier, factor = STANDARD, Fraction(1)
        for name, word in zip(_USUAL, said, strict=True):
            words = f"{name}={word}"
            if not word or word in _USUAL[name]:
                continue
            if (own := self._factors.get(f"{provider}:{words}", found.factors.get(words))) is not None:
                factor *= own
            elif tier == STANDARD and words in found.tiers:
                tier = words
            else:
                return Tariff()
        periods = found.tiers[tier]
        if factor != 1:
            periods = tuple(
                evolve(period, rates=tuple(scaled(rates, factor) for rates in period.rates)) for period in periods
            )
        return Tariff(periods, found.has_media)


@frozen
class Bill:
    """The costs of an answer."""

    version: str
    """The table of prices, and its version."""
    costs: Sequence[int | None]
    """Nanodollars of the answer, and then of each step that is billed beside it. None for a cost that is not known."""
    is_subscription: bool = False
    """True if the client pays by a subscription: its answers have no costs of their own."""
    invoked: str = ""
    """The name of the model at a cloud, as in `Pricing`."""


@define(eq=False)
class Pricing:
    """The prices for one request."""

    prices: Prices
    provider: str
    """The name under which the provider is configured."""
    model: str
    """The model of the request, for answers that name none."""
    started_at: datetime
    is_subscription: bool = False
    invoked: str = ""
    """The name by which the provider was asked for the model, if it is not the client's. Clouds have prices by region,
    which only this name tells.
    """

    def most(self, input_tokens: int, output_tokens: int) -> int | None:
        """Return the nanodollars that an answer with so many tokens can cost at most; None if it has no price."""
        model = self._invoked(None) if self.invoked else self.model
        return self.prices.most(self.provider, model, self.started_at, input_tokens, output_tokens)

    def bill(self, answer: Answer, tokens: TokenCounts) -> Bill:
        """Return the costs of an answer, as far as it has been read."""
        billed = [(answer.served_model, tokens)]
        if tokens.beside:
            billed += [(step.model, step.tokens) for step in tokens.beside]
        costs: list[int | None] = []
        for model, counts in billed:
            if self.is_subscription:
                costs.append(None)
                continue
            words = counts.words
            tier = answer.service_tier or words.get("service_tier")
            speed, place = words.get("speed"), words.get("inference_geo")
            model = self._invoked(model) if self.invoked else model or self.model
            costs.append(self.prices.cost(self.provider, model, counts, self.started_at, tier, speed, place))
        return Bill(self.prices.version, costs, self.is_subscription, self.invoked)

    def _invoked(self, served: str | None) -> str:
        """Return the name by which the price is looked up: that which was asked for, unless another model served."""
        is_same = served is None or served in self.invoked.replace("@", "-")
        if is_same and self.prices.knows(self.provider, self.invoked):
            return self.invoked
        return served or self.model


def _cost(rates: Rates, tokens: TokenCounts) -> int | None:
    """Return the nanodollars of these tokens and searches; None if a kind that there is has no price.

    None also for more than any answer can cost.
    """
    if rates.input is None or rates.output is None:
        return None
    cost = tokens.input * rates.input + tokens.output * rates.output
    if tokens.cache_read:
        if rates.cache_read is None:
            return None
        cost += tokens.cache_read * rates.cache_read
    counters = tokens.others
    if tokens.cache_write:
        # The split by time may leave out a part of the total, which then was written for the usual time.
        long = counters.get(_LONG_WRITES[0], 0) or counters.get(_LONG_WRITES[1], 0)
        if (short := max(0, tokens.cache_write - long)) and rates.cache_write is None:
            return None
        if long and rates.cache_write_long is None:
            return None
        cost += short * (rates.cache_write or 0) + long * (rates.cache_write_long or 0)
    if counters and (searches := counters.get(_SEARCHES)):
        if rates.web_search is None:
            return None
        cost += searches * rates.web_search
    cost = (cost + _NANODOLLAR // 2) // _NANODOLLAR
    return cost if cost <= _MOST else None


def _counts_media(tokens: TokenCounts) -> bool:
    """Return True if some of the tokens are audio, images or video."""
    return any(count and name.endswith(_MEDIA) for name, count in tokens.others.items())


def _with_own(pattern: str, own: OwnPrices, found: ModelPrices | None) -> ModelPrices:
    """Return the operator's prices, and from the time before them those of the table."""
    # Answers nearly always have cached tokens: without prices of these, no budget would count such answers.
    cache_write = own.input if own.cache_write is None else own.cache_write
    amounts = {
        "input": own.input,
        "output": own.output,
        "cache_read": own.input if own.cache_read is None else own.cache_read,
        "cache_write": cache_write,
        "cache_write_long": cache_write if own.cache_write_1h is None else own.cache_write_1h,
    }
    prices = {kind: picodollars(Decimal(str(usd))) for kind, usd in amounts.items()}
    start = datetime.combine(own.from_, time(tzinfo=UTC)) if own.from_ else None
    tiers: dict[str, tuple[Period, ...]] = {STANDARD: (Period((Rates(**prices),), since=start),)}
    if start is None or found is None:
        return ModelPrices(pattern, _OWN, tiers)
    tiers[STANDARD] += found.tiers[STANDARD]
    for tier, periods in found.tiers.items():
        tiers.setdefault(tier, (Period((), since=start), *periods))
    return ModelPrices(pattern, _OWN, tiers, has_media=found.has_media)


def _digest(own: Mapping[str, OwnPrices], factors: Mapping[str, float]) -> str:
    """Return the part of a version that tells the operator's own settings apart; empty if there are none."""
    if not own and not factors:
        return ""
    settings = [[[pattern, asdict(prices)] for pattern, prices in own.items()], sorted(factors.items())]
    return "+" + sha256(json.dumps(settings, default=str).encode()).hexdigest()[:8]

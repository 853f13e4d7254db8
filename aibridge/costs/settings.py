"""The settings of prices."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from attrs import Factory, frozen

from ..settings import choice, setting, switch, text

GENAI_PRICES = "genai-prices"
OFF = "off"

_FACTOR = re.compile(r"[a-z0-9-]+:(service_tier|speed|inference_geo)=\S+")


def _amount(**options: Any) -> Any:
    """An amount of USD per million tokens."""

    def check(value: float) -> str | None:
        return None if 0 <= value <= 1e6 else "must be at least 0 and at most 1000000 USD per million tokens"

    return setting(float, check, **options)


def _day() -> Any:
    """An optional day."""
    return setting(date, default=None)


def _factors() -> Any:
    """Factors by provider and the answer's own words."""

    def check(value: dict[Any, Any]) -> str | None:
        for words, factor in value.items():
            if type(words) is not str or not _FACTOR.fullmatch(words):
                return 'must have names such as "anthropic:inference_geo=us" only'
            if (type(factor) is not float and type(factor) is not int) or not 0 <= factor <= 1000:
                return f"{words} must be a number of at least 0 and at most 1000"
        return None

    return setting(dict, check, factory=dict)


def _names() -> Any:
    """The table's name of each provider."""

    def check(value: dict[Any, Any]) -> str | None:
        return None if all(value.values()) and all(type(name) is str for name in value.values()) else "must be strings"

    return setting(dict, check, factory=dict)


@frozen(kw_only=True)
class OwnPrices:
    """An operator's own prices of the models of a pattern, in USD per million tokens. They have no tiers."""

    provider: str | None = text()
    """The name under which the provider is configured; None for every provider."""
    input: float = _amount()
    output: float = _amount()
    cache_read: float | None = _amount(default=None)
    """None for the price of `input`."""
    cache_write: float | None = _amount(default=None)
    """None for the price of `input`."""
    cache_write_1h: float | None = _amount(default=None)
    """For long cache writes: an hour with Anthropic, 12 hours with OpenAI. None for the price of `cache_write`."""
    from_: date | None = _day()  # noqa: RUF009 - a field
    """The first day, in UTC, on which these prices count; before it, those of the source do."""


@frozen(kw_only=True)
class PriceSettings:
    """The source of prices, and the operator's own prices above it."""

    source: str = choice(GENAI_PRICES, OFF, default=GENAI_PRICES)
    """The table; `OFF` for none, so that nothing is priced."""
    file: str | None = text()
    """A JSON file in the form of LiteLLM or models.dev, in place of the source."""
    providers: Mapping[str, str] = _names()
    """The table's name of a configured provider, where its host does not tell it."""
    factors: Mapping[str, float] = _factors()
    """By provider and words of the answer, such as ``anthropic:inference_geo=us``: multiplies the prices of tokens."""
    header: bool = switch(False)
    """True to tell the cost of unstreamed answers in their header ``X-AIBridge-Cost``."""
    models: Mapping[str, OwnPrices] = Factory(dict)
    """By pattern of the model's name, such as ``claude-*``. The first that matches counts."""

"""Tables of prices in JSON files: LiteLLM's ``model_prices_and_context_window.json``, and models.dev's ``api.json``."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import TypeGuard

from ..wire.jsontext import JsonObject
from .prices import PICODOLLARS, STANDARD, ModelPrices, picodollars, tiers_of

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")
_LITELLM_PRICE = re.compile(
    r"(?P<kind>input_cost_per_token|output_cost_per_token|cache_read_input_token_cost|cache_creation_input_token_cost)"
    r"(?P<long>_above_1hr|_above_12hr)?(_above_(?P<thousands>\d+)k_tokens)?"
    r"(_(?P<tier>batches|flex|priority|ultrafast))?"
)
_LITELLM_KINDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
}
_LITELLM_UNUSED = ("input_cost_per_request", "citation_cost_per_token")
"""Prices of things that are not counted: a model that has such prices can't be priced."""
_INCLUSIVE = ("xai",)
"""LiteLLM's providers whose thresholds belong to the higher price."""
_MODELS_DEV_KINDS = ("input", "output", "cache_read", "cache_write")
_MODELS_DEV_WORDS = ("service_tier", "speed")
_MEDIA = ("audio", "image", "video")
_PRIORITY, _FAST = "service_tier=priority", "service_tier=fast"
"""OpenAI's two names of the same tier. The files have only the first."""


class PriceFile:
    """A table that was read from a file."""

    def __init__(self, version: str, models: Mapping[tuple[str, str], ModelPrices]) -> None:
        self.version = version
        self._models = models

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Return the prices of a model; of a dated version that the table does not have, those of the undated one.

        Bedrock's names have a version at their end, and may be the end of an ARN.
        """
        name = model.lower()
        if name.startswith("arn:"):
            name = name.rpartition("/")[2]
        names = (name, _DATE.sub("", name), f"{name}-v1:0")
        return next((found for each in names if (found := self._models.get((provider, each)))), None)


def read_price_file(content: bytes) -> PriceFile:
    """Return the table of a file's content. Raise ValueError, which says why, if it has neither of the two forms.

    The table's version is its form and the first digits of the content's SHA-256.
    """
    try:
        data = json.loads(content, parse_float=Decimal)  # a price is not rounded
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    entries = {key: value for key, value in data.items() if isinstance(value, dict)} if isinstance(data, dict) else {}
    digest = sha256(content).hexdigest()[:12]
    if any("litellm_provider" in entry for entry in entries.values()):
        return PriceFile(f"litellm {digest}", _index(map(_litellm_model, entries, entries.values())))
    if any(isinstance(entry.get("models"), dict) for entry in entries.values()):
        return PriceFile(f"models.dev {digest}", _index(_models_dev_models(entries)))
    raise ValueError(
        "has neither the form of LiteLLM's model_prices_and_context_window.json nor of models.dev's api.json"
    )


def _index(models: "Iterator[ModelPrices | None]") -> dict[tuple[str, str], ModelPrices]:
    return {(model.provider, model.name.lower()): model for model in models if model is not None}


def _litellm_model(key: str, entry: JsonObject) -> ModelPrices | None:
    """Return the prices of an entry; None if it can't be priced by its tokens."""
    provider = entry.get("litellm_provider")
    reasoning, output = entry.get("output_cost_per_reasoning_token"), entry.get("output_cost_per_token")
    if not isinstance(provider, str) or any(entry.get(name) for name in _LITELLM_UNUSED):
        return None
    if reasoning is not None and reasoning != output:
        return None
    costs: dict[tuple[str, int], dict[str, int]] = {}
    for name, price in entry.items():
        if (match := _LITELLM_PRICE.fullmatch(name)) and _is_price(price):
            tier = {None: STANDARD, "batches": "service_tier=batch"}.get(match["tier"], f"service_tier={match['tier']}")
            above = int(match["thousands"]) * 1000 - (provider in _INCLUSIVE) if match["thousands"] else -1
            kind = _LITELLM_KINDS[match["kind"]] + ("_long" if match["long"] else "")
            costs.setdefault((tier, above), {})[kind] = picodollars(price, PICODOLLARS)
    if not {"input", "output"} <= costs.get((STANDARD, -1), {}).keys():
        return None
    searches = {*_prices(entry.get("search_context_cost_per_query"))}
    tiers = tiers_of(costs, picodollars(searches.pop(), PICODOLLARS) if len(searches) == 1 else None)
    if _PRIORITY in tiers:
        tiers[_FAST] = tiers[_PRIORITY]
    factors = _litellm_factors(entry.get("provider_specific_entry"))
    has_media = _has_media({name: price for name, price in entry.items() if "_cost" in name})
    name = key.removeprefix(f"{provider}/").removeprefix("vertex_ai/")  # which stands before those of several providers
    return ModelPrices(name, provider, tiers, factors, has_media)


def _litellm_factors(entry: object) -> dict[str, Fraction]:
    """Return the factors of Anthropic's ``speed`` and ``inference_geo``."""
    words = {"fast": "speed=fast", "us": "inference_geo=us"}
    if not isinstance(entry, dict):
        return {}
    return {words[name]: Fraction(factor) for name, factor in entry.items() if name in words and _is_price(factor)}


def _models_dev_models(providers: Mapping[str, JsonObject]) -> "Iterator[ModelPrices | None]":
    for provider, entry in providers.items():
        models = entry.get("models")
        for name, model in models.items() if isinstance(models, dict) else ():
            if isinstance(model, dict):
                yield _models_dev_model(provider, name, model)


def _models_dev_model(provider: str, name: str, model: JsonObject) -> ModelPrices | None:
    """Return the prices of a model; None if it can't be priced by its tokens."""
    cost = model.get("cost")
    if not isinstance(cost, dict) or not (_is_price(cost.get("input")) and _is_price(cost.get("output"))):
        return None
    if cost.get("reasoning", cost["output"]) != cost["output"]:
        return None
    costs = {(STANDARD, -1): _models_dev_rates(cost)}
    for step in steps if isinstance(steps := cost.get("tiers"), list) else ():
        size = step["tier"].get("size") if isinstance(step, dict) and isinstance(step.get("tier"), dict) else None
        if type(size) is not int:
            return None
        costs[STANDARD, size] = _models_dev_rates(step)
    if not steps and isinstance(over := cost.get("context_over_200k"), dict):
        costs[STANDARD, 200_000] = _models_dev_rates(over)
    experimental = model.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, dict) else None
    for mode in modes.values() if isinstance(modes, dict) else ():
        for word in _models_dev_tiers(mode):
            costs[word, -1] = _models_dev_rates(mode["cost"])
    tiers = tiers_of(costs, None)
    if _PRIORITY in tiers:
        tiers.setdefault(_FAST, tiers[_PRIORITY])
    return ModelPrices(name, provider, tiers, has_media=_has_media(cost))


def _models_dev_tiers(mode: object) -> Iterator[str]:
    """Yield the words of answers in a mode that has a price: those that clients send for it."""
    if isinstance(mode, dict) and isinstance(mode.get("cost"), dict) and isinstance(mode.get("provider"), dict):
        body = mode["provider"].get("body")
        yield from (f"{name}={body[name]}" for name in _MODELS_DEV_WORDS if isinstance(body, dict) and name in body)


def _models_dev_rates(cost: JsonObject) -> dict[str, int]:
    return {kind: picodollars(price) for kind in _MODELS_DEV_KINDS if _is_price(price := cost.get(kind))}


def _prices(value: object) -> "Iterator[Decimal | int]":
    yield from (price for price in (value.values() if isinstance(value, dict) else ()) if _is_price(price))


def _has_media(prices: JsonObject) -> bool:
    """Return True if audio, images or video have prices of their own."""
    return any(_is_price(price) and any(word in name for word in _MEDIA) for name, price in prices.items())


def _is_price(value: object) -> TypeGuard[Decimal | int]:
    return (type(value) is int or type(value) is Decimal) and value >= 0

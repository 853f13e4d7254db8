"""Small tables of prices in the forms of the files, with the figures that genai-prices has too."""

import json
from collections.abc import Mapping
from typing import Any

from aibridge.costs.calculator import Prices
from aibridge.costs.files import read_price_file
from aibridge.costs.genai import GenAIPrices
from aibridge.costs.prices import PriceTable

NAMES = {"anthropic": ("anthropic",), "openai": ("openai",), "other": ()}


def anthropic(usd: float, output: float, read: float, **further: Any) -> dict[str, Any]:
    """LiteLLM's entry of a model with Anthropic's cache writes; the price of input is for a million tokens."""
    return {
        "litellm_provider": "anthropic",
        "mode": "chat",
        "input_cost_per_token": usd / 1e6,
        "output_cost_per_token": output / 1e6,
        "cache_read_input_token_cost": read / 1e6,
        "cache_creation_input_token_cost": usd * 1.25 / 1e6,
        "cache_creation_input_token_cost_above_1hr": usd * 2 / 1e6,
        "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.01},
        "max_images_per_prompt": 600,
        **further,
    }


def openai(input_: float, tiers: Mapping[str, float], *, ratio: float = 0.1) -> dict[str, Any]:
    """LiteLLM's entry of a model with a threshold at 272,000 tokens, and with tiers by their factors."""
    entry: dict[str, Any] = {
        "litellm_provider": "openai",
        "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.01},
    }
    for tier, factor in {"": 1.0, **tiers}.items():
        for above, double in (("", 1.0), ("_above_272k_tokens", 2.0)):
            for name, of_input in (
                ("input_cost_per_token", 1.0),
                ("cache_read_input_token_cost", ratio),
                ("cache_creation_input_token_cost", 1.25),
                ("cache_creation_input_token_cost_above_12hr", 2.5),
                ("output_cost_per_token", 5.0 * (0.75 if above else 1.0)),
            ):
                price = round(input_ * of_input * factor * double, 6)
                entry[name + above + tier] = float(f"{price}e-06")
    return entry


LITELLM = {
    "sample_spec": {"litellm_provider": "one of them", "input_cost_per_token": 0},
    "claude-opus-5-5": anthropic(4, 20, 0.2, provider_specific_entry={"us": 1.1, "fast": 2}),
    "claude-sonnet-5-5": anthropic(2, 10, 0.1, provider_specific_entry={"us": 1.1}),
    "claude-haiku-4-5": anthropic(1, 5, 0.1),
    "gpt-6-astra": openai(10, {"_flex": 0.5, "_priority": 2, "_ultrafast": 6}),
    "gpt-6-sol": openai(2, {"_flex": 0.5, "_priority": 2}),
}


def models_dev_openai(usd: float, output: float) -> dict[str, Any]:
    """The entry of a model of models.dev with a threshold, and a mode with a price of its own."""
    mode = {"input": usd * 2, "output": output * 2, "cache_read": usd / 5, "cache_write": usd * 2.5}
    return {
        "cost": {
            "input": usd,
            "output": output,
            "cache_read": usd / 10,
            "cache_write": usd * 1.25,
            "tiers": [
                {
                    "input": usd * 2,
                    "output": output * 1.5,
                    "cache_read": usd / 5,
                    "cache_write": usd * 2.5,
                    "tier": {"type": "context", "size": 272_000},
                }
            ],
            "context_over_200k": {"input": usd * 2, "output": output * 1.5},
        },
        "experimental": {
            "modes": {
                "fast": {"cost": mode, "provider": {"body": {"service_tier": "priority"}}},
                "pro": {"provider": {"body": {"reasoning": {"mode": "pro"}}}},
            }
        },
    }


def models_dev_anthropic(usd: float, output: float, read: float, *, fast: bool = False) -> dict[str, Any]:
    """The entry of a model of models.dev with Anthropic's prices."""
    cost = {"input": usd, "output": output, "cache_read": read, "cache_write": usd * 1.25}
    mode = {"cost": {kind: price * 2 for kind, price in cost.items()}, "provider": {"body": {"speed": "fast"}}}
    return {"cost": cost, "experimental": {"modes": {"fast": mode}} if fast else None}


MODELS_DEV = {
    "anthropic": {
        "id": "anthropic",
        "models": {
            "claude-opus-5-5": models_dev_anthropic(4, 20, 0.2, fast=True),
            "claude-sonnet-5-5": models_dev_anthropic(2, 10, 0.1),
            "claude-haiku-4-5": models_dev_anthropic(1, 5, 0.1),
        },
    },
    "openai": {
        "id": "openai",
        "models": {"gpt-6-astra": models_dev_openai(10, 50), "gpt-6-sol": models_dev_openai(2, 10)},
    },
}


def file_table(data: object) -> PriceTable:
    """The table of a file with that content."""
    return read_price_file(json.dumps(data).encode())


def every_table() -> dict[str, PriceTable]:
    """A table read in each of the ways."""
    return {"genai-prices": GenAIPrices(), "litellm": file_table(LITELLM), "models.dev": file_table(MODELS_DEV)}


def prices(table: PriceTable, **own: Any) -> Prices:
    """The prices of two providers that the table knows, and of one that it does not."""
    return Prices(table, NAMES, **own)

"""Prices of models in clouds, by the names that clouds have for them."""

import json
from datetime import UTC, datetime
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from aibridge.costs.calculator import Prices, Pricing
from aibridge.costs.files import read_price_file
from aibridge.costs.load import load_prices
from aibridge.costs.settings import PriceSettings
from aibridge.wire.formats import Answer
from aibridge.wire.usage import TokenCounts

NOW = datetime(2026, 11, 28, tzinfo=UTC)
TOKENS = TokenCounts(input=100_000)  # Google has another price over 200,000
SERVED = "claude-sonnet-4-5-20250929"


@cache
def cloud_prices() -> Prices:
    """The prices at providers whose hosts say nothing."""
    kinds = {"aws": "bedrock", "vertex": "vertex", "foundry": "foundry"}
    prices = load_prices(PriceSettings(), dict.fromkeys(kinds, "http://10.0.0.1/x"), kinds)
    assert prices is not None
    return prices


class CloudPriceTests(SynchronousTestCase):
    """The table that comes with genai-prices, in USD for a million tokens of input."""

    def usd(self, provider: str, invoked: str, served: str | None) -> float | None:
        """The price of an answer of a model that was asked for by that name."""
        pricing = Pricing(cloud_prices(), provider, "claude-sonnet-4-5", NOW, invoked=invoked)
        [cost] = pricing.bill(Answer(served_model=served), TOKENS).costs
        return None if cost is None else cost / 1e8

    def test_regions(self) -> None:
        """The name that was asked for tells the region, which has its price; the answer's own name does not."""
        for prefix, price in (("global.", 3.0), ("eu.", 3.3), ("us.", 3.3), ("", 3.3)):
            self.assertEqual(self.usd("aws", f"{prefix}anthropic.{SERVED}-v1:0", SERVED), price, prefix)
        self.assertEqual(self.usd("aws", f"anthropic.{SERVED}", SERVED), 3.3)

    def test_arn(self) -> None:
        """A profile that tells nothing has the price of the model that the answer names."""
        arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc"
        self.assertEqual(self.usd("aws", arn, SERVED), 3.3)
        self.assertIsNone(self.usd("aws", arn, None))

    def test_other_clouds(self) -> None:
        """Vertex and Foundry have their names, too."""
        self.assertEqual(self.usd("vertex", "claude-sonnet-4-5@20250929", SERVED), 3.0)
        self.assertEqual(self.usd("foundry", "my-deployment", SERVED), 3.0)

    def test_files(self) -> None:
        """In a file a model of Bedrock is found without its version, and by the ARN of an inference profile."""
        entry = {"litellm_provider": "bedrock_converse", "input_cost_per_token": 3.3e-6, "output_cost_per_token": 1e-5}
        table = read_price_file(json.dumps({f"eu.anthropic.{SERVED}-v1:0": entry}).encode())
        name = f"eu.anthropic.{SERVED}"
        for asked in (f"{name}-v1:0", name, f"arn:aws:bedrock:eu-central-1:1:inference-profile/{name}-v1:0"):
            self.assertIsNotNone(table.find("bedrock_converse", asked), asked)

    def test_another_model(self) -> None:
        """If another model served, its own price counts."""
        self.assertEqual(self.usd("aws", f"global.anthropic.{SERVED}-v1:0", "claude-opus-4-5-20251101"), 5.5)

"""Tables of prices: the package genai-prices, and files."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.costs.files import read_price_file
from aibridge.costs.genai import GenAIPrices
from aibridge.costs.genai_data import find_model, read_providers
from aibridge.costs.load import load_prices
from aibridge.costs.prices import Rates
from aibridge.costs.settings import PriceSettings
from aibridge.errors import ConfigError

from .tables import LITELLM, MODELS_DEV, file_table, prices
from .test_rules import NOW, counts

SPELLINGS = (("", ""), ("", "-20251211"), ("", "-20251399"), ("", "-2025-12-11"), ("models/", "-latest"), ("X", "!"))
"""What stands before and behind a model's name, in all kinds of requests."""
URLS = {"openai": "https://api.openai.com/v1", "mine": "http://localhost/v1"}


class GenAITests(SynchronousTestCase):
    """The package's table."""

    def test_updater(self) -> None:
        """Nothing is fetched: the package's updater is never made."""
        import genai_prices

        self.patch(genai_prices.UpdatePrices, "__init__", lambda *_, **__: self.fail("an updater was made"))
        self.assertIsNotNone(prices(GenAIPrices()).cost("openai", "gpt-6-sol", counts(1), NOW))

    def test_same_models(self) -> None:
        """A name finds the model that the package itself finds, in any spelling, and with a date in either form."""
        from genai_prices.data import providers

        read = {provider.id: provider for provider in read_providers()}
        self.assertEqual(list(read), [provider.id for provider in providers])
        for provider in providers:
            ids = [model.id for model in provider.models[::8]]
            for name in (f"{before}{id_}{after}" for id_ in ids for before, after in SPELLINGS):
                expected, found = provider.find_model(name), find_model(read[provider.id], name)
                self.assertEqual(found and found.id, expected and expected.id, name)

    def test_light(self) -> None:
        """The package itself is not loaded, nor what it needs: they are large."""
        script = "import sys; from aibridge.costs.genai import GenAIPrices; GenAIPrices(); print(*sys.modules)"
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual({"genai_prices", "pydantic", "httpx2"} & set(ran.stdout.split()), set())

    def test_dates(self) -> None:
        """A model's price is that of the day of the request; a tier has none before the table knew it."""
        table = prices(GenAIPrices())
        costs = [
            table.cost("openai", "gpt-5.6-sol", counts(1000), datetime(2026, month, 21, tzinfo=UTC), tier)
            for month, tier in ((7, None), (8, None), (8, "flex"), (11, "flex"))
        ]
        self.assertEqual(costs, [5_000_000, 4_000_000, None, 2_000_000])

    def test_hours(self) -> None:
        """A price may depend on the hour of the day, also in hours over midnight."""
        table = GenAIPrices()
        found = table.find("deepseek", "deepseek-chat")
        assert found is not None
        inputs = [
            next(period for period in found.tiers[""] if period.contains(datetime(2026, 1, 1, hour, 29, tzinfo=UTC)))
            for hour in (0, 1, 16, 17)
        ]
        self.assertEqual([period.rates[0].input for period in inputs], [135_000, 270_000, 270_000, 135_000])

    def test_models_of_others(self) -> None:
        """A provider that offers models of another has its standard prices, and no known price of other tiers."""
        found = GenAIPrices().find("azure", "gpt-6-sol")
        assert found is not None
        self.assertEqual((found.provider, list(found.tiers)), ("openai", [""]))
        self.assertIsNone(GenAIPrices().find("azure", "nobody"))
        self.assertIsNone(GenAIPrices().find("nobody", "gpt-6-sol"))

    def test_other_units(self) -> None:
        """A model that is charged by the request has no price: requests are not what is counted."""
        found = GenAIPrices().find("perplexity", "sonar-pro")
        assert found is not None
        self.assertEqual([period.rates for period in found.tiers[""]], [()])


class FileTests(SynchronousTestCase):
    """Files in either form."""

    def litellm(self, **changes: Any) -> object:
        """The prices of an entry with other members."""
        table = file_table({"m": {**LITELLM["gpt-6-sol"], **changes}})
        return table.find("openai", "m")

    def test_prefix(self) -> None:
        """LiteLLM's names of models have that of the provider before them, or not."""
        table = file_table({"deepseek/chat": {**LITELLM["gpt-6-sol"], "litellm_provider": "deepseek"}})
        self.assertIsNotNone(table.find("deepseek", "Chat"))

    def test_inclusive(self) -> None:
        """xAI's thresholds belong to the higher price."""
        table = file_table({"xai/grok": {**LITELLM["gpt-6-sol"], "litellm_provider": "xai"}})
        found = table.find("xai", "grok")
        assert found is not None
        self.assertEqual(found.tiers[""][0].rates[0].above, 271_999)

    def test_small_prices(self) -> None:
        """Prices are exact: 0.0025 USD per million tokens are 2500 picodollars."""
        table = read_price_file(
            b'{"m": {"litellm_provider": "openai", "input_cost_per_token": 2.5e-09, "output_cost_per_token": 1.3e-07}}'
        )
        found = table.find("openai", "m")
        assert found is not None
        self.assertEqual(found.tiers[""][0].rates, (Rates(input=2500, output=130_000),))

    def test_unusable(self) -> None:
        """An entry that tokens alone can't price is left out."""
        self.assertIsNotNone(self.litellm())
        for changes in (
            {"input_cost_per_token": None},
            {"output_cost_per_token": -1},
            {"input_cost_per_request": 0.01},
            {"output_cost_per_reasoning_token": 5e-05},
        ):
            self.assertIsNone(self.litellm(**changes), changes)
        for cost in (
            None,
            {"input": 1},
            {"input": 1, "output": "2"},
            {"input": 1, "output": 2, "reasoning": 3},
            {"input": 1, "output": 2, "tiers": [{"input": 3}]},
        ):
            table = file_table({"openai": {"models": {"m": {"cost": cost}, "n": 5}}})
            self.assertIsNone(table.find("openai", "m"), cost)

    def test_200k(self) -> None:
        """The older member of models.dev for long requests counts where there is no newer one."""
        cost = {"input": 1, "output": 2, "context_over_200k": {"input": 2, "output": 3}}
        found = file_table({"openai": {"models": {"m": {"cost": cost}}}}).find("openai", "m")
        assert found is not None
        self.assertEqual([rates.above for rates in found.tiers[""][0].rates], [200_000, -1])

    def test_refused(self) -> None:
        """Other content is refused, with the reason."""
        for content, why in ((b"{", "is not JSON"), (b"[1]", "has neither"), (b'{"a": {"b": 1}}', "has neither")):
            self.assertIn(why, str(self.assertRaises(ValueError, read_price_file, content)))


class LoadTests(SynchronousTestCase):
    """Prices from settings."""

    def load(self, **settings: Any) -> Any:
        """Prices of two providers, the second of which has a host that tables don't know."""
        return load_prices(PriceSettings(**settings), URLS)

    def test_off(self) -> None:
        """Without a source nothing is priced, and the package is not read."""
        self.patch(GenAIPrices, "__init__", lambda table: self.fail("the package was read"))
        self.assertIsNone(self.load(source="off"))

    def test_source(self) -> None:
        """By default the package's table counts; a setting names a provider in it."""
        named = self.load(providers={"mine": "openai"})
        self.assertRegex(named.version, r"^genai-prices \d")
        self.assertEqual(named.cost("mine", "gpt-6-sol", counts(1000), NOW), 2_000_000)
        self.assertIsNone(self.load().cost("mine", "gpt-6-sol", counts(1000), NOW))

    def test_file(self) -> None:
        """A file takes the place of the source, in either form."""
        for form, data in (("litellm", LITELLM), ("models.dev", MODELS_DEV)):
            path = Path(self.mktemp())
            path.write_text(json.dumps(data))
            loaded = self.load(file=str(path), source="off")
            self.assertTrue(loaded.version.startswith(f"{form} "), loaded.version)
            self.assertEqual(loaded.cost("openai", "gpt-6-sol", counts(1000), NOW), 2_000_000)

    def test_wrong_file(self) -> None:
        """The error names the file, and what is wrong with it."""
        path = Path(self.mktemp())
        error = self.assertRaises(ConfigError, self.load, file=str(path))
        self.assertIn("can't be read: No such file", str(error))
        path.write_text("{}")
        self.assertIn("has neither the form of LiteLLM", str(self.assertRaises(ConfigError, self.load, file=str(path))))

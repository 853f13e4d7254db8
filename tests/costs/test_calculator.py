"""The operator's own prices and factors, dates, and versions."""

from datetime import UTC, date, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from aibridge.costs.hosts import table_names
from aibridge.costs.settings import OwnPrices
from aibridge.wire.usage import TokenCounts

from .tables import LITELLM, every_table, file_table, prices
from .test_rules import NOW, M, counts


class OwnPriceTests(SynchronousTestCase):
    """Own prices beat the table."""

    def test_pattern(self) -> None:
        """A pattern gives prices to known and to unknown models; the first that matches counts."""
        own = {"gpt-*": OwnPrices(input=1, output=2.5), "*": OwnPrices(input=7, output=7)}
        for table in every_table().values():
            mine = prices(table, own=own)
            self.assertEqual(mine.cost("openai", "gpt-6-sol", counts(M, M), NOW), 3_500_000_000)
            self.assertEqual(mine.cost("other", "llama", counts(M), NOW), 7_000_000_000)

    def test_provider(self) -> None:
        """Own prices of one provider leave others alone."""
        mine = prices(file_table(LITELLM), own={"*": OwnPrices(provider="other", input=1, output=1)})
        self.assertEqual(mine.cost("other", "gpt-6-sol", counts(M), NOW), 1_000_000_000)
        self.assertEqual(mine.cost("openai", "gpt-6-sol", counts(M), NOW), 4_000_000_000)

    def test_all_kinds(self) -> None:
        """Every kind of token has its own price; web searches and other tiers have none."""
        own = OwnPrices(input=1, output=2, cache_read=0.1, cache_write=3, cache_write_1h=4)
        mine = prices(file_table(LITELLM), own={"full": own})
        everything = counts(M, M, M, 2 * M, ephemeral_1h_input_tokens=M)
        self.assertEqual(mine.cost("other", "full", everything, NOW), 10_100_000_000)
        self.assertIsNone(mine.cost("other", "full", counts(1, web_search_requests=1), NOW))
        self.assertIsNone(mine.cost("other", "full", counts(1), NOW, "flex"))

    def test_left_out(self) -> None:
        """Cached tokens cost as much as input where nothing else is said, and long writes as much as short ones."""
        own = {
            "short": OwnPrices(input=3, output=9),
            "writes": OwnPrices(input=3, output=9, cache_write=4),
            "free": OwnPrices(input=3, output=9, cache_read=0, cache_write=0),
        }
        mine = prices(file_table(LITELLM), own=own)
        all_kinds = (counts(read=M), counts(write=M), counts(write=M, ephemeral_1h_input_tokens=M))
        for model, expected in (("short", (3, 3, 3)), ("writes", (3, 4, 4)), ("free", (0, 0, 0))):
            costs = [mine.cost("other", model, tokens, NOW) for tokens in all_kinds]
            self.assertEqual(costs, [usd * 1_000_000_000 for usd in expected], model)

    def test_unknown_in_table(self) -> None:
        """A table that has no price of cached tokens leaves them without one: unknown is not the price of input."""
        entry = {"litellm_provider": "openai", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}
        mine = prices(file_table({"m": entry}))
        self.assertEqual(mine.cost("openai", "m", counts(1000), NOW), 1_000_000)
        for tokens in (counts(read=1), counts(write=1)):
            self.assertIsNone(mine.cost("openai", "m", tokens, NOW))

    def test_from(self) -> None:
        """Before the day from which they count, the table does, with its tiers. The request's beginning decides."""
        own = {"gpt-6-sol": OwnPrices(input=1, output=1, from_=date(2026, 11, 28))}
        midnight = datetime(2026, 11, 28, tzinfo=UTC)
        for table in every_table().values():
            mine = prices(table, own=own)
            before = midnight - timedelta(microseconds=1)
            for moment, standard, priority in ((before, 2, 4), (midnight, 1, None)):
                self.assertEqual(mine.cost("openai", "gpt-6-sol", counts(1000), moment), standard * 1_000_000)
                cost = mine.cost("openai", "gpt-6-sol", counts(1000), moment, "priority")
                self.assertEqual(cost, priority and priority * 1_000_000)

    def test_unknown_before(self) -> None:
        """A model that only the operator knows has no price before the day from which his prices count."""
        mine = prices(file_table(LITELLM), own={"new": OwnPrices(input=1, output=1, from_=date(2026, 11, 29))})
        self.assertIsNone(mine.cost("openai", "new", counts(1000), NOW))
        self.assertEqual(mine.cost("openai", "new", counts(1000), NOW + timedelta(days=1)), 1_000_000)


class FactorTests(SynchronousTestCase):
    """Own factors multiply the prices of tokens by the answer's own words."""

    def test_factors(self) -> None:
        """Factors make known what the table doesn't know, beat its own, and are multiplied with one another."""
        factors = {"anthropic:inference_geo=us": 1.1, "anthropic:speed=fast": 3, "openai:service_tier=ultrafast": 6}
        for table in every_table().values():
            mine = prices(table, factors=factors)
            self.assertEqual(mine.cost("openai", "gpt-6-sol", counts(1000), NOW, "ultrafast"), 12_000_000)
            self.assertEqual(mine.cost("anthropic", "claude-haiku-4-5", counts(1000), NOW, None, None, "us"), 1_100_000)
            self.assertEqual(
                mine.cost("anthropic", "claude-opus-5-5", counts(1000), NOW, None, "fast", "us"), 13_200_000
            )

    def test_other_provider(self) -> None:
        """The factor of another provider does not count."""
        mine = prices(file_table(LITELLM), factors={"anthropic:service_tier=scale": 2})
        self.assertIsNone(mine.cost("openai", "gpt-6-sol", counts(1000), NOW, "scale"))

    def test_searches(self) -> None:
        """A web search costs the same at every speed."""
        mine = prices(file_table(LITELLM))
        cost = mine.cost("anthropic", "claude-opus-5-5", counts(web_search_requests=1), NOW, None, "fast")
        self.assertEqual(cost, 10_000_000)


class VersionTests(SynchronousTestCase):
    """The version of prices says which table they are from."""

    def test_version(self) -> None:
        """Own settings add a digest of theirs, so that a change of them is another version."""
        plain = prices(file_table(LITELLM)).version
        self.assertRegex(plain, r"^litellm [0-9a-f]{12}$")
        versions = {
            prices(file_table(LITELLM), own={"*": OwnPrices(input=1, output=1)}).version,
            prices(file_table(LITELLM), own={"*": OwnPrices(input=1, output=2)}).version,
            prices(file_table(LITELLM), factors={"openai:service_tier=x": 2}).version,
        }
        self.assertEqual(len(versions), 3)
        for version in versions:
            self.assertRegex(version, rf"^{plain}\+[0-9a-f]{{8}}$")


class HostTests(SynchronousTestCase):
    """The host of a provider tells its name in the tables."""

    def test_hosts(self) -> None:
        """Hosts whose prices can't be known have no name."""
        for url, names in (
            ("https://api.anthropic.com", ("anthropic",)),
            ("https://API.OpenAI.com/v1", ("openai",)),
            ("https://mine.openai.azure.com/openai/v1", ("azure",)),
            ("https://eu.api.openai.com/v1", ()),
            ("http://127.0.0.1:8000/v1", ()),
            ("https://api.openai.com.evil.test", ()),
        ):
            self.assertEqual(table_names(url), names, url)

    def test_private_hosts(self) -> None:
        """A private host has the prices of the vendor whose API it speaks; a public one that is not known has none."""
        for host in ("127.0.0.1:8000", "[::1]", "10.1.2.3", "localhost", "relay", "relay.internal", "relay.svc.local"):
            for kind in ("anthropic", "openai"):
                self.assertEqual(table_names(f"http://{host}/v1", kind), (kind,), host)
            self.assertEqual(table_names(f"http://{host}/v1", "copilot"), ())
        for host in ("8.8.8.8", "eu.api.openai.com", "relay.example.com"):
            self.assertEqual(table_names(f"http://{host}/v1", "openai"), (), host)


class MediaTests(SynchronousTestCase):
    """Audio has prices of its own."""

    def test_audio(self) -> None:
        """Tokens of audio leave an answer of such a model without a price; other answers of it have one."""
        entry = {**LITELLM["gpt-6-sol"], "input_cost_per_audio_token": 1e-05}
        mine = prices(file_table({"gpt-audio": entry}))
        path = "prompt_tokens_details.audio_tokens"
        self.assertEqual(mine.cost("openai", "gpt-audio", TokenCounts(1000, others={path: 0}), NOW), 2_000_000)
        self.assertIsNone(mine.cost("openai", "gpt-audio", TokenCounts(1000, others={path: 1}), NOW))

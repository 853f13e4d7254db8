"""The rules by which answers are priced, in every way of reading a table."""

from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.costs.calculator import Prices
from aibridge.wire.usage import TokenCounts

from .tables import every_table, prices

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ALL = ("genai-prices", "litellm", "models.dev")
WITH_LONG_WRITES = ("genai-prices", "litellm")
LITELLM_ONLY = ("litellm",)
NONE: tuple[str, ...] = ()


def counts(input_: int = 0, output: int = 0, read: int = 0, write: int = 0, **others: int) -> TokenCounts:
    """Token counts of an answer."""
    return TokenCounts(input_, output, read, write, others)


M = 1_000_000

RULES: list[tuple[str, str, TokenCounts, dict[str, str], int, tuple[str, ...]]] = [
    # the model, the tokens, the answer's words, its cost in nanodollars, and the tables that know it
    ("a thousand of each", "claude-opus-5-5", counts(1000, 1000), {}, 24_000_000, ALL),
    ("nothing costs nothing", "claude-opus-5-5", counts(), {}, 0, ALL),
    ("one token", "claude-haiku-4-5", counts(read=1), {}, 100, ALL),
    ("the usual words", "claude-opus-5-5", counts(M), {"service_tier": "standard"}, 4_000_000_000, ALL),
    ("the usual speed", "claude-opus-5-5", counts(M), {"speed": "standard"}, 4_000_000_000, ALL),
    ("the usual place", "claude-opus-5-5", counts(M), {"inference_geo": "global"}, 4_000_000_000, ALL),
    ("no place", "claude-opus-5-5", counts(M), {"inference_geo": "not_available"}, 4_000_000_000, ALL),
    ("a dated name", "claude-opus-5-5-20260901", counts(M), {}, 4_000_000_000, ALL),
    ("writes for 5 minutes", "claude-sonnet-5-5", counts(write=M), {}, 2_500_000_000, ALL),
    (
        "writes for an hour",
        "claude-sonnet-5-5",
        counts(write=M, ephemeral_1h_input_tokens=M),
        {},
        4_000_000_000,
        WITH_LONG_WRITES,
    ),
    (
        "both",
        "claude-sonnet-5-5",
        counts(write=M, ephemeral_5m_input_tokens=M // 2, ephemeral_1h_input_tokens=M // 2),
        {},
        3_250_000_000,
        WITH_LONG_WRITES,
    ),
    (
        "a split smaller than its total: the remainder is at the price of 5 minutes",
        "claude-sonnet-5-5",
        counts(write=M, ephemeral_5m_input_tokens=0, ephemeral_1h_input_tokens=M // 4),
        {},
        2_875_000_000,
        WITH_LONG_WRITES,
    ),
    ("reads at a tenth", "claude-haiku-4-5", counts(read=M), {}, 100_000_000, ALL),
    ("reads at a twentieth, Opus 5.5", "claude-opus-5-5", counts(read=M), {}, 200_000_000, ALL),
    ("reads at a twentieth, Sonnet 5.5", "claude-sonnet-5-5", counts(read=M), {}, 100_000_000, ALL),
    ("fast", "claude-opus-5-5", counts(M, M, M, M), {"speed": "fast"}, 58_400_000_000, ALL),
    ("fast, of a model that has no such price", "claude-sonnet-5-5", counts(M), {"speed": "fast"}, 0, NONE),
    (
        "a place with a surcharge",
        "claude-opus-5-5",
        counts(M, M),
        {"inference_geo": "us"},
        26_400_000_000,
        LITELLM_ONLY,
    ),
    (
        "fast in that place",
        "claude-opus-5-5",
        counts(M),
        {"inference_geo": "us", "speed": "fast"},
        8_800_000_000,
        LITELLM_ONLY,
    ),
    ("an unknown place", "claude-opus-5-5", counts(M), {"inference_geo": "mars"}, 0, NONE),
    ("an unknown speed", "claude-opus-5-5", counts(M), {"speed": "slow"}, 0, NONE),
    ("an unknown tier", "claude-opus-5-5", counts(M), {"service_tier": "priority"}, 0, NONE),
    ("searches", "claude-opus-5-5", counts(1000, web_search_requests=3), {}, 34_000_000, WITH_LONG_WRITES),
    ("no search", "claude-opus-5-5", counts(1000, web_search_requests=0), {}, 4_000_000, ALL),
    ("OpenAI's usual tier", "gpt-6-sol", counts(1000, 1000), {"service_tier": "default"}, 12_000_000, ALL),
    ("flex", "gpt-6-sol", counts(1000, 1000), {"service_tier": "flex"}, 6_000_000, WITH_LONG_WRITES),
    ("priority", "gpt-6-sol", counts(1000, 1000), {"service_tier": "priority"}, 24_000_000, ALL),
    ("fast, its other name", "gpt-6-sol", counts(1000, 1000), {"service_tier": "fast"}, 24_000_000, ALL),
    ("ultrafast", "gpt-6-astra", counts(1000, 1000), {"service_tier": "ultrafast"}, 360_000_000, LITELLM_ONLY),
    ("ultrafast, not offered", "gpt-6-sol", counts(1000), {"service_tier": "ultrafast"}, 0, NONE),
    ("an unknown tier of OpenAI", "gpt-6-sol", counts(1000), {"service_tier": "scale"}, 0, NONE),
    ("272,000 tokens", "gpt-6-sol", counts(272_000, 1000), {}, 554_000_000, ALL),
    ("272,001 tokens: all of them", "gpt-6-sol", counts(272_001, 1000), {}, 1_103_004_000, ALL),
    ("cached tokens count for it", "gpt-6-sol", counts(1, 0, 200_000, 72_000), {}, 440_004_000, ALL),
    ("flex, above", "gpt-6-sol", counts(300_000), {"service_tier": "flex"}, 600_000_000, WITH_LONG_WRITES),
    ("priority, above", "gpt-6-sol", counts(300_000), {"service_tier": "priority"}, 2_400_000_000, WITH_LONG_WRITES),
    ("OpenAI's writes for 30 minutes", "gpt-6-sol", counts(write=1000, ttl_30m_tokens=1000), {}, 2_500_000, ALL),
    ("and for 12 hours", "gpt-6-sol", counts(write=1000, ttl_12h_tokens=1000), {}, 5_000_000, LITELLM_ONLY),
    (
        "flex, for 12 hours",
        "gpt-6-sol",
        counts(write=1000, ttl_12h_tokens=1000),
        {"service_tier": "flex"},
        2_500_000,
        LITELLM_ONLY,
    ),
    ("more tokens than there are", "gpt-6-sol", counts(2**63 - 1), {}, 0, NONE),
    ("more searches than there are", "gpt-6-sol", counts(web_search_requests=2**63 - 1), {}, 0, NONE),
    ("an unknown model", "gpt-nobody", counts(1000), {}, 0, NONE),
]


def cost(table: Prices, model: str, tokens: TokenCounts, words: dict[str, Any]) -> int | None:
    """The cost of an answer of the provider that has that model."""
    return table.cost("anthropic" if model.startswith("claude") else "openai", model, tokens, NOW, **words)


class RuleTests(SynchronousTestCase):
    """Costs of answers, by their tokens and words."""

    def test_rules(self) -> None:
        """Every table gives the same cost, or none where it does not know the price."""
        for name, table in every_table().items():
            for rule, model, tokens, words, expected, known in RULES:
                result = cost(prices(table), model, tokens, words)
                self.assertEqual(result, expected if name in known else None, f"{name}: {rule}")

    def test_unknown_provider(self) -> None:
        """A provider whose host the tables don't know has no prices, whatever its models are called."""
        for table in every_table().values():
            for provider in ("other", "unheard-of"):
                self.assertIsNone(prices(table).cost(provider, "gpt-6-sol", counts(1), NOW))

    def test_model_of_an_iteration(self) -> None:
        """Each row is priced by its own model: an advisor's tokens in an answer of another model."""
        for table in every_table().values():
            both = [cost(prices(table), model, counts(1000), {}) for model in ("claude-sonnet-5-5", "claude-opus-5-5")]
            self.assertEqual(both, [2_000_000, 4_000_000])

    def test_kept(self) -> None:
        """The second answer of a model takes the prices from memory."""
        for table in every_table().values():
            kept = prices(table)
            first = cost(kept, "gpt-6-sol", counts(7), {})
            self.patch(table, "find", lambda provider, model: self.fail("looked up twice"))
            self.assertEqual(cost(kept, "gpt-6-sol", counts(7), {}), first)

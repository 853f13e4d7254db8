"""The cost of answers, from the provider's figures to the rows and metrics."""

from typing import Any

from aibridge.costs.settings import OwnPrices
from aibridge.record.records import TokenUsageRecord

from ..costs.tables import LITELLM, file_table, prices
from .apis import CHAT, MESSAGES, RESPONSES, Json
from .test_usage import UsageTestCase

MODEL = "model-1"
MESSAGE: Json = {
    "type": "message",
    "id": "m",
    "model": "claude-opus-5-5",
    "content": [],
    "usage": {"input_tokens": 1000, "output_tokens": 100},
}


class CostTests(UsageTestCase):
    """A gateway with a table of prices."""

    def setUp(self) -> None:
        super().setUp()
        self.prices = prices(file_table(LITELLM))
        self.start(prices=self.prices)

    def value(self, metric: str, **labels: str) -> Any:
        """The value of a metric."""
        return self.bridge.metrics.registry.get_sample_value(metric, labels)

    def charged(self, **changes: Any) -> TokenUsageRecord:
        """The row of an answer in the Messages API."""
        row: TokenUsageRecord = self.counted(MESSAGES, MESSAGE | changes)
        return row

    def test_cost(self) -> None:
        """The row has the cost and the table's version; the metric has it in dollars."""
        row = self.charged()
        self.assertEqual((row.cost_nanousd, row.price_version), (6_000_000, self.prices.version))
        where = {"provider": "anthropic", "model": MODEL, "initiator_id": "anonymous"}
        self.assertEqual(self.value("cost_usd_total", **where), 0.006)

    def test_words(self) -> None:
        """The answer's own words decide, not those of the request."""
        usage = {"input_tokens": 1000, "output_tokens": 100, "speed": "fast", "inference_geo": "us"}
        self.assertEqual(self.charged(usage=usage).cost_nanousd, 13_200_000)
        document = {"id": "r", "model": "gpt-6-sol", "status": "completed", "usage": {"input_tokens": 1000}}
        self.assertEqual(self.counted(RESPONSES, document | {"service_tier": "flex"}).cost_nanousd, 1_000_000)
        self.assertIsNone(self.counted(RESPONSES, document | {"service_tier": "scale"}).cost_nanousd)

    def test_unknown(self) -> None:
        """A model without a price has no cost, which is not 0; its tokens are counted."""
        row = self.charged(model="claude-nobody")
        self.assertEqual((row.cost_nanousd, row.price_version), (None, None))
        where = {"provider": "anthropic", "model": MODEL}
        self.assertEqual(self.value("unpriced_tokens_total", **where), 1100)

    def test_cached_at_own_prices(self) -> None:
        """Cached tokens have a cost under own prices of input and output only, in every API."""
        self.start(prices=prices(file_table(LITELLM), own={"*": OwnPrices(input=1, output=2)}))
        usage = {"cache_read_input_tokens": 3000, "cache_creation_input_tokens": 500}
        split = {"cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 300}}
        self.assertEqual(self.charged(usage={**MESSAGE["usage"], **usage, **split}).cost_nanousd, 4_700_000)
        cached = {"cached_tokens": 600}
        document = {"id": "r", "model": "gpt-6-sol", "status": "completed"}
        figures = {"input_tokens": 1000, "input_tokens_details": cached, "output_tokens": 100}
        self.assertEqual(self.counted(RESPONSES, document | {"usage": figures}).cost_nanousd, 1_200_000)
        figures = {"prompt_tokens": 1000, "prompt_tokens_details": cached, "completion_tokens": 100}
        document = {"id": "c", "model": "gpt-6-sol", "choices": [], "usage": figures}
        self.assertEqual(self.counted(CHAT, document).cost_nanousd, 1_200_000)

    def test_iterations(self) -> None:
        """A step that is billed beside the answer has the price of its own model, or of the request's."""
        steps = [
            {"type": "message", "input_tokens": 1000, "output_tokens": 100},
            {"type": "advisor_message", "model": "claude-haiku-4-5", "input_tokens": 1000},
            {"type": "compaction", "input_tokens": 1000},
        ]
        own = prices(file_table({**LITELLM, MODEL: LITELLM["claude-opus-5-5"]}))
        self.start(prices=own)
        self.charged(usage={**MESSAGE["usage"], "iterations": steps})
        costs = [row.cost_nanousd for row in self.exchange.usages]
        self.assertEqual(costs, [6_000_000, 1_000_000, 4_000_000])

    def test_words_of_iterations(self) -> None:
        """A step has the answer's speed and place where it names none of its own, in its row and in its price."""
        steps = [
            {"type": "compaction", "model": "claude-opus-5-5", "input_tokens": 1000},
            {"type": "compaction", "model": "claude-opus-5-5", "input_tokens": 1000, "speed": "standard"},
        ]
        words = {"speed": "fast", "inference_geo": "us"}
        self.charged(usage={**MESSAGE["usage"], **words, "iterations": steps})
        rows = [(row.speed, row.inference_geo, row.cost_nanousd) for row in self.exchange.usages]
        self.assertEqual(rows, [("fast", "us", 13_200_000), ("fast", "us", 8_800_000), ("standard", "us", 4_400_000)])

    def test_searches_of_responses(self) -> None:
        """OpenAI's web searches are charged, although its usage object does not count them."""
        search = {"type": "web_search_call", "action": {"type": "search", "query": "tides"}}
        document = {
            "id": "r",
            "model": "gpt-6-sol",
            "status": "completed",
            "output": [{**search, "id": "ws_1"}, {**search, "id": "ws_2"}],
            "usage": {"input_tokens": 1000},
        }
        row = self.counted(RESPONSES, document)
        self.assertEqual((row.cost_nanousd, row.metadata["web_search_requests"]), (22_000_000, 2))

    def test_subscription(self) -> None:
        """What a client's own subscription pays for has no cost, and says why."""
        self.start(prices=self.prices)
        headers = {"Authorization": "Bearer sk-ant-oat01-0123456789abcdef"}
        self.answer(MESSAGES, headers=headers)
        [row] = self.exchange.usages
        self.assertEqual((row.cost_nanousd, row.metadata["billing"]), (None, "subscription"))

    def test_broken_off(self) -> None:
        """An answer that broke off costs what was seen of it."""
        start = (
            b'event: message_start\ndata: {"type": "message_start", "message": {"id": "m", "model": '
            b'"claude-opus-5-5", "usage": {"input_tokens": 1000, "output_tokens": 1}}}\n\n'
        )
        self.told(MESSAGES, start)
        [row] = self.exchange.usages
        self.assertEqual((row.cost_nanousd, row.metadata["complete"]), (4_020_000, False))

    def test_off(self) -> None:
        """Without prices there is neither a cost nor a series of it."""
        self.start()
        row = self.charged()
        self.assertEqual((row.cost_nanousd, row.price_version), (None, None))
        text = [metric.name for metric in self.bridge.metrics.registry.collect() if metric.samples]
        self.assertFalse({"cost_usd", "unpriced_tokens"} & {*text})

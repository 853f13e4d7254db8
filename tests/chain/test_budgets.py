"""Caps on money, as clients meet them: the form of a refusal, what is left, and what was spent."""

from datetime import UTC, datetime
from uuid import UUID

from twisted.internet.defer import fail, succeed

from aibridge import RecordingError
from aibridge.errors import BudgetSpent
from aibridge.record.budgets.caps import ACTOR, Cap, Standing
from aibridge.record.budgets.estimates import Estimate
from aibridge.record.budgets.periods import MONTHLY, BudgetPeriod
from aibridge.testing import Reply

from ..costs.tables import LITELLM, file_table, prices
from .apis import APIS, CHAT, MESSAGES, RESPONSES
from .budgets import CappedRecorder
from .gateway import ChainTestCase

SENTENCE = "The monthly budget of alice is spent: 10.00 of 10.00 USD. It begins anew on 2026-12-01 00:00 UTC. Ask Bob."
DECEMBER = 1_796_083_200
MODEL = "claude-opus-5-5"
DOLLAR = 10**9
PERIOD = BudgetPeriod(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))


class BudgetTests(ChainTestCase):
    """A recorder that holds a cap."""

    def setUp(self) -> None:
        super().setUp()
        self.recorder = CappedRecorder()
        self.start()

    def test_refused(self) -> None:
        """The refusal has the form at which clients stop at once, streamed or not, and the provider is not asked."""
        self.recorder.error = BudgetSpent(SENTENCE, 86_400, scope=ACTOR, resets_at=DECEMBER)
        for api in APIS:
            for stream in (False, True):
                answer = self.answer(api, stream=stream)
                self.assertEqual((answer.status, answer.whole), (429, True))
                self.assertEqual(answer.header("retry-after"), "86400")
                self.assertEqual(answer.header("x-should-retry"), "false")
                self.assertIsNotNone(answer.header("x-aibridge-interception-id"))
                if api is MESSAGES:
                    body = {"type": "error", "error": {"type": "rate_limit_error", "message": SENTENCE}}
                    promotion = None
                else:
                    fields = {"type": "usage_limit_reached", "code": "insufficient_quota", "param": None}
                    body = {"error": {**fields, "message": SENTENCE, "resets_at": DECEMBER}}
                    promotion = SENTENCE
                self.assertEqual((answer.json, answer.header("x-codex-promo-message")), (body, promotion))
        self.assertEqual((len(self.provider.requests), self.recorder.history), (0, []))
        labels = {"status": "refused", "provider": "anthropic", "model": "model-1", "route": "/v1/messages"}
        labels |= {"method": "POST", "initiator_id": "anonymous", "client": "Unknown"}
        self.assertEqual(self.bridge.metrics.registry.get_sample_value("interceptions_total", labels), 2.0)

    def test_remaining(self) -> None:
        """An answer under a cap says how much is left, streamed or not; no other does."""
        self.recorder.left = 5_990_000_000
        for api in APIS:
            for stream in (False, True):
                self.assertEqual(self.answer(api, stream=stream).header("x-aibridge-budget-remaining"), "5.99")
        self.recorder.left = None
        self.assertIsNone(self.answer(CHAT).header("x-aibridge-budget-remaining"))

    def test_estimate(self) -> None:
        """What a request can cost at most is told to the recorder: by its size and the tokens that it asks for."""
        self.start(prices=prices(file_table(LITELLM)))
        self.provider.say(*[Reply(text="x")] * 6)
        size = len(MESSAGES.body(model=MODEL, max_tokens=1000))
        # In its fast mode and in the USA, all of it written to the cache for an hour.
        dear = (size * 8_000 + 1000 * 20_000) * 22 // 10
        self.answer(MESSAGES, model=MODEL, max_tokens=1000)
        self.assertEqual(self.recorder.estimates.pop(), Estimate(dear, is_priced=True))
        self.answer(MESSAGES, model=MODEL, max_tokens=1000, thread={"type": "create"})
        self.assertEqual(self.recorder.estimates.pop(), Estimate(None, is_priced=True))
        self.answer(RESPONSES, model="gpt-6-sol")
        self.assertEqual(self.recorder.estimates.pop().is_priced, True)  # type: ignore[union-attr]
        self.answer(MESSAGES, model="nobody", max_tokens=1000)
        self.assertEqual(self.recorder.estimates.pop(), Estimate(None, is_priced=False))
        self.answer(MESSAGES, model=MODEL, headers={"Authorization": "Bearer sk-ant-oat01-0123456789abcdef"})
        self.assertEqual(self.recorder.estimates.pop(), Estimate(0, is_priced=True))
        self.recorder.is_active = False
        self.answer(MESSAGES, model=MODEL)
        self.assertIsNone(self.recorder.estimates.pop())

    def spend(self, provider: str = "anthropic") -> tuple[int, object]:
        client = self.connect()
        client.send("GET", f"/{provider}/aibridge/spend")
        self.network.settle()
        return client.answer.status, client.answer.json

    def test_spend(self) -> None:
        """An actor learns of the tightest cap, at any provider, without asking it."""
        cap = Cap(UUID(int=1), ACTOR, "alice", MONTHLY, 10 * DOLLAR)
        self.recorder.found = succeed(Standing(cap, PERIOD, 2_500_000_000, 0))
        told = {"period": "monthly", "limit_usd": 10.0, "spent_usd": 2.5, "resets_at": "2026-12-01T00:00:00Z"}
        self.assertEqual((self.spend(), self.spend("openai")), ((200, told), (200, told)))
        self.assertEqual((len(self.provider.requests), self.recorder.history), (0, []))

    def test_spend_needs_an_actor(self) -> None:
        """Whoever is not known learns nothing."""
        self.start(authenticate=lambda request: None)
        self.assertEqual(self.spend()[0], 401)

    def test_spend_unknown(self) -> None:
        """Without a database nothing can be told; without budgets there is no such route."""
        self.recorder.found = fail(RecordingError("away"))
        self.assertEqual(self.spend()[0], 503)


class PlainRecorderTests(ChainTestCase):
    """A host's recorder that holds no caps."""

    def test_no_budgets(self) -> None:
        """There is no spending to tell, and no header."""
        client = self.connect()
        client.send("GET", "/anthropic/aibridge/spend")
        self.network.settle()
        self.assertEqual(client.answer.status, 404)
        self.assertIsNone(self.answer(MESSAGES).header("x-aibridge-budget-remaining"))


class CostHeaderTests(ChainTestCase):
    """``prices.header``."""

    def test_cost(self) -> None:
        """An unstreamed answer tells its cost; a stream can't, and neither does an answer without a known cost."""
        own = prices(file_table({**LITELLM, "model-1": LITELLM[MODEL]}), header=True)
        self.start(prices=own)
        self.provider.say(Reply(text="x"), Reply(text="x"), Reply(text="x"))
        told = self.answer(MESSAGES).header("x-aibridge-cost")
        assert told is not None
        cost = self.exchange.usages[0].cost_nanousd
        assert cost is not None
        self.assertEqual(float(told), cost / DOLLAR)
        self.assertIsNone(self.answer(MESSAGES, stream=True).header("x-aibridge-cost"))
        self.assertIsNone(self.answer(CHAT).header("x-aibridge-cost"))

"""Answers that the client fetches after the exchange that asked for them."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.web.resource import Resource

from aibridge import passthrough
from aibridge.costs.settings import OwnPrices
from aibridge.testing import quiet_site

from ..costs.tables import LITELLM, file_table, prices
from .apis import RESPONSES
from .client import Answer
from .gateway import PROVIDER_PORT, ChainTestCase


class Background(Resource):
    """A provider that works on one response in the background, and is asked for it again and again."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.packs = False
        """True if what is fetched comes packed, although nobody asked for that."""
        self.states: list[dict[str, object]] = []

    def say(self, status: str, **rest: object) -> None:
        """How the response will stand when it is asked for next."""
        self.states.append(
            {"id": "resp_1", "object": "response", "status": status, "background": True, "output": []} | rest
        )

    def render(self, request: Any) -> bytes:
        request.setHeader(b"content-type", b"application/json")
        body = json.dumps(self.states.pop(0)).encode()
        if self.packs and request.method == b"GET":
            request.setHeader(b"content-encoding", b"gzip")
            return gzip.compress(body)
        return body


USAGE = {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10}, "output_tokens": 7}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at":"it"}'}


class LateTests(ChainTestCase):
    """A response that is worked on in the background."""

    def setUp(self) -> None:
        super().setUp()
        self.background = Background()
        self.network.serve(PROVIDER_PORT, quiet_site(self.background, self.network))

    def fetch(self, method: str = "GET", target: str = "/openai/v1/responses/resp_1") -> Answer:
        """A GET, as a client polls; or another request for the same response."""
        client = self.connect()
        client.send(method, target)
        self.network.wait(1)
        return client.answer

    def test_packed(self) -> None:
        """A response that is fetched packed is read too."""
        self.background.packs = True
        self.background.say("queued")
        self.background.say("completed", usage=USAGE, output=[CALL])
        self.answer(RESPONSES, background=True)
        fetched = self.fetch()
        self.assertEqual((fetched.json["status"], fetched.header("content-encoding")), ("completed", None))
        self.assertEqual([usage.output_tokens for usage in self.recorder.token_usages.values()], [7])

    def test_recorded_when_fetched(self) -> None:
        """The figures and calls of a background response are recorded with the exchange that asked for it."""
        self.background.say("queued")
        self.background.say("in_progress")
        self.background.say("completed", usage=USAGE, output=[CALL])
        self.assertEqual(self.answer(RESPONSES, background=True).status, 200)
        (ended,) = self.recorder.ended.values()
        (usage,) = self.recorder.token_usages.values()
        self.assertEqual((ended.status, usage.metadata["complete"]), ("completed", False))
        self.fetch()
        self.assertEqual([row.metadata["complete"] for row in self.recorder.token_usages.values()], [False])
        answer = self.fetch()
        self.assertEqual(answer.json["usage"], USAGE)
        (usage,) = self.recorder.token_usages.values()
        self.assertEqual((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (20, 10, 7))
        self.assertTrue(usage.metadata["complete"])
        self.assertEqual([call.tool for call in self.recorder.tool_usages.values()], ["look"])
        self.assertEqual({usage.interception_id}, set(self.recorder.interceptions))

    def test_recorded_when_cancelled(self) -> None:
        """What a client that cancels a response is told of it is recorded as well."""
        self.background.say("queued")
        self.background.say("cancelled", usage=USAGE, output=[CALL])
        self.answer(RESPONSES, background=True)
        answer = self.fetch("POST", "/openai/v1/responses/resp_1/cancel")
        self.assertEqual(answer.json["status"], "cancelled")
        (usage,) = self.recorder.token_usages.values()
        self.assertEqual((usage.input_tokens, usage.output_tokens, usage.metadata["complete"]), (20, 7, True))
        self.assertEqual([call.tool for call in self.recorder.tool_usages.values()], ["look"])

    def test_cost(self) -> None:
        """The row that gets the final figures gets their cost with them."""
        own = prices(file_table(LITELLM), own={"model-1": OwnPrices(input=1, output=2, cache_read=0.1)})
        self.start(prices=own)
        self.background.say("queued")
        self.background.say("completed", usage=USAGE, output=[CALL], model="model-1")
        self.answer(RESPONSES, background=True)
        self.fetch()
        (usage,) = self.recorder.token_usages.values()
        self.assertEqual((usage.cost_nanousd, usage.price_version), (35_000, own.version))

    def test_time_of_the_price(self) -> None:
        """The price is that of the time at which the request began, however late the response is fetched."""
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        own = prices(
            file_table({"model-1": LITELLM["gpt-6-sol"]}),
            own={"model-1": OwnPrices(input=1, output=2, cache_read=0.1, from_=tomorrow)},
        )
        self.start(prices=own)
        self.background.say("queued")
        self.background.say("completed", usage=USAGE, output=[CALL], model="model-1")
        self.answer(RESPONSES, background=True)
        self.patch(passthrough, "utc_now", lambda: datetime.now(UTC) + timedelta(days=2))
        self.fetch()
        (usage,) = self.recorder.token_usages.values()
        self.assertEqual(usage.cost_nanousd, 20 * 2000 + 10 * 200 + 7 * 10_000)

    def test_recorded_once(self) -> None:
        """Fetching it again adds nothing."""
        self.background.say("queued")
        for _ in range(2):
            self.background.say("completed", usage=USAGE, output=[CALL])
        self.answer(RESPONSES, background=True)
        self.fetch()
        self.fetch()
        self.assertEqual((len(self.recorder.token_usages), len(self.recorder.tool_usages)), (1, 1))

    def test_unknown(self) -> None:
        """A response that this gateway never asked for passes, and leaves no row."""
        self.background.say("completed", usage=USAGE)
        self.assertEqual(self.fetch().status, 200)
        self.assertEqual(self.recorder.history, [])

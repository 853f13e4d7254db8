"""What one actor may ask for: 429 in the API's shape, and nothing taken from the others."""

from typing import Any

from aibridge import Actor, Limits
from aibridge.testing import Ending, RawReply

from .apis import APIS, CHAT, MESSAGES, Api
from .client import Answer
from .gateway import ChainTestCase

HANGING = RawReply(status=None, ending=Ending.STALL)


def named(request: Any) -> Actor:
    """Whoever they say they are."""
    return Actor(request.requestHeaders.getRawHeaders("x-name", ["alice"])[0])


class LimitTests(ChainTestCase):
    """Limits of each actor."""

    def limit(self, **limits: int) -> None:
        self.start(limits=Limits(**limits), authenticate=named)

    def ask_as(self, name: str, api: Api = MESSAGES) -> Answer:
        return self.answer(api, headers={"X-Name": name})

    def assert_refused(self, answer: Answer, api: Api, retry_after: str) -> None:
        self.assertEqual((answer.status, answer.header("retry-after"), answer.whole), (429, retry_after, True))
        kind = api.error_of(answer.json)
        self.assertEqual(
            answer.json["error"].get("code", kind), ("rate_limit_error", "rate_limit_exceeded")[api != MESSAGES]
        )

    def test_a_minute(self) -> None:
        """Who asks too often is told when to come again, before anything is asked of the provider or recorded."""
        for api in APIS:
            self.recorder.__init__()  # type: ignore[misc]
            self.limit(requests_per_minute=2)
            asked = len(self.provider.requests)
            self.assertEqual([self.ask_as("alice", api).status for _ in range(2)], [200, 200])
            self.assert_refused(self.ask_as("alice", api), api, "24")
            self.assertEqual(self.ask_as("bob", api).status, 200)
            self.assertEqual((len(self.provider.requests) - asked, len(self.exchanges)), (3, 3))
            labels = {"provider": api.provider, "status": "429"}
            self.assertEqual(self.bridge.metrics.registry.get_sample_value("refusals_total", labels), 1.0)
            self.network.wait(24)
            self.assertEqual(self.ask_as("alice", api).status, 200)

    def test_concurrent(self) -> None:
        """Who has as many under way as allowed waits for one of them, whether it is answered or given up."""
        self.limit(concurrent=2)
        self.provider.say(HANGING, HANGING)
        clients = [self.ask(CHAT) for _ in range(2)]
        self.network.settle()
        self.assert_refused(self.ask_as("alice", CHAT), CHAT, "1")
        self.assertEqual(self.ask_as("bob", CHAT).status, 200)
        clients[0].leave()
        self.network.settle()
        self.assertEqual([self.ask_as("alice", CHAT).status for _ in range(3)], [200] * 3)

    def test_passed_through(self) -> None:
        """What is passed through counts too."""
        self.limit(requests_per_minute=1)
        statuses = []
        for _ in range(2):
            client = self.connect()
            client.send("GET", "/anthropic/v1/models")
            self.network.wait(1)
            statuses.append(client.answer.status)
        self.assertEqual([*statuses, self.ask_as("alice").status], [200, 429, 429])

    def test_refused_otherwise(self) -> None:
        """A request that fails, however it does, is over."""
        self.limit(concurrent=1)
        for _ in range(3):
            client = self.connect()
            client.send("POST", MESSAGES.path, b"{")
            self.network.settle()
            self.assertEqual(client.answer.status, 400)
        self.assertEqual(self.ask_as("alice").status, 200)

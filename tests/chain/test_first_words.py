"""The first words of refusals: Claude Code shows about 76 characters of a message."""

from typing import Any

from twisted.logger import capturedLogs

from aibridge import Actor, BreakerSettings, Limits
from aibridge.errors import RecordingError
from aibridge.testing import RawReply

from .apis import MESSAGES
from .client import Answer
from .gateway import ChainTestCase

SHOWN = 76


class FirstWordsTests(ChainTestCase):
    """What a user can read of each refusal."""

    def assert_shown(self, answer: Answer, status: int, *words: str) -> None:
        """The beginning of the message has all of these words."""
        shown = answer.json["error"]["message"][:SHOWN]
        self.assertEqual(answer.status, status)
        for each in words:
            self.assertIn(each, shown)

    def refused(self, **settings: Any) -> Answer:
        """The response to a request at a gateway with these settings."""
        self.start(**settings)
        return self.answer(MESSAGES)

    def test_circuit_open(self) -> None:
        """An open circuit says for how long, and why."""
        overloaded = RawReply(status=503, headers={"Content-Type": "application/json"}, chunks=[b"{}"])
        self.start(providers={"circuit_breaker": BreakerSettings(failure_threshold=2)})
        self.provider.say(overloaded, overloaded)
        for _ in range(2):
            self.answer(MESSAGES)
        self.assert_shown(self.answer(MESSAGES), 503, "Circuit open for ", " s: anthropic failed 2 times in a row")

    def test_capacity(self) -> None:
        """A gateway or an actor at its limit says which limit that is."""
        self.start(max_concurrent_requests=1)
        self.ask(MESSAGES, stream=True)
        self.network.settle()
        self.assert_shown(self.answer(MESSAGES), 503, "The gateway is at capacity: at most 1 requests")
        self.start(authenticate=lambda request: Actor("alice"), limits=Limits(requests_per_minute=1))
        self.answer(MESSAGES)
        self.assert_shown(self.answer(MESSAGES), 429, "Rate limit reached: at most 1 requests a minute.")

    def test_draining(self) -> None:
        """A gateway that stops says so."""
        self.bridge.drain(30)
        self.assert_shown(self.answer(MESSAGES), 503, "The gateway is about to stop. Try again in a moment.")

    def test_recording(self) -> None:
        """A request that can't be recorded says that it was not sent. The log's line has the status, too."""
        self.recorder.fail_with(RecordingError("away"))
        with capturedLogs() as events:
            self.assert_shown(self.answer(MESSAGES), 503, "This request can't be recorded now, so it was not sent.")
        self.assertEqual([event["http_status"] for event in events if "http_status" in event], [503])
        self.recorder.fail_with(None)

    def test_credentials(self) -> None:
        """A missing or refused credential for the provider, and an unknown user."""
        self.assert_shown(self.refused(providers={"api_key": None}), 401, "No anthropic key: the request has none.")
        self.start(providers={"byok": "refuse"})
        client = self.ask(MESSAGES, headers={"x-api-key": "sk-dummy"})
        self.network.wait(1)
        self.assert_shown(client.answer, 401, "Your own anthropic key is not accepted here.")
        self.assert_shown(self.refused(authenticate=lambda request: None), 401, "Authentication failed: ")

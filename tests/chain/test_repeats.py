"""Clients that repeat a request that failed, and requests that the gateway sends again."""

from typing import Any

from aibridge.testing import RawReply, Reply

from .apis import CHAT, MESSAGES
from .gateway import PROVIDER_PORT, ChainTestCase, quiet_site

OVERLOADED = RawReply(status=529, headers={"Content-Type": "application/json"}, chunks=[b'{"type":"error"}'])
SESSION = {"User-Agent": "claude-cli/2.1.330", "X-Claude-Code-Session-Id": "s1"}


class RepeatTests(ChainTestCase):
    """One prompt of a user's, however often its client sends it."""

    def turn(self, prompt: str, reply: Any = OVERLOADED, headers: Any = SESSION) -> Any:
        """Has a request answered so, and returns its exchange."""
        self.provider.say(reply)
        self.answer(MESSAGES, prompt, headers=headers)
        return self.exchanges[-1]

    def test_retries(self) -> None:
        """A repetition names the failed interception that it repeats, and counts as no prompt."""
        first = self.turn("hello")
        second = self.turn("hello")
        third = self.turn("hello", Reply(text="hi"))
        self.assertNotIn("retry_of", first.begun.metadata)
        self.assertEqual(second.begun.metadata["retry_of"], str(first.begun.id))
        self.assertEqual(third.begun.metadata["retry_of"], str(second.begun.id))
        labels = {"provider": "anthropic", "model": "model-1", "initiator_id": "anonymous", "client": "Claude Code"}
        self.assertEqual(self.bridge.metrics.registry.get_sample_value("prompts_total", labels), 1)

    def test_new_turns(self) -> None:
        """Other words, another session, and the same words after a success are new."""
        self.turn("hello")
        others = [
            self.turn("hello", headers=SESSION | {"X-Claude-Code-Session-Id": "s2"}),
            self.turn("goodbye", Reply(text="bye")),
            self.turn("goodbye"),
        ]
        self.assertEqual([exchange.begun.metadata for exchange in others], [{}, {}, {}])

    def test_sent_again(self) -> None:
        """A request that the gateway sends again is counted in the row of its exchange."""
        self.network.close_port(PROVIDER_PORT)
        self.ask(CHAT)
        self.network.wait(0.2)
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        self.network.wait(3)
        self.assertEqual((self.exchange.end, self.exchange.ended.upstream_requests), (("completed", 200), 2))

"""What is asked again, over a connection that was kept: only what may be sent twice."""

from typing import Any

from aibridge.testing import Ending, RawReply, Reply

from .apis import MESSAGES
from .gateway import PROVIDER_PORT, ChainTestCase

CLOSED = RawReply(status=None, ending=Ending.CUT)
THREAD = {"thread": {"type": "continue", "previous_message_id": "msg_1"}}


class RetryTests(ChainTestCase):
    """Before each of them there was an exchange whose connection was kept."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(MESSAGES)
        self.recorder.__init__()  # type: ignore[misc]

    def ask_of(self, *said: Any, **members: Any) -> tuple[int, int, int]:
        """The status, and how many connections and requests it took."""
        before = self.network.attempts, len(self.provider.requests)
        self.provider.say(*said)
        status = self.answer(MESSAGES, **members).status
        return status, self.network.attempts - before[0], len(self.provider.requests) - before[1]

    def test_closed_unread(self) -> None:
        """A kept connection that is closed before a byte of an answer: asked again on a new one, once."""
        self.assertEqual(self.ask_of(CLOSED), (200, 1, 2))
        self.assertEqual(self.ask_of(CLOSED, CLOSED), (502, 1, 2))
        self.assertEqual([each.end for each in self.exchanges], [("completed", 200), ("failed", 502)])
        self.assertEqual([each.ended.upstream_requests for each in self.exchanges], [2, 2])

    def test_all_retries(self) -> None:
        """All retries of a request together are two, whatever makes them safe."""
        self.network.close_port(PROVIDER_PORT)
        self.assertEqual(self.ask_of(CLOSED)[0], 502)
        self.assertEqual(self.exchange.ended.upstream_requests, 3)

    def test_after_a_byte(self) -> None:
        """What has begun to be answered is not asked again."""
        self.assertEqual(self.ask_of(Reply(text="x" * 5000, stop_after=1, ending=Ending.CUT)), (502, 0, 1))

    def test_message_threads(self) -> None:
        """A thread is continued once: it goes over a connection of which there is no doubt, and isn't tried again."""
        self.assertEqual(self.ask_of(CLOSED, **THREAD), (502, 1, 1))
        self.assertEqual(self.ask_of(Reply(text="well"), **THREAD), (200, 1, 1))

    def test_streams(self) -> None:
        """The same holds for streams."""
        self.assertEqual(self.ask_of(CLOSED, stream=True), (200, 1, 2))
        self.assertEqual(self.ask_of(CLOSED, stream=True, **THREAD), (502, 1, 1))

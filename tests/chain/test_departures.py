"""Clients that leave, that stop reading, and that hang up as soon as they have what they need."""

from collections.abc import Iterator
from typing import Any

from aibridge.testing import Ending, RawReply, Reply, Usage

from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import ChainTestCase

REPLY = Reply(text="a word and another " * 20, usage=Usage(input=3, output=80))
FRAME = b'event: noise\ndata: {"type":"noise","noise":"' + b"x" * 16_000 + b'"}\n\n'


def noise(frames: int, sent: list[int]) -> Iterator[bytes]:
    """A stream of many large frames of no interest, counted as they are taken."""
    for number in range(frames):
        sent.append(number)
        yield FRAME


class DepartureContract:
    """What holds in every API."""

    api: Api

    def begin(self: Any, *said: Any, seconds: float = 0.2, **members: Any) -> Any:
        """A client in the midst of a stream."""
        self.provider.say(*(said or [REPLY]))
        client = self.ask(self.api, **{"stream": True, **members})
        self.network.wait(seconds)
        return client

    def leave(self: Any, client: Any, end: tuple[str, int | None]) -> None:
        """The client goes: the provider is closed at once, and the rows say how it ended."""
        self.assertNoResult(self.provider.requests[-1].over)
        client.leave()
        self.network.settle()
        self.assertIs(self.successResultOf(self.provider.requests[-1].over), False)
        self.assertEqual((self.exchange.end, self.bridge.in_flight), (end, 0))

    def test_before_the_head(self: Any) -> None:
        """Gone before the provider began to answer."""
        client = self.begin(RawReply(status=None, ending=Ending.STALL))
        self.leave(client, ("cancelled", None))
        self.assertEqual((self.exchange.usages, len(self.exchange.prompts)), ([], 1))

    def test_while_connecting(self: Any) -> None:
        """Gone before the provider was reached."""
        self.network.unreachable = True
        client = self.begin()
        client.leave()
        self.network.settle()
        self.assertEqual((self.exchange.end, self.bridge.in_flight), (("cancelled", None), 0))

    def test_in_mid_stream(self: Any) -> None:
        """Gone in the midst of a stream: what was seen is recorded, and marked as not complete."""
        self.leave(self.begin(), ("cancelled", 200))
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])

    def test_in_a_body(self: Any) -> None:
        """Gone in the midst of a JSON body, of which nothing had been handed over."""
        client = self.begin(Reply(text="x" * 5000, stop_after=2, ending=Ending.STALL), stream=False)
        self.leave(client, ("cancelled", None))

    def test_while_paused(self: Any) -> None:
        """Gone while it took nothing and the provider was made to wait."""
        sent: list[int] = []
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}, chunks=noise(10_000, sent)))
        client = self.ask(self.api, stream=True)
        client.transport.pauseProducing()
        self.network.wait(1)
        self.assertLess(len(sent), 100)
        self.leave(client, ("cancelled", 200))

    def test_drain(self: Any) -> None:
        """Where it is configured the answer is read to its end all the same, for its figures."""
        self.start({"on_disconnect": "drain"})
        client = self.begin()
        client.leave()
        self.network.wait(3)
        self.assertEqual(self.exchange.end, ("cancelled", 200))
        [sent] = self.provider.sent.values()
        self.assertEqual(self.exchange.figures, self.api.usage(sent))

    def test_drain_of_one_who_stopped_reading(self: Any) -> None:
        """That holds too for a client that had stopped reading before it left."""
        self.start({"on_disconnect": "drain"})
        self.provider._delay = 0.0
        self.provider.say(Reply(text="a word and another " * 5000))
        client = self.ask(self.api, stream=True)
        client.transport.pauseProducing()
        self.network.wait(1)
        client.leave()
        self.network.wait(1)
        self.assertEqual(self.exchange.end, ("cancelled", 200))
        self.assertTrue(self.exchange.figures["metadata"]["complete"])

    def test_takes_nothing(self: Any) -> None:
        """A client that takes nothing for too long is let go, and the provider with it."""
        sent: list[int] = []
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}, chunks=noise(10_000, sent)))
        client = self.ask(self.api, stream=True)
        client.transport.pauseProducing()
        self.network.wait(29)
        self.assertFalse(client.closed)
        self.network.wait(12)
        self.assertTrue(client.closed)
        self.assertIs(self.successResultOf(self.provider.requests[-1].over), False)
        self.assertEqual((self.exchange.end, self.bridge.in_flight), (("cancelled", 200), 0))
        self.assertEqual(self.exchange.ended.error, "the client took nothing for 30 seconds")

    def test_stops_reading(self: Any) -> None:
        """A client that stops reading stops the provider, not fills memory; it gets every byte when it reads on."""
        frames, sent = 2000, []  # type: ignore[var-annotated]
        self.provider.say(RawReply(headers={"Content-Type": "text/event-stream"}, chunks=noise(frames, sent)))
        client = self.ask(self.api, stream=True)
        client.transport.pauseProducing()
        self.network.wait(5)
        from_provider = self.network.connections[-1][0].delivered
        self.assertLess(from_provider, 1 << 19)
        self.assertLess(len(sent), 50)
        client.transport.resumeProducing()
        self.network.wait(5)
        self.assertEqual((len(client.answer.body), client.answer.whole), (frames * len(FRAME), True))
        self.assertEqual(len(sent), frames)

    def test_reads_in_sips(self: Any) -> None:
        """One that reads now and then gets every byte too."""
        stream = bytes(self.direct(self.api.body("ping", stream=True), self.api, REPLY).body)
        client = self.begin(seconds=0)
        for _ in range(40):
            client.transport.pauseProducing()
            self.network.wait(0.02)
            client.transport.resumeProducing()
            self.network.wait(0.01)
        self.network.wait(1)
        self.assertEqual((bytes(client.answer.body), client.answer.whole), (stream, True))
        self.assertEqual(self.exchange.end, ("completed", 200))


class MessagesDepartureTests(DepartureContract, ChainTestCase):
    api = MESSAGES


class ChatDepartureTests(DepartureContract, ChainTestCase):
    api = CHAT

    def test_after_its_finish_reason(self) -> None:
        """A client that hangs up when all text is there: the figures are still read, and it was complete."""
        self.provider.say(REPLY)
        client = self.ask(self.api, stream=True)
        while not client.answers or b'"finish_reason":"stop"' not in client.answer.body:
            self.network.wait(0.001)
        self.assertNotIn(b'"usage":{', client.answer.body)
        client.leave()
        self.network.wait(1)
        [sent] = self.provider.sent.values()
        self.assertEqual(self.exchange.faults(self.api, sent, "ping"), [])

    def test_after_its_finish_reason_and_then_a_fault(self) -> None:
        """Where the provider then breaks off, the rows say that the figures aren't final."""
        frames = bytes(self.direct(self.api.body("ping", stream=True), self.api, REPLY).body).count(b"\n\n")
        self.provider.say(Reply(text=REPLY.text, stop_after=frames - 2, ending=Ending.STALL))
        client = self.ask(self.api, stream=True)
        self.network.wait(2)
        self.assertIn(b'"finish_reason":"stop"', client.answer.body)
        client.leave()
        self.network.wait(12)
        self.assertEqual([row.metadata["complete"] for row in self.exchange.usages], [False])
        self.assertEqual(self.bridge.in_flight, 0)
        self.assertIs(self.successResultOf(self.provider.requests[-1].over), False)


class ResponsesDepartureTests(DepartureContract, ChainTestCase):
    api = RESPONSES

"""Exchanges over sockets, recorded in SQLite."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from aibridge.testing import Ending, RawReply, Reply, ToolCall, Usage

from ..chain.apis import CHAT, MESSAGES, OWN, RESPONSES, SECRET, Api
from ..chain.client import Client
from .gateway import GatewayTestCase

RICH = Reply(
    thinking="Two cities, so two calls.",
    commentary="Looking it up.",
    text="Es wäre schön — 你好. " * 50,
    tool_calls=[ToolCall("weather", {"city": "Zürich"}), ToolCall("weather", {"city": "Oslo"})],
    usage=Usage(input=11, output=22, cache_read=33, cache_write=4, reasoning=7),
)


class RelayContract:
    """What holds in every API."""

    api: Api

    async def check(self: Any, stream: bool) -> None:
        """The client's bytes are the provider's, and the rows in the database are what the provider says it sent."""
        self.with_sqlite()
        url = await self.start()
        body = self.api.body("ping", stream=stream)
        wanted = await self.direct(self.api, body, RICH)
        self.provider.say(RICH)
        answer = await self.answer(url, self.api, body)
        [exchange] = self.exchanges
        [sent] = self.provider.sent.values()
        self.assertEqual((answer.status, bytes(answer.body), answer.whole), (200, bytes(wanted.body), True))
        self.assertEqual(self.provider.requests[0].body, body)
        self.assertEqual(exchange.faults(self.api, sent, "ping"), [])
        self.assertEqual(answer.header("x-aibridge-interception-id"), str(exchange.begun.id))

    async def test_blocking(self: Any) -> None:
        """A JSON answer."""
        await self.check(False)

    async def test_streaming(self: Any) -> None:
        """A stream."""
        await self.check(True)

    async def test_cut(self: Any) -> None:
        """A provider that breaks off in mid-stream: an error event, then a connection without HTTP's end."""
        self.with_sqlite()
        url = await self.start()
        self.provider.say(Reply(text="word " * 50, stop_after=9, ending=Ending.CUT))
        client = await self.ask(url, self.api, self.api.body(stream=True))
        await client.when(lambda: client.closed)
        self.assertFalse(client.answer.whole)
        self.assertTrue(self.api.error_event(bytes(client.answer.body)))
        [exchange] = self.exchanges
        self.assertEqual((exchange.end, exchange.figures["metadata"]["complete"]), (("failed", 200), False))

    async def test_client_leaves(self: Any) -> None:
        """A client that goes in mid-stream: the provider's connection is closed at once."""
        url = await self.start()
        self.provider.say(Reply(text="word " * 50, stop_after=9, ending=Ending.STALL))
        client = await self.ask(url, self.api, self.api.body(stream=True))
        await client.when(lambda: client.answers and client.answer.body)
        client.leave()
        self.assertIs(await self.provider.requests[0].over, False)
        await self.until(lambda: self.bridge.in_flight == 0)
        [exchange] = self.exchanges
        self.assertEqual((exchange.end, exchange.figures["metadata"]["complete"]), (("cancelled", 200), False))


class MessagesRelayTests(RelayContract, GatewayTestCase):
    api = MESSAGES


class ChatRelayTests(RelayContract, GatewayTestCase):
    api = CHAT


class ResponsesRelayTests(RelayContract, GatewayTestCase):
    api = RESPONSES


class FaultTests(GatewayTestCase):
    """What only sockets can do wrong."""

    async def refused_by(self, upstream: str) -> None:
        self.bridge = self.make_bridge(upstream)
        answer = await self.answer(self.listen(self.bridge), MESSAGES, MESSAGES.body())
        self.assertEqual((answer.status, MESSAGES.error_of(answer.json)), (502, "api_error"))
        self.assertEqual([exchange.end for exchange in self.exchanges], [("failed", 502)])

    async def test_no_one_listens(self) -> None:
        """502 for a port where nobody listens."""
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        upstream = f"http://127.0.0.1:{port.getHost().port}"
        await port.stopListening()
        await self.refused_by(upstream)

    async def test_reset(self) -> None:
        """502 for a connection that is reset as soon as it is asked something."""
        await self.refused_by(self.tcp_server(_Resetting))

    async def test_not_http(self) -> None:
        """502 for a server that speaks something else."""
        await self.refused_by(self.tcp_server(_Mumbling))

    async def test_tls_that_is_none(self) -> None:
        """502 where TLS is expected and isn't spoken."""
        await self.refused_by(self.tcp_server(_Mumbling).replace("http:", "https:"))

    def tcp_server(self, protocol: type[Protocol]) -> str:
        factory = Factory.forProtocol(protocol)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"


class _Resetting(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]


class _Mumbling(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"220 mail.example.net ESMTP\r\n")  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]


class Measure(Client):
    """Counts an answer's bytes instead of keeping them."""

    taken = 0

    def on_body(self, piece: bytes) -> None:
        self.taken += len(piece)


class SlowReaderTests(GatewayTestCase):
    """Clients that stop reading."""

    frame = b'event: noise\ndata: {"type":"noise","noise":"' + b"x" * 16_000 + b'"}\n\n'
    frames = 1600  # 25 MB a stream: the kernel alone takes 4 MB a socket
    streams = 4

    async def test_memory_stays(self) -> None:
        """The provider is made to wait instead of memory being filled, and every byte arrives in the end."""
        url = await self.start()
        self.sent = 0
        headers = {"Content-Type": "text/event-stream"}
        self.provider.say(*[RawReply(headers=headers, chunks=self.noise()) for _ in range(self.streams)])
        gc.collect()
        before = resident_bytes()
        clients = [await self.begin(url) for _ in range(self.streams)]
        await self.standstill()
        grown = resident_bytes() - before
        self.assertLess(self.sent, self.streams * self.frames * 0.8)
        self.assertLess(grown, 8 << 20)
        for client in clients:
            client.transport.resumeProducing()
        await gatherResults([client.done() for client in clients])
        sizes = [(client.answer.whole, client.taken) for client in clients]
        self.assertEqual(sizes, [(True, self.frames * len(self.frame))] * self.streams)

    def noise(self) -> Iterator[bytes]:
        for _ in range(self.frames):
            self.sent += 1
            yield self.frame

    async def begin(self, url: str) -> Measure:
        """A client that reads an answer's head and then no more."""
        client = Measure()
        await self.connect(url, client)
        client.send("POST", MESSAGES.path, MESSAGES.body(stream=True))
        await client.when(lambda: client.answers)
        client.transport.pauseProducing()
        return client

    async def standstill(self) -> None:
        """Until nothing more comes from the provider."""
        last = -1
        while last != self.sent:
            last = self.sent
            await deferLater(reactor, 0.3)


def resident_bytes() -> int:
    """The memory of this process that is not paged out."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class SecrecyTests(GatewayTestCase):
    """What is on disk."""

    async def test_no_secret_in_the_database(self) -> None:
        """Neither credential is in any file of the database, and the client's is never the operator's."""
        self.with_sqlite()
        url = await self.start()
        for headers in ({}, {"X_Api_Key": OWN}, {"Authorization": f"Bearer {OWN}"}):
            await self.answer(url, MESSAGES, MESSAGES.body("ping"), **headers)
        await self.recorder.stopService()
        path = Path(self.database.removeprefix("sqlite:///"))
        content = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
        self.assertIn(b"ping", content)
        for secret in (SECRET, OWN):
            self.assertNotIn(secret[4:-2].encode(), content)

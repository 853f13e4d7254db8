"""What hosts put in the place of the gateway's own parts, and faults of the gateway's own."""

import gzip
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aibridge import AnthropicProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.interfaces import IProvider
from aibridge.testing import Ending, RawReply, Reply, Usage
from aibridge.wire.messages.reader import MessagesReader
from aibridge.wire.tap import StreamTap

from .apis import MESSAGES, SECRET
from .gateway import GATEWAY_PORT, UPSTREAM, ChainTestCase


@implementer(IProvider)
class HostsProvider:
    """Provides `IProvider`, and has nothing else in common with the package's providers."""

    name = "own"
    type = "anthropic"
    base_url = UPSTREAM
    proxy = None
    ca_file = None
    client_cert = None
    connect_timeout = first_byte_timeout = idle_timeout = 10.0
    on_disconnect = "abort"
    overloaded = frozenset({529})
    circuit_breaker = None

    def __init__(self) -> None:
        self._like = AnthropicProvider(api_key=SECRET)

    def route(self, method: bytes, path: str) -> Any:
        return self._like.route(method, path)

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        return UPSTREAM.encode() + raw_path

    def credential(self, client: Any) -> Any:
        return self._like.credential(client)

    def add_headers(self, headers: Any, credential: Any, actor: Any) -> None:
        headers.setRawHeaders(b"x-api-key", [SECRET])

    def error_body(self, error: Any) -> dict[str, Any]:
        return {"own": error.message}


class ProviderTests(ChainTestCase):
    """A provider of the host's own."""

    def test_serves(self) -> None:
        """An object that provides `IProvider` serves, intercepted and passed through, and words its own errors."""
        provider = HostsProvider()
        self.assertTrue(verifyObject(IProvider, provider))
        self.bridge = RequestBridge([provider], self.recorder, reactor=self.network)
        self.site = GatewaySite(self.bridge, **self.limits, reactor=self.network)
        self.started.append((self.bridge, self.site))
        self.network.serve(GATEWAY_PORT, self.site)
        self.provider.say(Reply(text="pong", usage=Usage(input=1, output=2)))
        client = self.connect()
        for method, path, body in (
            ("POST", "/own/v1/messages", MESSAGES.body("ping")),
            ("GET", "/own/v1/models", b""),
            ("POST", "/own/v1/nowhere", b""),
        ):
            client.send(method, path, body)
            self.network.wait(2)
        self.assertEqual([answer.status for answer in client.answers], [200, 200, 404])
        self.assertIn("own", client.answer.json)
        self.assertEqual(self.exchange.end, ("completed", 200))


class OwnClient(HTTPClient):
    """A client that a host has made for its own purposes."""


class HttpClientTests(ChainTestCase):
    """A subclass of treq's `HTTPClient`, which is used as it is."""

    def start(self, providers: dict[str, Any] | None = None, **settings: Any) -> None:
        self.pool = HTTPConnectionPool(self.network)
        client = OwnClient(Agent(self.network, pool=self.pool))
        super().start(providers, agent=client, **settings)

    def stop(self) -> None:
        self.pool.closeCachedConnections()
        super().stop()

    def test_unpacked(self) -> None:
        """What treq has unpacked reaches the client whole, with its right length, and is recorded."""
        plain = b'{"id":"msg_1","type":"message","content":[],"usage":{"input_tokens":3,"output_tokens":4}}'
        packed = gzip.compress(plain)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Content-Length": str(len(packed))}
        self.provider.say(RawReply(headers=headers, chunks=[packed]))
        answer = self.answer(MESSAGES)
        self.assertEqual((bytes(answer.body), answer.whole, answer.header("content-encoding")), (plain, True, None))
        self.assertEqual(self.exchange.usages[0].output_tokens, 4)


class PassthroughTests(ChainTestCase):
    """Clients that leave a passed-through request."""

    def test_client_leaves(self) -> None:
        """A client that leaves is no error of the provider's, whatever a host's agent makes of being cancelled."""

        class Failing:
            """Fails with an error of its own when it is cancelled."""

            def request(self, *arguments: Any) -> "Deferred[Any]":
                return Deferred(lambda sent: sent.errback(RuntimeError("closed")))

        for agent in (None, Failing()):
            self.start(agent=agent)
            self.provider.say(RawReply(status=None, ending=Ending.STALL))
            client = self.connect()
            client.send("GET", "/anthropic/v1/models")
            self.network.wait(0.1)
            client.leave()
            self.network.settle()
            labels = {"provider": "anthropic", "status": "502"}
            self.assertIsNone(self.bridge.metrics.registry.get_sample_value("refusals_total", labels))
            self.assertEqual(self.bridge.in_flight, 0)


class FaultyReaderTests(ChainTestCase):
    """A reader that raises, which is a fault of the gateway's own."""

    def test_at_the_end_of_a_body(self) -> None:
        """The client gets 500, the row says that the gateway failed, and nothing stays under way."""
        self.patch(MessagesReader, "read_body", lambda *arguments: {}["missing"])
        answer = self.answer(MESSAGES)
        self.assertEqual((answer.status, answer.whole), (500, True))
        self.assertEqual((self.exchange.end, self.exchange.ended.error), (("failed", 500), self.fault))
        self.assertEqual(self.bridge.in_flight, 0)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_in_a_stream(self) -> None:
        """The stream is broken off, and the row blames the gateway, not the provider."""
        self.patch(StreamTap, "feed", lambda *arguments: {}["missing"])
        answer = self.answer(MESSAGES, stream=True)
        self.assertFalse(answer.whole and answer.body.endswith(MESSAGES.last))
        self.assertEqual((self.exchange.end[0], self.exchange.ended.error), ("failed", self.fault))
        self.assertEqual(self.bridge.in_flight, 0)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    fault = "The gateway failed: KeyError; see its log."

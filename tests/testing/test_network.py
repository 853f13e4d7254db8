"""The network in memory, as a host's tests use it."""

from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aibridge import Actor, AnthropicProvider, RequestBridge
from aibridge.testing import (
    CannedServer,
    FakeProvider,
    MemoryNetwork,
    MemoryRecorder,
    MemoryTransport,
    Reply,
    quiet_site,
)


class ChainTests(SynchronousTestCase):
    """A host with a gateway, between treq and a fake provider."""

    def test_exchange(self) -> None:
        """A request goes from treq through the host's site to the provider, and the answer comes back, on the test's clock."""
        network = MemoryNetwork()
        fake = FakeProvider(clock=network, delay=0.5)
        network.serve(9000, quiet_site(fake, network))
        provider = AnthropicProvider(base_url="http://192.0.2.9:9000", api_key="k")
        recorder = MemoryRecorder()
        bridge = RequestBridge([provider], recorder, lambda request: Actor("alice"), reactor=network)
        root = Resource()
        root.putChild(b"ai", bridge)
        network.serve(8080, quiet_site(root, network))
        fake.say(Reply(text="pong"))
        asked = network.client().post(
            "http://192.0.2.1:8080/ai/anthropic/v1/messages",
            json={"model": "m", "stream": True, "messages": [{"role": "user", "content": "ping"}]},
        )
        network.settle()
        response = self.successResultOf(asked)
        text = response.text()
        network.wait(1)
        self.assertNoResult(text)
        network.wait(10)
        self.assertEqual(response.code, 200)
        self.assertIn('"pong"', self.successResultOf(text))
        self.assertEqual([each.initiator_id for each in recorder.interceptions.values()], ["alice"])
        stopped = bridge.stopService()
        network.settle()
        self.successResultOf(stopped)


class Recorded(Protocol):
    """A protocol that keeps what it receives."""

    def __init__(self) -> None:
        self.data = b""
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


@implementer(IPushProducer)
class Producer:
    """A producer that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class NetworkTests(SynchronousTestCase):
    """Connections behave as sockets do."""

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.network.serve(80, Factory.forProtocol(Recorded))

    def connect(self) -> tuple[MemoryTransport, MemoryTransport]:
        """The client's side and the server's side of a new connection."""
        self.network.connect(80, Recorded())
        return self.network.connections[-1]

    def test_delivery(self) -> None:
        """What is written arrives in the next turn, in one piece, and not within the call."""
        client, server = self.connect()
        verifyObject(ITransport, client)
        client.write(b"a")
        client.writeSequence([b"b", b"c"])
        self.assertEqual(server.protocol.data, b"")
        self.network.settle()
        self.assertEqual((server.protocol.data, server.delivered), (b"abc", 3))

    def test_backpressure(self) -> None:
        """A side that does not read pauses the other side's producer at 64 KiB, and resumes it when it reads again."""
        client, server = self.connect()
        producer = Producer()
        client.registerProducer(producer, True)
        server.pauseProducing()
        client.write(b"x" * 65536)
        self.network.settle()
        self.assertEqual((server.delivered, producer.calls), (0, []))
        client.write(b"x")
        self.assertEqual(producer.calls, ["pause"])
        server.resumeProducing()
        self.network.settle()
        self.assertEqual((server.delivered, producer.calls), (65537, ["pause", "resume"]))

    def test_close(self) -> None:
        """An orderly close delivers what was written before, and nothing that is written after."""
        client, server = self.connect()
        client.write(b"last")
        client.loseConnection()
        client.write(b"more")
        self.network.settle()
        self.assertEqual(server.protocol.data, b"last")
        for side in (client, server):
            side.protocol.reason.trap(error.ConnectionDone)

    def test_abort(self) -> None:
        """An abort loses what was written, stops the other side's producer, and is noticed only in the next turn."""
        client, server = self.connect()
        producer = Producer()
        server.registerProducer(producer, True)
        client.abortConnection()
        client.write(b"lost")
        self.assertIsNone(client.protocol.reason)
        self.network.settle()
        self.assertEqual(server.protocol.data, b"")
        client.protocol.reason.trap(error.ConnectionAborted)
        server.protocol.reason.trap(error.ConnectionLost)
        self.assertEqual(producer.calls, ["stop"])

    def test_refused(self) -> None:
        """A port without a server refuses connections, one that was closed too."""
        self.network.close_port(80)
        asked = self.network.client().get("http://192.0.2.1/")
        self.network.wait(1)
        self.failureResultOf(asked, error.ConnectionRefusedError)
        self.assertEqual((self.network.attempts, self.network.connections), (1, []))

    def test_unreachable(self) -> None:
        """On an unreachable network connections are neither made nor refused."""
        self.network.unreachable = True
        asked = self.network.client().get("http://192.0.2.1/")
        self.network.wait(100)
        self.assertNoResult(asked)
        self.assertEqual((self.network.attempts, self.network.connections), (1, []))

    def test_canned_server(self) -> None:
        """A canned server answers anything with its bytes, and may then drop the connection."""
        for closes in (False, True):
            self.network.serve(80, CannedServer(b"hello", closes=closes))
            client, _ = self.connect()
            client.write(b"?")
            self.network.settle()
            self.assertEqual((client.protocol.data, client.protocol.reason is not None), (b"hello", closes))

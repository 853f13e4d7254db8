"""A network in memory, for tests of a whole chain without sockets: a client, a host with its gateway, a provider.

The test sets the time, and sees every connection. It is a reactor, which each part of the chain is given::

    network = MemoryNetwork()
    network.serve(9000, quiet_site(FakeProvider(clock=network), network))
    provider = AnthropicProvider(base_url="http://192.0.2.9:9000", api_key="k")
    bridge = RequestBridge([provider], MemoryRecorder(), reactor=network)
    network.serve(8080, quiet_site(bridge, network))

    response = network.client().post("http://192.0.2.1:8080/anthropic/v1/messages", json={...})
    network.settle()  # until nothing more happens without time; network.wait(3) lets three seconds pass
    assert self.successResultOf(response).code == 200
"""

from collections.abc import Callable, Iterable
from typing import Any

from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.web.client import Agent
from zope.interface import implementer

from ..http.client_request import BytesProducer

SEND_BUFFER = 64 * 1024
"""Bytes that one side may write ahead of the other side's reading before its producer is paused."""


@implementer(ITransport, IConsumer, IPushProducer)
class MemoryTransport:
    """A side of a connection. Written data wait in `buffer` until the other side, `peer`, reads."""

    peer: "MemoryTransport"
    disconnecting = False

    def __init__(self, network: "MemoryNetwork", protocol: Any, port: int) -> None:
        self.protocol = protocol
        self.buffer = bytearray()
        self.delivered = 0
        """The number of bytes that the protocol has received."""
        self._network = network
        self._port = port
        self._reading = True
        self._producer: Any = None
        self._producer_paused = False
        self._scheduled = False
        self._closed = False

    def write(self, data: bytes) -> None:
        if self._closed or self.disconnecting:
            return
        self.buffer += data
        if self._producer and len(self.buffer) > SEND_BUFFER:
            self._producer_paused = True
            self._producer.pauseProducing()
        self._schedule()

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None
        self._schedule()

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True
        self.peer._schedule()

    def loseConnection(self) -> None:
        """Close once everything in the buffer is delivered."""
        self.disconnecting = True
        self._schedule()

    stopProducing = loseConnection

    def abortConnection(self) -> None:
        """Close without delivering the buffer. As with sockets, the protocols are notified later, not in this call."""
        self._network.call_soon(self._close, error.ConnectionAborted(), error.ConnectionLost())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """No effect: nothing is ever delayed here."""

    setTcpKeepAlive = setTcpNoDelay

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 49152)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", self._port)

    def _schedule(self) -> None:
        """Deliver the buffer in the next turn, in one piece."""
        if not self._scheduled:
            self._scheduled = True
            self._network.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        if self.buffer and self.peer._reading:
            data = bytes(self.buffer)
            self.buffer.clear()
            self.peer.delivered += len(data)
            self.peer.protocol.dataReceived(data)
            if self._producer_paused and self._producer:
                self._producer_paused = False
                self._producer.resumeProducing()
        if self.disconnecting and not self.buffer:
            self._close(error.ConnectionDone(), error.ConnectionDone())

    def _close(self, own_reason: Exception, peer_reason: Exception) -> None:
        for side, reason in ((self, own_reason), (self.peer, peer_reason)):
            if not side._closed:
                side._closed = True
                side.protocol.connectionLost(Failure(reason))
                if side._producer:
                    side._producer.stopProducing()


class MemoryNetwork(MemoryReactorClock):
    """A reactor and clock whose connections lead, at any IP address, to the factory that `serve` put on their port.

    Connections to any other port are refused.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connections: list[tuple[MemoryTransport, MemoryTransport]] = []
        """Every connection that was made: the client's side and the server's."""
        self.attempts = 0
        """The number of calls of ``connectTCP``."""
        self.unreachable = False
        """True: attempts to connect are neither accepted nor refused, and run into their timeout."""
        self._servers: dict[int, Any] = {}

    def serve(self, port: int, factory: Any) -> None:
        """Accept connections to a port with a protocol factory, such as a Site."""
        self._servers[port] = factory

    def close_port(self, port: int) -> None:
        """Refuse connections to a port again."""
        del self._servers[port]

    def connect(self, port: int, protocol: Protocol) -> Protocol:
        """Connect a client's protocol to a port, at once."""
        self._join(port, protocol, self._servers[port].buildProtocol(None))
        return protocol

    def client(self) -> HTTPClient:
        """Return a treq client on this network. Its URLs have IP addresses."""
        # treq's own producer of request bodies runs on the global reactor.
        return HTTPClient(Agent(self), data_to_body_producer=BytesProducer)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        connector = super().connectTCP(host, port, factory, timeout, bindAddress)  # type: ignore[no-untyped-call]
        self.attempts += 1
        if not self.unreachable:
            self.call_soon(self._answer_attempt, port, factory, connector)
        return connector

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call in the reactor's next turn."""
        self.callLater(0, call, *args)

    def settle(self) -> None:
        """Run until nothing more happens while no time passes."""
        while any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
            self.advance(0)

    def wait(self, seconds: float) -> None:
        """Let time pass, from one delayed call to the next."""
        end = self.seconds() + seconds
        self.settle()
        while self.seconds() < end:
            soonest = min((call.getTime() for call in self.getDelayedCalls()), default=end)
            self.advance(min(soonest, end) - self.seconds())
            self.settle()

    def _answer_attempt(self, port: int, factory: Any, connector: Any) -> None:
        if connector.stoppedConnecting:
            return
        if port not in self._servers:
            factory.clientConnectionFailed(connector, Failure(error.ConnectionRefusedError()))
            return
        address = IPv4Address("TCP", "192.0.2.9", port)
        self._join(port, factory.buildProtocol(address), self._servers[port].buildProtocol(address))

    def _join(self, port: int, client: Any, server: Any) -> None:
        client_side, server_side = MemoryTransport(self, client, port), MemoryTransport(self, server, port)
        client_side.peer, server_side.peer = server_side, client_side
        self.connections.append((client_side, server_side))
        server.makeConnection(server_side)
        client.makeConnection(client_side)


class CannedServer(Factory):
    """A server that answers anything it receives with the same bytes, if any, and may then drop the connection."""

    def __init__(self, response: bytes = b"", *, closes: bool = False) -> None:
        self._response = response
        self._closes = closes

    def buildProtocol(self, addr: object) -> Protocol:
        return _CannedProtocol(self._response, self._closes)


class _CannedProtocol(Protocol):
    transport: MemoryTransport

    def __init__(self, response: bytes, closes: bool) -> None:
        self._response = response
        self._closes = closes

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self._response)
        if self._closes:
            self.transport.abortConnection()

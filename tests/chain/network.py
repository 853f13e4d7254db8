"""A network in memory: connections, buffers, backpressure and time, all under the test's hand."""

from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

SEND_BUFFER = 64 * 1024


@implementer(ITransport, IConsumer, IPushProducer)
class End:
    """One end of a connection. What is written waits until the other end reads; a full buffer pauses the producer."""

    disconnecting = False

    def __init__(self, network: "MemoryNetwork", protocol: Any, port: int) -> None:
        self.protocol = protocol
        self.peer: End
        self.reading = True
        self.accepted = 0
        """How many bytes the protocol has been given."""
        self.buffer = bytearray()
        self._network = network
        self._port = port
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

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None
        self._schedule()

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True
        self.peer._schedule()

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._schedule()

    stopProducing = loseConnection

    def abortConnection(self) -> None:
        """As with sockets, the protocol hears of it later, and never within the call."""
        self._network.soon(self._close, error.ConnectionAborted(), error.ConnectionLost())

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._network.soon(self._move)

    def _move(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        if self.buffer and self.peer.reading:
            data = bytes(self.buffer)
            self.buffer.clear()
            self.peer.accepted += len(data)
            self.peer.protocol.dataReceived(data)
            if self._producer_paused and self._producer:
                self._producer_paused = False
                self._producer.resumeProducing()
        if self.disconnecting and not self.buffer:
            self._close(error.ConnectionDone(), error.ConnectionDone())

    def _close(self, mine: Exception, theirs: Exception) -> None:
        for end, reason in ((self, mine), (self.peer, theirs)):
            if not end._closed:
                end._closed = True
                end.protocol.connectionLost(Failure(reason))
                if end._producer:
                    end._producer.stopProducing()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is nothing to wait for here."""

    setTcpKeepAlive = setTcpNoDelay

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 49152)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", self._port)


class MemoryNetwork(MemoryReactorClock):
    """A reactor whose connections lead to the factories that `serve` was given; any other port refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: list[tuple[End, End]] = []
        """Every connection that was made: the client's end and the server's."""
        self.attempts = 0
        self.silent = False
        """Whether attempts to connect get no answer at all."""
        self._servers: dict[int, Any] = {}

    def serve(self, port: int, factory: Any) -> None:
        """Accepts connections on that port."""
        self._servers[port] = factory

    def close_port(self, port: int) -> None:
        """Refuses them again."""
        del self._servers[port]

    def connect(self, port: int, protocol: Protocol) -> Protocol:
        """Connects a protocol at once."""
        self._join(port, protocol, self._servers[port].buildProtocol(None))
        return protocol

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        connector = super().connectTCP(host, port, factory, timeout, bindAddress)
        self.attempts += 1
        if not self.silent:
            self.soon(self._answer, port, factory, connector)
        return connector

    def soon(self, call: Any, *args: Any) -> None:
        """In the next turn, as a reactor does it."""
        self.callLater(0, call, *args)

    def settle(self) -> None:
        """Lets everything happen that can while no time passes."""
        while any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
            self.advance(0)

    def wait(self, seconds: float) -> None:
        """Lets time pass, from one delayed call to the next."""
        end = self.seconds() + seconds
        self.settle()
        while self.seconds() < end:
            soonest = min((call.getTime() for call in self.getDelayedCalls()), default=end)
            self.advance(min(soonest, end) - self.seconds())
            self.settle()

    def _answer(self, port: int, factory: Any, connector: Any) -> None:
        if connector.stoppedConnecting:
            return
        if port not in self._servers:
            factory.clientConnectionFailed(connector, Failure(error.ConnectionRefusedError()))
            return
        address = IPv4Address("TCP", "192.0.2.9", port)
        self._join(port, factory.buildProtocol(address), self._servers[port].buildProtocol(address))

    def _join(self, port: int, client: Any, server: Any) -> None:
        ends = End(self, client, port), End(self, server, port)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        self.connections.append(ends)
        server.makeConnection(ends[1])
        client.makeConnection(ends[0])


class Silent(Factory):
    """Accepts connections and says nothing, or what it was given to say."""

    def __init__(self, says: bytes = b"", closes: bool = False) -> None:
        self.accepted: list[Protocol] = []
        self._says = says
        self._closes = closes

    def buildProtocol(self, addr: Any) -> Protocol:
        protocol = _Saying(self._says, self._closes)
        self.accepted.append(protocol)
        return protocol


class _Saying(Protocol):
    def __init__(self, says: bytes, closes: bool) -> None:
        self._says = says
        self._closes = closes

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self._says)
        if self._closes:
            self.transport.abortConnection()

"""A provider in memory: the bytes that it was sent, and the bytes that it sends."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from aibridge.http.agent import UpstreamAgent

URL = b"http://provider.test/v1/messages"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Wire(StringTransport):
    """A connection. As on a socket, the protocol is told of an abort on the reactor's next turn."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.aborted = False
        self.no_delay = False

    def setTcpNoDelay(self, enabled):
        self.no_delay = enabled

    def abortConnection(self):
        if not self.aborted and self.connected:
            self.aborted = True
            self.clock.callLater(0, self.lose, ConnectionAborted())

    def respond(self, data):
        """The provider sends this, in one read."""
        self.protocol.dataReceived(data)

    def flood(self, data, times):
        """The provider sends this again and again, as long as the connection is open."""
        for _ in range(times):
            if self.connected and not self.aborted:
                self.respond(data)

    def lose(self, reason=None):
        """End the connection; in order unless there is a reason."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def sent(self):
        """The bytes that the provider got since the last call."""
        data = self.value()
        self.clear()
        return data


class Memory:
    """An agent, its reactor, and the connections that it made."""

    def __init__(self, **options):
        self.reactor = MemoryReactorClock()
        self.agent = UpstreamAgent(self.reactor, **options)
        self.wires = []

    def accept(self):
        """Accept the latest connection."""
        factory = self.reactor.tcpClients[len(self.wires)][2]
        wire = Wire(self.reactor)
        wire.protocol = factory.buildProtocol(None)
        self.wires.append(wire)
        wire.protocol.makeConnection(wire)
        return wire

    def request(self, method=b"GET", uri=URL, headers=None, body=None):
        """Send a request on a new connection: the pending response and its wire."""
        pending = self.agent.request(method, uri, headers, body)
        return pending, self.accept()

    def turn(self):
        """Let the reactor turn once."""
        self.reactor.advance(0)


class Reader(Protocol):
    """Reads a body, and keeps the reason of its end."""

    def __init__(self, born_paused=False):
        self.data = b""
        self.reason = None
        self.born_paused = born_paused

    def connectionMade(self):
        if self.born_paused:
            self.transport.pauseProducing()

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        assert self.reason is None, "told twice"
        self.reason = reason


def read(response):
    """Read the body of a response."""
    reader = Reader()
    response.deliverBody(reader)
    return reader


@implementer(IBodyProducer)
class Slow:
    """A body that the test produces."""

    def __init__(self, length):
        self.length = length
        self.done = Deferred()

    def startProducing(self, consumer):
        self.consumer = consumer
        return self.done

    def pauseProducing(self):
        pass

    def resumeProducing(self):
        pass

    def stopProducing(self):
        pass

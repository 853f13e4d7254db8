"""A provider in memory: what it was sent, and what it says, byte by byte."""

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
    """One connection. As on a socket, an abort is told on the reactor's next turn."""

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

    def answer(self, data):
        """The provider says this, in one read."""
        self.protocol.dataReceived(data)

    def flood(self, data, times):
        """The provider says this again and again, as long as it is listened to."""
        for _ in range(times):
            if self.connected and not self.aborted:
                self.answer(data)

    def lose(self, reason=None):
        """The connection ends; in order unless there is a reason."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def sent(self):
        """What the provider got since it was looked at last."""
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
        """Let the latest connection come about."""
        factory = self.reactor.tcpClients[len(self.wires)][2]
        wire = Wire(self.reactor)
        wire.protocol = factory.buildProtocol(None)
        self.wires.append(wire)
        wire.protocol.makeConnection(wire)
        return wire

    def ask(self, method=b"GET", uri=URL, headers=None, body=None):
        """Ask on a new connection: the pending answer and its wire."""
        asked = self.agent.request(method, uri, headers, body)
        return asked, self.accept()

    def turn(self):
        """The reactor's next turn."""
        self.reactor.advance(0)


class Reader(Protocol):
    """Takes a body, and keeps how it ended."""

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
    """Let the body of a response flow."""
    reader = Reader()
    response.deliverBody(reader)
    return reader


@implementer(IBodyProducer)
class Slow:
    """A body that comes when the test wants it."""

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

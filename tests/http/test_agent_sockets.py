"""The same checks over sockets for the gateway's client and for Twisted's own: each can stand in for the other."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, readBody
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from aibridge.http.agent import UpstreamAgent
from aibridge.http.client_request import BytesProducer

from .memory import Reader


class Echo(Resource):
    """Responds with the request that it got, in two chunks or with a length."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.clients = set()

    def render(self, request):
        self.clients.add(request.getClientAddress().port)
        seen = b"%b %b %b" % (request.method, request.uri, request.content.read())
        request.setHeader(b"X-Seen", request.getHeader(b"x-mine") or b"-")
        if b"cut" in request.uri:
            request.setHeader(b"Content-Length", b"%d" % (len(seen) + 1))
            request.write(seen)
            request.transport.loseConnection()
            return NOT_DONE_YET
        if b"chunks" in request.uri:
            request.write(seen[:5])
            request.write(seen[5:])
            request.finish()
            return NOT_DONE_YET
        return seen


class Collecting(Reader):
    """Fires once the body is over."""

    def __init__(self):
        super().__init__()
        self.over = Deferred()

    def connectionLost(self, reason):
        super().connectionLost(reason)
        self.over.callback(self)


class ContractMixin:
    """The parts of an `IAgent` that the gateway needs."""

    def setUp(self):
        self.echo = Echo()
        self.site = Site(self.echo)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = b"http://127.0.0.1:%d/" % self.port.getHost().port
        self.agent = self.make_agent()

    @inlineCallbacks
    def collect(self, response):
        reader = Collecting()
        response.deliverBody(reader)
        yield reader.over
        return reader

    @inlineCallbacks
    def test_get(self):
        """Path, query and headers arrive, and so do status, headers and body."""
        response = yield self.agent.request(b"GET", self.url + b"a%2Fb?c=%20", Headers({b"X-Mine": [b"me"]}))
        self.assertEqual((response.code, response.phrase, response.version), (200, b"OK", (b"HTTP", 1, 1)))
        self.assertEqual(response.headers.getRawHeaders(b"x-seen"), [b"me"])
        reader = yield self.collect(response)
        self.assertEqual((reader.data, response.length), (b"GET /a%2Fb?c=%20 ", len(reader.data)))
        reader.reason.trap(ResponseDone)
        self.assertEqual(response.request.absoluteURI, self.url + b"a%2Fb?c=%20")

    @inlineCallbacks
    def test_post(self):
        """A body arrives whole, a large one too."""
        for body in (b"", b"{}", bytes(range(256)) * 4000):
            response = yield self.agent.request(b"POST", self.url, None, BytesProducer(body))
            self.assertEqual((yield readBody(response)), b"POST / " + body)

    @inlineCallbacks
    def test_chunks(self):
        """A chunked response is read to its end."""
        response = yield self.agent.request(b"GET", self.url + b"chunks")
        self.assertEqual(response.length, UNKNOWN_LENGTH)
        reader = yield self.collect(response)
        self.assertEqual(reader.data, b"GET /chunks ")
        reader.reason.trap(ResponseDone)

    @inlineCallbacks
    def test_reuse(self):
        """Requests that follow each other share a connection."""
        for method in (b"GET", b"HEAD", b"POST", b"GET"):
            response = yield self.agent.request(method, self.url)
            yield readBody(response)
        self.assertEqual(len(self.echo.clients), 1)

    @inlineCallbacks
    def test_cut(self):
        """A response that is cut short ends neither with `ResponseDone` nor with `PotentialDataLoss`."""
        response = yield self.agent.request(b"GET", self.url + b"cut")
        reader = yield self.collect(response)
        self.assertEqual(reader.data, b"GET /cut ")
        self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))

    @inlineCallbacks
    def test_stop(self):
        """A reader that stops is not told `ResponseDone`."""
        response = yield self.agent.request(b"GET", self.url + b"cut")
        reader = Collecting()
        response.deliverBody(reader)
        reader.transport.stopProducing()
        yield reader.over
        self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))

    @inlineCallbacks
    def test_invalid(self):
        """A URI that would add a line to the head is a ValueError."""
        try:
            yield self.agent.request(b"GET", self.url + b"x\r\nEvil: 1")
        except ValueError:
            return
        self.fail("was sent")


class UpstreamAgentContractTests(ContractMixin, TestCase):
    """The gateway's own."""

    def make_agent(self):
        agent = UpstreamAgent(reactor)
        self.addCleanup(agent.close)
        return agent

    @inlineCallbacks
    def test_called_directly(self):
        """The socket calls the connection itself: a wrapper would cost a call for each event."""
        response = yield self.agent.request(b"GET", self.url)
        yield readBody(response)
        (connection,) = self.agent._pool._open
        self.assertIs(connection.transport.protocol, connection)


class TwistedAgentContractTests(ContractMixin, TestCase):
    """Twisted's."""

    def make_agent(self):
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        return Agent(reactor, pool=pool)


class Flood(Protocol):
    """Responds with far more than kernels buffer, and counts the bytes that were taken."""

    PIECE = b"x" * 65536
    PIECES = 400

    def connectionMade(self):
        self.written = 0
        self.factory.connected.append(self)

    def dataReceived(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(self.PIECE) * self.PIECES))
        self.transport.registerProducer(self, False)

    def resumeProducing(self):
        self.written += 1
        self.transport.write(self.PIECE)
        if self.written == self.PIECES:
            self.transport.unregisterProducer()

    def stopProducing(self):
        pass

    def connectionLost(self, reason):
        self.factory.lost.callback(None)


class Stalling(Collecting):
    """Stops reading at its first piece."""

    def connectionMade(self):
        self.taken = 0

    def dataReceived(self, data):
        if not self.taken:
            self.transport.pauseProducing()
        self.taken += len(data)


class BackpressureTests(TestCase):
    """A reader that doesn't read slows the provider, not the heap."""

    def setUp(self):
        factory = self.factory = Factory.forProtocol(Flood)
        factory.connected, factory.lost = [], Deferred()
        self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.agent = UpstreamAgent(reactor)
        self.addCleanup(self.agent.close)

    def request(self):
        return self.agent.request(b"GET", b"http://127.0.0.1:%d/" % self.port.getHost().port)

    @inlineCallbacks
    def settled(self):
        """Fires when the provider can write no more: its kernel, and ours, are full."""
        before = -1
        while self.factory.connected[0].written > before:
            before = self.factory.connected[0].written
            for _ in range(20):
                turn = Deferred()
                reactor.callLater(0, turn.callback, None)
                yield turn
        return before

    @inlineCallbacks
    def test_nobody_reads(self):
        """Of a body of 26 MB without a reader the gateway takes one read; all of it arrives once there is one."""
        response = yield self.request()
        written = yield self.settled()
        self.assertLess(written, Flood.PIECES)
        self.assertLess(sum(map(len, response._body._held)), 2 * 65536)
        reader = Stalling()
        response.deliverBody(reader)
        yield self.settled()
        self.assertLess(reader.taken, 4 * 65536)
        self.assertLess(self.factory.connected[0].written, Flood.PIECES)
        reader.transport.resumeProducing()
        yield reader.over
        self.assertEqual(reader.taken, len(Flood.PIECE) * Flood.PIECES)
        reader.reason.trap(ResponseDone)
        self.assertEqual((self.agent.idle, self.agent.active), (1, 0))
        self.agent.close()
        yield self.factory.lost

    @inlineCallbacks
    def test_stop_while_paused(self):
        """A paused reader that stops ends the provider's connection at once."""
        response = yield self.request()
        reader = Stalling()
        response.deliverBody(reader)
        yield self.settled()
        reader.transport.stopProducing()
        yield reader.over
        yield self.factory.lost
        self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))
        self.assertEqual(self.agent.active, 0)

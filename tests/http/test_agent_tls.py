"""The gateway's HTTP client over TLS, with an authority made for the test."""

from pathlib import Path

from OpenSSL.SSL import TLS_SERVER_METHOD
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS, ResponseDone, readBody
from twisted.web.http import PotentialDataLoss
from twisted.web.server import Site

from aibridge.errors import NotConnected, UpstreamRefused, UpstreamTimeout
from aibridge.http.agent import UpstreamAgent
from aibridge.http.client_request import BytesProducer
from aibridge.http.tls import TLSPolicy

from .certificates import make_certificate
from .memory import OK
from .test_agent_sockets import Collecting, Echo, Flood, Stalling


class Mute(Protocol):
    """Accepts, and never says a word."""

    def connectionLost(self, reason):
        self.factory.lost.callback(None)


class TLSTests(TestCase):
    """Providers are called over TLS, and only those that are who they should be."""

    def listen(self, factory, address="127.0.0.1"):
        pem = make_certificate(address)
        own = ssl.PrivateCertificate.loadPEM(pem)
        options = own.options()
        options.method = TLS_SERVER_METHOD
        port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return b"https://127.0.0.1:%d/x" % port.getHost().port, ssl.trustRootFromCertificates([own])

    def agent(self, trust_root=None, **options):
        policy = BrowserLikePolicyForHTTPS(trust_root) if trust_root else None
        agent = UpstreamAgent(reactor, tls_policy=policy, **options)
        self.addCleanup(agent.close)
        return agent

    @inlineCallbacks
    def test_trusted(self):
        """Calls arrive, one after another on one connection."""
        echo = Echo()
        url, root = self.listen(Site(echo))
        agent = self.agent(root)
        for body in (b"{}", b"x" * 200_000):
            response = yield agent.request(b"POST", url, None, BytesProducer(body))
            self.assertEqual((yield readBody(response)), b"POST /x " + body)
        self.assertEqual((len(echo.clients), agent.idle, agent.active), (1, 1, 0))
        (connection,) = agent._pool._open  # and TLS calls it without a wrapper in between
        self.assertIs(connection.transport.wrappedProtocol, connection)

    @inlineCallbacks
    def test_unknown_authority(self):
        """A certificate that nobody vouches for is refused, in words; no request is sent."""
        echo = Echo()
        url, _ = self.listen(Site(echo))
        error = yield self.assertFailure(self.agent().request(b"GET", url + b"?secret"), NotConnected)
        self.assertNotIsInstance(error, UpstreamRefused)
        self.assertRegex(error.message, r"^127\.0\.0\.1:\d+: TLS failed: certificate verify failed$")
        self.assertEqual(echo.clients, set())

    @inlineCallbacks
    def test_other_host(self):
        """So is one that is another host's."""
        url, root = self.listen(Site(Echo()), address="127.0.0.2")
        error = yield self.assertFailure(self.agent(root).request(b"GET", url), NotConnected)
        self.assertRegex(error.message, r"^\S+: TLS failed: the certificate is not for this host$")

    @inlineCallbacks
    def test_names(self):
        """With an authority of its own, a certificate must be for the host all the same; one without a name is not."""
        for host, is_named, is_accepted in (
            ("127.0.0.1", True, True),
            ("127.0.0.2", True, False),
            ("localhost", True, False),
            ("127.0.0.1", False, False),
        ):
            pem = make_certificate(host, is_named)
            ca_file = self.mktemp()
            Path(ca_file).write_bytes(pem)
            options = ssl.PrivateCertificate.loadPEM(pem).options()
            options.method = TLS_SERVER_METHOD
            port = reactor.listenSSL(0, Site(Echo()), options, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            agent = UpstreamAgent(reactor, tls_policy=TLSPolicy(ca_file))
            self.addCleanup(agent.close)
            asked = agent.request(b"GET", b"https://127.0.0.1:%d/x" % port.getHost().port)
            if is_accepted:
                yield readBody((yield asked))
            else:
                error = yield self.assertFailure(asked, NotConnected)
                self.assertRegex(error.message, r"^\S+: TLS failed: the certificate is not for this host$")

    @inlineCallbacks
    def test_no_tls_there(self):
        """A provider that speaks plain HTTP where TLS is due is a failure of TLS."""
        port = reactor.listenTCP(0, Factory.forProtocol(Plain), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        pending = self.agent().request(b"GET", b"https://127.0.0.1:%d/" % port.getHost().port)
        error = yield self.assertFailure(pending, NotConnected)
        self.assertRegex(error.message, r"^\S+: TLS failed: wrong version number$")

    @inlineCallbacks
    def test_handshake_counts_as_connecting(self):
        """A provider that accepts and then keeps silent is a time-out of the connection."""
        factory = Factory.forProtocol(Mute)
        factory.lost = Deferred()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        agent = self.agent(connect_timeout=0.05)
        pending = agent.request(b"GET", b"https://127.0.0.1:%d/" % port.getHost().port)
        yield self.assertFailure(pending, UpstreamTimeout)
        yield factory.lost
        self.assertEqual(agent.active, 0)

    @inlineCallbacks
    def test_stop_while_paused(self):
        """A reader that stops reading, and then stops for good, ends the provider's connection at once."""
        factory = Factory.forProtocol(Flood)
        factory.connected, factory.lost = [], Deferred()
        url, root = self.listen(factory)
        response = yield self.agent(root).request(b"GET", url)
        reader = Stalling()
        response.deliverBody(reader)
        reader.transport.stopProducing()
        yield reader.over
        yield factory.lost
        self.assertLess(factory.connected[0].written, Flood.PIECES)

    @inlineCallbacks
    def test_paused_and_resumed(self):
        """A body larger than all buffers arrives whole after a pause."""
        factory = Factory.forProtocol(Flood)
        factory.connected, factory.lost = [], Deferred()
        url, root = self.listen(factory)
        agent = self.agent(root)
        response = yield agent.request(b"GET", url)
        reader = Stalling()
        response.deliverBody(reader)
        for _ in range(50):
            turn = Deferred()
            reactor.callLater(0, turn.callback, None)
            yield turn
        self.assertLess(reader.taken, 4 * 65536)
        reader.transport.resumeProducing()
        yield reader.over
        self.assertEqual(reader.taken, len(Flood.PIECE) * Flood.PIECES)
        reader.reason.trap(ResponseDone)
        agent.close()
        yield factory.lost

    @inlineCallbacks
    def test_cut(self):
        """An answer that only the connection's end could end, cut without TLS's own farewell, is broken off."""
        url, root = self.listen(Factory.forProtocol(Cutting))
        response = yield self.agent(root).request(b"GET", url)
        reader = Collecting()
        response.deliverBody(reader)
        yield reader.over
        self.assertEqual(reader.data, b"some")
        self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))


class Plain(Protocol):
    """Takes anything for a request."""

    def dataReceived(self, data):
        self.transport.write(OK)


class Cutting(Protocol):
    """Begins an answer, and is gone."""

    def dataReceived(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
        reactor.callLater(0.02, self.transport.transport.loseConnection)

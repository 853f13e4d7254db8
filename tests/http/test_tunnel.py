"""Requests through a proxy: read by it, or through a tunnel that it opens."""

from pathlib import Path

from OpenSSL.SSL import TLS_SERVER_METHOD
from twisted.internet import error, reactor, ssl
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import readBody
from twisted.web.server import Site

from aibridge.errors import UpstreamFailed, UpstreamRefused, UpstreamTimeout
from aibridge.http.agent import UpstreamAgent
from aibridge.http.client_request import BytesProducer
from aibridge.http.tls import TLSPolicy

from .certificates import make_certificate
from .memory import OK, Memory, read
from .test_agent_sockets import Echo

PROXY = "http://user:hunter2@proxy.test:3128"
CREDENTIALS = b"Basic dXNlcjpodW50ZXIy"
PLAIN = b"http://api.test/v1?a=b"
TLS = b"https://api.test/v1?a=b"


class ReadingProxyTests(SynchronousTestCase):
    """Plain HTTP: the proxy reads the request."""

    def test_request(self):
        """The request goes to the proxy, with its whole URI and the proxy's credentials; its connection is kept."""
        memory = Memory(proxy=PROXY)
        for body in (b"{}", b"[]"):
            pending = memory.agent.request(b"POST", PLAIN, None, BytesProducer(body))
            wire = memory.wires[0] if memory.wires else memory.accept()
            self.assertEqual(
                wire.sent(),
                b"POST http://api.test/v1?a=b HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n"
                b"Proxy-Authorization: %b\r\n\r\n%b" % (CREDENTIALS, body),
            )
            wire.respond(OK)
            self.assertEqual(read(self.successResultOf(pending)).data, b"hi")
        self.assertEqual([attempt[1] for attempt in memory.reactor.tcpClients], [3128])

    def test_environment(self):
        """The environment's variables are read as the rule says; each origin has its own way."""
        memory = Memory(environ={"http_proxy": "proxy.test:3128", "no_proxy": "direct.test"})
        _, wire = memory.request(uri=PLAIN)
        self.assertEqual(wire.sent(), b"GET http://api.test/v1?a=b HTTP/1.1\r\nHost: api.test\r\n\r\n")
        _, wire = memory.request(uri=b"http://direct.test/x")
        self.assertEqual(wire.sent(), b"GET /x HTTP/1.1\r\nHost: direct.test\r\n\r\n")
        self.assertEqual([attempt[1] for attempt in memory.reactor.tcpClients], [3128, 80])

    def test_credentials_wanted(self):
        """The proxy's 407 is an error that names the proxy, and no response of the provider's."""
        memory = Memory(proxy=PROXY)
        pending, wire = memory.request(uri=PLAIN)
        wire.respond(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
        message = self.failureResultOf(pending, UpstreamFailed).value.message
        self.assertEqual(
            message,
            "api.test: the proxy proxy.test:3128 refused the connection with status 407 "
            "(its user or password is missing or wrong)",
        )
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active), (False, 0))

    def test_other_statuses(self):
        """Every other status may be the provider's own, and is a response."""
        pending, wire = Memory(proxy=PROXY).request(uri=PLAIN)
        wire.respond(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(pending).code, 503)

    def test_no_407_without_a_proxy(self):
        """Without a proxy a 407 is the provider's own."""
        pending, wire = Memory().request(uri=PLAIN)
        wire.respond(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(pending).code, 407)

    def test_unusable(self):
        """A variable that can't be used fails requests that need it, before anything is sent, and no other."""
        memory = Memory(environ={"all_proxy": "socks5://user:hunter2@h"})
        for uri in (PLAIN, TLS):
            message = self.failureResultOf(memory.agent.request(b"GET", uri), UpstreamFailed).value.message
            self.assertIn("api.test: the proxy can't be used: ALL_PROXY in the environment must be", message)
            self.assertNotIn("hunter2", message)
        self.assertEqual(memory.reactor.tcpClients, [])
        self.assertTrue(memory.request(uri=b"http://127.0.0.1:8080/")[1].sent())


class TunnelTests(SynchronousTestCase):
    """TLS: the proxy is asked for a tunnel, and gets no more to see than the server's name."""

    def connect(self, uri=TLS, **options):
        memory = Memory(**{"proxy": PROXY} | options)
        pending, wire = memory.request(uri=uri)
        return memory, pending, wire

    def refusal(self, response, kind=UpstreamFailed):
        """The message of the error for this response of the proxy's."""
        memory, pending, wire = self.connect()
        wire.respond(response)
        error = self.failureResultOf(pending, kind).value
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active, memory.reactor.getDelayedCalls()), (False, 0, []))
        return error

    def test_opening(self):
        """CONNECT comes first, with the credentials; TLS begins when the proxy consents."""
        _, pending, wire = self.connect()
        self.assertEqual(
            wire.sent(),
            b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Authorization: %b\r\n\r\n" % CREDENTIALS,
        )
        wire.respond(b"HTTP/1.1 200 Connection est")
        self.assertEqual(wire.sent(), b"")
        wire.respond(b"ablished\r\nVia: 1.1 proxy\r\n\r\n")
        self.assertEqual(wire.sent()[:2], b"\x16\x03")  # a record with a ClientHello
        self.assertNoResult(pending)

    def test_address(self):
        """An IPv6 address has brackets, and a proxy without a user gets no credentials."""
        _, _, wire = self.connect(b"https://[fd00::1]:8443/", proxy="proxy.test:3128")
        self.assertEqual(wire.sent(), b"CONNECT [fd00::1]:8443 HTTP/1.1\r\nHost: [fd00::1]:8443\r\n\r\n")

    def test_refusals(self):
        """A refusal is told with the proxy and its status, never with its credentials."""
        for code in (400, 403, 404, 407, 429):
            error = self.refusal(b"HTTP/1.1 %d No\r\nContent-Length: 6\r\n\r\nsorry " % code)
            self.assertNotIsInstance(error, UpstreamRefused)
            self.assertTrue(
                error.message.startswith(
                    f"api.test: the proxy proxy.test:3128 refused the connection with status {code}"
                )
            )
            self.assertNotIn("hunter2", error.message)
        self.assertTrue(
            self.refusal(b"HTTP/1.1 407 No\r\n\r\n").message.endswith("(its user or password is missing or wrong)")
        )

    def test_unreachable_behind_it(self):
        """Where the proxy can't reach the server, the server has not begun: another try is safe."""
        for code in (502, 503, 504):
            self.refusal(b"HTTP/1.0 %d No\r\n\r\n" % code, UpstreamRefused)

    def test_no_proxy_there(self):
        """What speaks no HTTP is no proxy."""
        self.assertEqual(
            self.refusal(b"SSH-2.0-x\r\n").message, "api.test: the proxy proxy.test:3128 does not speak HTTP"
        )

    def test_lost(self):
        """A proxy that closes the connection before it consents is a refusal."""
        memory, pending, wire = self.connect()
        wire.lose()
        message = self.failureResultOf(pending, UpstreamRefused).value.message
        self.assertEqual(message, "api.test: the proxy proxy.test:3128 closed the connection")
        self.assertEqual((memory.agent.active, memory.reactor.getDelayedCalls()), (0, []))

    def test_unreachable(self):
        """A proxy that can't be reached is named."""
        for reason, words in (
            (error.ConnectionRefusedError(), " refused the connection"),
            (error.DNSLookupError(), ": host not found"),
        ):
            memory = Memory(proxy=PROXY)
            pending = memory.agent.request(b"GET", TLS)
            memory.reactor.tcpClients[0][2].clientConnectionFailed(None, Failure(reason))
            memory.reactor.advance(0.3)
            message = self.failureResultOf(pending, UpstreamRefused).value.message
            self.assertEqual(message, f"api.test: the proxy proxy.test:3128{words}")

    def test_silent(self):
        """The time for a connection includes the proxy's answer; giving up closes the connection."""
        memory, pending, wire = self.connect(connect_timeout=7)
        memory.reactor.advance(7)
        self.failureResultOf(pending, UpstreamTimeout)
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active, memory.reactor.getDelayedCalls()), (False, 0, []))


class ScriptedProxy(Protocol):
    """Opens tunnels, all to one port of this machine, for those who have the password."""

    outgoing = None
    head = b""

    def connectionMade(self):
        self.factory.open += 1

    def connectionLost(self, reason):
        self.factory.open -= 1
        if self.outgoing is not None:
            self.outgoing.transport.loseConnection()

    def dataReceived(self, data):
        if self.outgoing is not None:
            self.outgoing.transport.write(data)
            return
        self.head += data
        if not self.head.endswith(b"\r\n\r\n"):
            return
        self.factory.heads.append(self.head)
        if CREDENTIALS not in self.head:
            self.transport.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        self.outgoing = Outgoing()
        self.outgoing.proxy = self
        connected = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.factory.target), self.outgoing)
        connected.addCallback(lambda _: self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))


class Outgoing(Protocol):
    """The proxy's connection to the server."""

    def dataReceived(self, data):
        self.proxy.transport.write(data)

    def connectionLost(self, reason):
        self.proxy.transport.loseConnection()


class SocketTests(TestCase):
    """A provider behind a proxy and TLS, over sockets."""

    timeout = 20

    def listen(self, client_authority=None):
        """A provider called api.test, and the proxy that leads to it; the path of the provider's certificate."""
        pem = make_certificate("api.test")
        path = Path(self.mktemp())
        path.write_bytes(pem)
        options = ssl.PrivateCertificate.loadPEM(pem).options(*([client_authority] if client_authority else []))
        options.method = TLS_SERVER_METHOD
        self.echo = Echo()
        provider = reactor.listenSSL(0, Site(self.echo), options, interface="127.0.0.1")
        self.addCleanup(provider.stopListening)
        self.proxy = Factory.forProtocol(ScriptedProxy)
        self.proxy.target, self.proxy.open, self.proxy.heads = provider.getHost().port, 0, []
        port = reactor.listenTCP(0, self.proxy, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.address = f"127.0.0.1:{port.getHost().port}"
        return str(path)

    def agent(self, *tls, user="user:hunter2@"):
        agent = UpstreamAgent(reactor, tls_policy=TLSPolicy(*tls), proxy=f"http://{user}{self.address}")
        self.addCleanup(agent.close)
        return agent

    @inlineCallbacks
    def test_through(self):
        """Requests go through one tunnel, one after another; the proxy sees the server's name alone."""
        agent = self.agent(self.listen())
        for body in (b"{}", b"x" * 200_000):
            response = yield agent.request(b"POST", TLS, None, BytesProducer(body))
            self.assertEqual((yield readBody(response)), b"POST /v1?a=b " + body)
        self.assertEqual((len(self.proxy.heads), self.proxy.open, agent.idle, agent.active), (1, 1, 1, 0))
        self.assertTrue(self.proxy.heads[0].startswith(b"CONNECT api.test:443 HTTP/1.1\r\n"))

    @inlineCallbacks
    def test_wrong_password(self):
        """Without the password there is no tunnel."""
        self.listen()
        error = yield self.assertFailure(self.agent(user="").request(b"GET", TLS), UpstreamFailed)
        self.assertIn(f"the proxy {self.address} refused the connection with status 407", error.message)
        self.assertEqual(self.echo.clients, set())

    @inlineCallbacks
    def test_other_authority(self):
        """The certificate is checked behind a proxy too."""
        self.listen()
        error = yield self.assertFailure(self.agent().request(b"GET", TLS), UpstreamFailed)
        self.assertEqual(error.message, "api.test: TLS failed: certificate verify failed")

    @inlineCallbacks
    def test_client_certificate(self):
        """A provider that demands a certificate gets the configured one, and refuses those who have none."""
        own = Path(self.mktemp())
        own.write_bytes(make_certificate("gateway.test"))
        authority = ssl.Certificate.loadPEM(own.read_bytes())
        ca_file = self.listen(client_authority=authority)
        response = yield self.agent(ca_file, str(own)).request(b"GET", TLS)
        self.assertEqual((yield readBody(response)), b"GET /v1?a=b ")
        yield self.assertFailure(self.agent(ca_file).request(b"GET", TLS), UpstreamFailed)


class TLSFileTests(SynchronousTestCase):
    """The files of a TLS policy."""

    def test_several(self):
        """Several authorities are trusted; certificates behind the first are shown along with it."""
        path = Path(self.mktemp())
        path.write_bytes(make_certificate("a.test") + make_certificate("b.test").partition(b"KEY-----\n")[2])
        policy = TLSPolicy(str(path), str(path))
        self.assertTrue(policy.creatorForNetloc(b"api.test", 443))
        self.assertEqual(len(policy._chain), 1)

    def test_no_key(self):
        """A client's certificate without its key is refused in words."""
        path = Path(self.mktemp())
        path.write_bytes(make_certificate("a.test").partition(b"END PRIVATE KEY-----\n")[2])
        self.assertRaises(ValueError, TLSPolicy, None, str(path))
        TLSPolicy(str(path))

"""The connections that the gateway's HTTP client keeps, and the requests that it sends again."""

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone

from aibridge.errors import UpstreamFailed, UpstreamRefused
from aibridge.http.client_request import BytesProducer

from .memory import OK, URL, Memory, Slow, read


class ReuseTests(SynchronousTestCase):
    """Connections are kept."""

    def setUp(self):
        self.memory = Memory(idle_seconds=60)

    def again(self, **request):
        return self.memory.agent.request(b"GET", URL, **request)

    def test_reuse(self):
        """A second request goes out on the first one's connection, also from within the first one's end."""
        pending, wire = self.memory.request()
        second = []
        pending.addCallback(lambda _: second.append(self.again()))
        wire.respond(OK)
        self.assertEqual(wire.sent().count(b"GET"), 2)
        wire.respond(OK)
        self.assertEqual(self.successResultOf(second[0]).code, 200)
        self.assertEqual((len(self.memory.reactor.tcpClients), self.memory.agent.idle), (1, 1))

    def test_reuse_after_answers_without_a_body(self):
        """204, 304, HEAD and informational responses leave the connection in step."""
        answers = (
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
            (b"GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, 200),
        )
        wire = None
        for method, answer, code in answers:
            pending = self.memory.agent.request(method, URL)
            wire = wire or self.memory.accept()
            wire.respond(answer)
            response = self.successResultOf(pending)
            self.assertEqual(response.code, code)
            self.assertFalse(response.headers.hasHeader(b"Link"))
            body = read(response)
            self.assertEqual((body.data, response.length), (b"hi", 2) if answer.endswith(OK) else (b"", 0))
            body.reason.trap(ResponseDone)
        self.assertEqual(len(self.memory.reactor.tcpClients), 1)

    def test_not_reused(self):
        """No connection is kept after ``Connection: close``, HTTP/1.0, or data behind the response; the response is fine."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            OK + b"more",
            OK + OK,
        ):
            memory = Memory()
            pending, wire = memory.request()
            wire.respond(answer)
            reader = read(self.successResultOf(pending))
            self.assertEqual(reader.data, b"hi")
            reader.reason.trap(ResponseDone)
            self.assertEqual((memory.agent.idle, wire.aborted), (0, True))

    def test_by_origin(self):
        """Scheme, host and port tell connections apart; case doesn't."""
        _, wire = self.memory.request(uri=b"http://a.test/")
        wire.respond(OK)
        self.memory.agent.request(b"GET", b"http://A.TEST:80/")
        self.assertEqual(len(self.memory.reactor.tcpClients), 1)
        for uri in (b"http://a.test:8080/", b"https://a.test/", b"http://b.test/"):
            self.memory.agent.request(b"GET", uri)
        self.assertEqual(len(self.memory.reactor.tcpClients), 4)

    def test_last_in_first_out(self):
        """The connection used last is used next, so that the others can fall idle."""
        first, second = (self.memory.request()[1] for _ in range(2))
        first.respond(OK)
        second.respond(OK)
        first.sent()
        second.sent()
        self.again()
        self.assertEqual((first.sent(), second.sent() != b""), (b"", True))

    def test_retry(self):
        """If a kept connection is closed before any byte of a response, the request is sent again, once, on a new one."""
        _, wire = self.memory.request()
        wire.respond(OK)
        pending = self.again(bodyProducer=BytesProducer(b"{}"))
        first = wire.sent().partition(OK)[0]
        wire.lose(ConnectionLost())
        self.assertNoResult(pending)
        fresh = self.memory.accept()
        self.assertTrue(first.endswith(fresh.sent()))
        fresh.lose()
        self.failureResultOf(pending, UpstreamFailed)
        self.assertEqual(len(self.memory.reactor.tcpClients), 2)

    def test_no_retry_after_a_byte(self):
        """After one byte of a response the request is not sent again."""
        _, wire = self.memory.request()
        wire.respond(OK)
        pending = self.again()
        wire.respond(b"H")
        wire.lose()
        self.failureResultOf(pending, UpstreamFailed)
        self.assertEqual(len(self.memory.reactor.tcpClients), 1)

    def test_no_retry_of_a_passing_body(self):
        """A body that can't be sent twice never meets a connection of which it isn't known what it read."""
        for body in (Slow(3), BytesProducer(b"{}", replayable=False)):
            memory = Memory()
            _, wire = memory.request()
            wire.respond(OK)
            wire.sent()
            pending, fresh = memory.request(b"POST", body=body)
            fresh.lose(ConnectionLost())
            error = self.failureResultOf(pending, UpstreamFailed).value
            self.assertNotIsInstance(error, UpstreamRefused)
            self.assertEqual((wire.sent(), len(memory.reactor.tcpClients)), (b"", 2))

    def test_idle_connection_closed(self):
        """A connection that the provider closes, or speaks on unasked, while idle is dropped."""
        for end in (lambda wire: wire.lose(), lambda wire: wire.respond(b"HTTP/1.1 408 Timeout\r\n\r\n")):
            memory = Memory()
            _, wire = memory.request()
            wire.respond(OK)
            end(wire)
            memory.turn()
            self.assertEqual((memory.agent.idle, memory.agent.active, wire.connected), (0, 0, False))

    def test_expiry(self):
        """A single timer closes each connection when it was idle for long enough, and there is none when all are gone."""
        first, second = (self.memory.request()[1] for _ in range(2))
        first.respond(OK)
        self.memory.reactor.advance(40)
        second.respond(OK)
        self.assertEqual(len(self.memory.reactor.getDelayedCalls()), 1)
        self.memory.reactor.advance(20)
        self.memory.turn()
        self.assertEqual((first.connected, second.connected, self.memory.agent.idle), (False, True, 1))
        self.memory.reactor.advance(40)
        self.memory.turn()
        self.assertEqual((second.connected, self.memory.agent.idle), (False, 0))
        self.assertEqual(self.memory.reactor.getDelayedCalls(), [])

    def test_max_idle(self):
        """No more are kept than was said; those in use aren't limited."""
        memory = Memory(max_idle=1)
        wires = [memory.request()[1] for _ in range(3)]
        self.assertEqual(memory.agent.active, 3)
        for wire in wires:
            wire.respond(OK)
        memory.turn()
        self.assertEqual((memory.agent.idle, memory.agent.active), (1, 0))

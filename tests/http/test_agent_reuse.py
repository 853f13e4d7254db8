"""Which connections the gateway's HTTP client keeps, and what it asks again."""

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
        asked, wire = self.memory.ask()
        second = []
        asked.addCallback(lambda _: second.append(self.again()))
        wire.answer(OK)
        self.assertEqual(wire.sent().count(b"GET"), 2)
        wire.answer(OK)
        self.assertEqual(self.successResultOf(second[0]).code, 200)
        self.assertEqual((len(self.memory.reactor.tcpClients), self.memory.agent.idle), (1, 1))

    def test_reuse_after_answers_without_a_body(self):
        """204, 304, HEAD and informational answers leave the connection in step."""
        answers = (
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200),
            (b"GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, 200),
        )
        wire = None
        for method, answer, code in answers:
            asked = self.memory.agent.request(method, URL)
            wire = wire or self.memory.accept()
            wire.answer(answer)
            response = self.successResultOf(asked)
            self.assertEqual(response.code, code)
            self.assertFalse(response.headers.hasHeader(b"Link"))
            body = read(response)
            self.assertEqual((body.data, response.length), (b"hi", 2) if answer.endswith(OK) else (b"", 0))
            body.reason.trap(ResponseDone)
        self.assertEqual(len(self.memory.reactor.tcpClients), 1)

    def test_not_reused(self):
        """Not after ``Connection: close``, HTTP/1.0, or more bytes than were asked for; the answer itself is fine."""
        for answer in (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            OK + b"more",
            OK + OK,
        ):
            memory = Memory()
            asked, wire = memory.ask()
            wire.answer(answer)
            reader = read(self.successResultOf(asked))
            self.assertEqual(reader.data, b"hi")
            reader.reason.trap(ResponseDone)
            self.assertEqual((memory.agent.idle, wire.aborted), (0, True))

    def test_by_origin(self):
        """Scheme, host and port tell connections apart; case doesn't."""
        _, wire = self.memory.ask(uri=b"http://a.test/")
        wire.answer(OK)
        self.memory.agent.request(b"GET", b"http://A.TEST:80/")
        self.assertEqual(len(self.memory.reactor.tcpClients), 1)
        for uri in (b"http://a.test:8080/", b"https://a.test/", b"http://b.test/"):
            self.memory.agent.request(b"GET", uri)
        self.assertEqual(len(self.memory.reactor.tcpClients), 4)

    def test_last_in_first_out(self):
        """The connection used last is used next, so that the others can fall idle."""
        first, second = (self.memory.ask()[1] for _ in range(2))
        first.answer(OK)
        second.answer(OK)
        first.sent()
        second.sent()
        self.again()
        self.assertEqual((first.sent(), second.sent() != b""), (b"", True))

    def test_retry(self):
        """A kept connection that is closed before any byte of an answer: asked again, once, on a fresh one."""
        _, wire = self.memory.ask()
        wire.answer(OK)
        asked = self.again(bodyProducer=BytesProducer(b"{}"))
        first = wire.sent().partition(OK)[0]
        wire.lose(ConnectionLost())
        self.assertNoResult(asked)
        fresh = self.memory.accept()
        self.assertTrue(first.endswith(fresh.sent()))
        fresh.lose()
        self.failureResultOf(asked, UpstreamFailed)
        self.assertEqual(len(self.memory.reactor.tcpClients), 2)

    def test_no_retry_after_a_byte(self):
        """One byte of an answer, and it is not asked again."""
        _, wire = self.memory.ask()
        wire.answer(OK)
        asked = self.again()
        wire.answer(b"H")
        wire.lose()
        self.failureResultOf(asked, UpstreamFailed)
        self.assertEqual(len(self.memory.reactor.tcpClients), 1)

    def test_no_retry_of_a_passing_body(self):
        """A body that can't be sent twice never meets a connection of which it isn't known what it read."""
        for body in (Slow(3), BytesProducer(b"{}", replayable=False)):
            memory = Memory()
            _, wire = memory.ask()
            wire.answer(OK)
            wire.sent()
            asked, fresh = memory.ask(b"POST", body=body)
            fresh.lose(ConnectionLost())
            error = self.failureResultOf(asked, UpstreamFailed).value
            self.assertNotIsInstance(error, UpstreamRefused)
            self.assertEqual((wire.sent(), len(memory.reactor.tcpClients)), (b"", 2))

    def test_idle_connection_closed(self):
        """A connection that the provider closes, or speaks on unasked, while idle is dropped."""
        for end in (lambda wire: wire.lose(), lambda wire: wire.answer(b"HTTP/1.1 408 Timeout\r\n\r\n")):
            memory = Memory()
            _, wire = memory.ask()
            wire.answer(OK)
            end(wire)
            memory.turn()
            self.assertEqual((memory.agent.idle, memory.agent.active, wire.connected), (0, 0, False))

    def test_expiry(self):
        """Each connection is closed when it was idle for long enough, with one timer, and none when all are gone."""
        first, second = (self.memory.ask()[1] for _ in range(2))
        first.answer(OK)
        self.memory.reactor.advance(40)
        second.answer(OK)
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
        wires = [memory.ask()[1] for _ in range(3)]
        self.assertEqual(memory.agent.active, 3)
        for wire in wires:
            wire.answer(OK)
        memory.turn()
        self.assertEqual((memory.agent.idle, memory.agent.active), (1, 0))

"""Responses of a provider, as the gateway's HTTP client delivers them."""

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from aibridge.errors import UpstreamBroke, UpstreamFailed, UpstreamRefused
from aibridge.http.client_request import BytesProducer

from .memory import OK, URL, Memory, Reader, read


class AnswerTests(SynchronousTestCase):
    """Responses are delivered as they come, and a broken one is a failure."""

    def test_answer(self):
        """Version, status, phrase, headers, length, body and the request are all there."""
        memory = Memory()
        pending, wire = memory.request(b"POST", body=BytesProducer(b"{}"))
        wire.respond(b"HTTP/1.1 429 Too Many\r\nretry-after: 3\r\nContent-Length: 4\r\nX: 1\r\nX: 2\r\n\r\nslow")
        response = self.successResultOf(pending)
        self.assertEqual((response.version, response.code), ((b"HTTP", 1, 1), 429))
        self.assertEqual((response.phrase, response.length), (b"Too Many", 4))
        self.assertEqual(response.headers.getRawHeaders(b"Retry-After"), [b"3"])
        self.assertEqual(response.headers.getRawHeaders(b"x"), [b"1", b"2"])
        self.assertEqual((response.request.method, response.request.absoluteURI), (b"POST", URL))
        reader = read(response)
        self.assertEqual(reader.data, b"slow")
        reader.reason.trap(ResponseDone)

    def test_delivered_once(self):
        """A body has one reader."""
        pending, wire = Memory().request()
        wire.respond(OK)
        response = self.successResultOf(pending)
        read(response)
        self.assertRaises(RuntimeError, response.deliverBody, Reader())

    def test_previous_response(self):
        """An agent that follows redirects can leave the response that led here."""
        pending, wire = Memory().request()
        wire.respond(OK)
        response = self.successResultOf(pending)
        response.setPreviousResponse(response)
        self.assertIs(response.previousResponse, response)

    def test_pieces_come_at_once(self):
        """A streamed piece is delivered as it arrives, the end with its own read."""
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        response = self.successResultOf(pending)
        reader = read(response)
        wire.respond(b"3\r\none\r\n")
        self.assertEqual((reader.data, reader.reason), (b"one", None))
        wire.respond(b"0\r\nTrailer: dropped\r\n\r\n")
        reader.reason.trap(ResponseDone)
        self.assertFalse(response.headers.hasHeader(b"trailer"))

    def test_close_delimited(self):
        """If only the connection's end ends the body, the reader is told `PotentialDataLoss`."""
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.0 200 OK\r\n\r\nsome")
        response = self.successResultOf(pending)
        self.assertEqual(response.length, UNKNOWN_LENGTH)
        reader = read(response)
        wire.respond(b" more")
        wire.lose()
        self.assertEqual(reader.data, b"some more")
        reader.reason.trap(PotentialDataLoss)

    def test_close_delimited_and_reset(self):
        """A reset is not the end of such a body."""
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.0 200 OK\r\n\r\nsome")
        reader = read(self.successResultOf(pending))
        wire.lose(ConnectionLost())
        reader.reason.trap(UpstreamBroke)

    def test_cut(self):
        """A body that is cut short never looks like a whole one; what came of it is delivered."""
        for head in (b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
            pending, wire = Memory().request()
            wire.respond(b"HTTP/1.1 200 OK\r\n" + head)
            reader = read(self.successResultOf(pending))
            wire.lose()
            self.assertEqual(reader.data, b"half")
            reader.reason.trap(UpstreamBroke)
            self.assertIn("provider.test", reader.reason.value.message)

    def test_cut_before_it_is_read(self):
        """A reader that comes after the cut gets what was there, and then the cut."""
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        wire.lose()
        reader = read(self.successResultOf(pending))
        self.assertEqual(reader.data, b"half")
        reader.reason.trap(UpstreamBroke)

    def test_nonsense_in_the_body(self):
        """Malformed chunks break the response off, after those that were well formed."""
        memory = Memory()
        pending, wire = memory.request()
        wire.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        reader = read(self.successResultOf(pending))
        wire.respond(b"2\r\nok\r\nnonsense\r\n")
        self.assertEqual(reader.data, b"ok")
        reader.reason.trap(UpstreamBroke)
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active), (False, 0))

    def test_garbage(self):
        """A response that isn't HTTP/1 is a failure that names the host, and nothing of the query."""
        for garbage in (
            b"SSH-2.0-OpenSSH\r\n",
            b"\x15\x03\x01\x00\x02",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
        ):
            memory = Memory()
            pending, wire = memory.request(uri=URL + b"?key=secret")
            wire.respond(garbage)
            error = self.failureResultOf(pending, UpstreamFailed).value
            self.assertIn("provider.test", error.message)
            self.assertNotIn("secret", error.message)
            memory.turn()
            self.assertEqual(memory.agent.active, 0)

    def test_endless_head(self):
        """An endless head is a failure, and so are endless trailers."""
        for start in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 " + b"x"):
            pending, wire = Memory().request()
            wire.respond(start)
            wire.flood(b"x" * 65536, 5)
            self.failureResultOf(pending, UpstreamFailed)
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        reader = read(self.successResultOf(pending))
        wire.flood(b"x" * 65536, 5)
        reader.reason.trap(UpstreamBroke)

    def test_too_many_headers(self):
        """The number of headers is bounded."""
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 1001 + b"\r\n")
        self.failureResultOf(pending, UpstreamFailed)

    def test_closed_before_an_answer(self):
        """A new connection that is closed before the response is a failure, and the request is not sent again."""
        for said in (b"", b"HTTP/1.1 200 OK\r\nConte"):
            memory = Memory()
            pending, wire = memory.request()
            if said:
                wire.respond(said)
            wire.lose(ConnectionLost())
            error = self.failureResultOf(pending, UpstreamFailed)
            self.assertNotIsInstance(error.value, UpstreamRefused)
            self.assertEqual(len(memory.reactor.tcpClients), 1)

"""The gateway's HTTP client against a provider in memory."""

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost, DNSLookupError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aibridge.errors import UpstreamBroke, UpstreamFailed, UpstreamRefused, UpstreamTimeout
from aibridge.upstream.request import BytesProducer

from .memory import OK, URL, Memory, Reader, read


@implementer(IBodyProducer)
class Slow:
    """A body that comes when the test wants it."""

    def __init__(self, length):
        self.length = length
        self.done = Deferred()
        self.stopped = False

    def startProducing(self, consumer):
        self.consumer = consumer
        return self.done

    def pauseProducing(self):
        pass

    def resumeProducing(self):
        pass

    def stopProducing(self):
        self.stopped = True


class AskingTests(SynchronousTestCase):
    """What a provider is sent."""

    def test_interfaces(self):
        """It is an `IAgent`, its answers are `IResponse`s, and a body of bytes is an `IBodyProducer`."""
        memory = Memory()
        asked, wire = memory.ask()
        wire.answer(OK)
        verifyObject(IAgent, memory.agent)
        verifyObject(IResponse, self.successResultOf(asked))
        verifyObject(IBodyProducer, BytesProducer(b""))

    def test_head(self):
        """The path travels byte for byte, ``Host`` stands first, headers keep their order and repetitions."""
        headers = Headers()
        for name, value in ((b"X-B", b"1"), (b"X-A", b"2"), (b"X-B", b"3")):
            headers.addRawHeader(name, value)
        _, wire = Memory().ask(uri=b"http://Provider.test:8080/a%2Fb//c;d?q=%20&x#part", headers=headers)
        self.assertEqual(
            wire.sent(),
            b"GET /a%2Fb//c;d?q=%20&x HTTP/1.1\r\nHost: Provider.test:8080\r\nX-B: 1\r\nX-B: 3\r\nX-A: 2\r\n\r\n",
        )

    def test_root(self):
        """A URI that ends with its host asks for the root; a query may follow the host at once."""
        for uri, line in ((b"http://a.test", b"GET / "), (b"http://a.test?x", b"GET /?x ")):
            self.assertTrue(Memory().ask(uri=uri)[1].sent().startswith(line))

    def test_own_host(self):
        """A ``Host`` among the headers replaces the URI's."""
        _, wire = Memory().ask(headers=Headers({b"Host": [b"other.test"]}))
        self.assertEqual(wire.sent(), b"GET /v1/messages HTTP/1.1\r\nHost: other.test\r\n\r\n")

    def test_body_of_bytes(self):
        """Bytes go out with their length; what the headers claimed about it doesn't."""
        headers = Headers({b"Content-Length": [b"99"], b"Transfer-Encoding": [b"chunked"]})
        _, wire = Memory().ask(b"POST", headers=headers, body=BytesProducer(b"{}"))
        self.assertTrue(wire.sent().endswith(b"Host: provider.test\r\nContent-Length: 2\r\n\r\n{}"))

    def test_no_body(self):
        """A POST without a body says so; a GET has nothing to say."""
        self.assertIn(b"Content-Length: 0\r\n", Memory().ask(b"POST")[1].sent())
        self.assertNotIn(b"Content-Length", Memory().ask(b"GET")[1].sent())

    def test_body_of_unknown_length(self):
        """It goes out in chunks as it comes; an empty piece isn't taken for the end."""
        body = Slow(UNKNOWN_LENGTH)
        _, wire = Memory().ask(b"POST", body=body)
        self.assertIn(b"Transfer-Encoding: chunked\r\n\r\n", wire.sent())
        for piece in (b"hello", b"", b"x" * 17):
            body.consumer.write(piece)
        body.done.callback(None)
        self.assertEqual(wire.sent(), b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n")

    def test_slow_body_is_paced_by_the_transport(self):
        """While it is sent, a body is the transport's producer; after that the connection is reusable."""
        memory, body = Memory(), Slow(4)
        asked, wire = memory.ask(b"POST", body=body)
        self.assertIs(wire.producer, body)
        body.consumer.write(b"body")
        body.done.callback(None)
        self.assertIsNone(wire.producer)
        wire.answer(OK)
        self.assertEqual((memory.agent.idle, self.successResultOf(asked).code), (1, 200))

    def test_body_of_wrong_length(self):
        """A body that is longer or shorter than it said breaks the connection rather than the framing."""
        for pieces in ((b"123456",), (b"12",)):
            memory, body = Memory(), Slow(4)
            asked, wire = memory.ask(b"POST", body=body)
            wire.sent()
            try:
                for piece in pieces:
                    body.consumer.write(piece)
                body.done.callback(None)
            except ValueError:
                body.done.errback(Failure())
            self.failureResultOf(asked, ValueError)
            memory.turn()
            self.assertEqual((wire.connected, memory.agent.active), (False, 0))
            self.assertNotIn(b"123456", wire.sent())

    def test_early_answer(self):
        """An answer that is complete before the request's body is sent is delivered; the connection isn't used again."""
        memory = Memory()
        asked, wire = memory.ask(b"POST", body=Slow(4))
        wire.answer(OK)
        self.assertEqual(read(self.successResultOf(asked)).data, b"hi")
        self.assertTrue(wire.aborted)
        self.assertEqual(memory.agent.idle, 0)

    def test_refused_input(self):
        """What could smuggle a line into the head, and what is no URI to call, is refused before anything is sent."""
        memory = Memory()
        for uri in (
            b"http://a.test/x y",
            b"http://a.test/x\r\nEvil: 1",
            b"http://a.test/\0",
            b"ftp://a.test/",
            b"/relative",
            b"http://user:secret@a.test/",
            b"http://a.test:port/",
            b"http:///x",
            b"http://[zz]/",
        ):
            self.assertRaises(ValueError, memory.agent.request, b"GET", uri)
        self.assertRaises(ValueError, memory.agent.request, b"GET /x", URL)
        headers = Headers()
        headers._rawHeaders[b"X"] = [b"1\r\nEvil: 2"]  # `Headers` itself would have replaced the line break
        error = self.assertRaises(ValueError, memory.agent.request, b"GET", URL, headers)
        self.assertNotIn("Evil", str(error))
        self.assertRaises(ValueError, memory.agent.request, b"GET", URL, Headers({b"X": [b"a\0b"]}))
        self.assertEqual(memory.reactor.tcpClients, [])


class AnswerTests(SynchronousTestCase):
    """What comes back."""

    def test_answer(self):
        """Version, status, phrase, headers, length, body and the request are all there."""
        memory = Memory()
        asked, wire = memory.ask(b"POST", body=BytesProducer(b"{}"))
        wire.answer(b"HTTP/1.1 429 Too Many\r\nretry-after: 3\r\nContent-Length: 4\r\nX: 1\r\nX: 2\r\n\r\nslow")
        response = self.successResultOf(asked)
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
        asked, wire = Memory().ask()
        wire.answer(OK)
        response = self.successResultOf(asked)
        read(response)
        self.assertRaises(RuntimeError, response.deliverBody, Reader())

    def test_previous_response(self):
        """An agent that follows redirects can leave the answer that led here."""
        asked, wire = Memory().ask()
        wire.answer(OK)
        response = self.successResultOf(asked)
        response.setPreviousResponse(response)
        self.assertIs(response.previousResponse, response)

    def test_pieces_come_at_once(self):
        """A streamed piece is handed over as it arrives, the end with its own read."""
        asked, wire = Memory().ask()
        wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        response = self.successResultOf(asked)
        reader = read(response)
        wire.answer(b"3\r\none\r\n")
        self.assertEqual((reader.data, reader.reason), (b"one", None))
        wire.answer(b"0\r\nTrailer: dropped\r\n\r\n")
        reader.reason.trap(ResponseDone)
        self.assertFalse(response.headers.hasHeader(b"trailer"))

    def test_close_delimited(self):
        """Where only the connection's end ends the body, the reader is told that this is all that is known."""
        asked, wire = Memory().ask()
        wire.answer(b"HTTP/1.0 200 OK\r\n\r\nsome")
        response = self.successResultOf(asked)
        self.assertEqual(response.length, UNKNOWN_LENGTH)
        reader = read(response)
        wire.answer(b" more")
        wire.lose()
        self.assertEqual(reader.data, b"some more")
        reader.reason.trap(PotentialDataLoss)

    def test_close_delimited_and_reset(self):
        """A reset is no end, even there."""
        asked, wire = Memory().ask()
        wire.answer(b"HTTP/1.0 200 OK\r\n\r\nsome")
        reader = read(self.successResultOf(asked))
        wire.lose(ConnectionLost())
        reader.reason.trap(UpstreamBroke)

    def test_cut(self):
        """A body that is cut short never looks like a whole one; what came of it is delivered."""
        for head in (b"Content-Length: 9\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
            asked, wire = Memory().ask()
            wire.answer(b"HTTP/1.1 200 OK\r\n" + head)
            reader = read(self.successResultOf(asked))
            wire.lose()
            self.assertEqual(reader.data, b"half")
            reader.reason.trap(UpstreamBroke)
            self.assertIn("provider.test", reader.reason.value.message)

    def test_cut_before_it_is_read(self):
        """A reader that comes after the cut gets what was there, and then the cut."""
        asked, wire = Memory().ask()
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        wire.lose()
        reader = read(self.successResultOf(asked))
        self.assertEqual(reader.data, b"half")
        reader.reason.trap(UpstreamBroke)

    def test_nonsense_in_the_body(self):
        """Chunks that are none break the answer off, after what was sound."""
        memory = Memory()
        asked, wire = memory.ask()
        wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        reader = read(self.successResultOf(asked))
        wire.answer(b"2\r\nok\r\nnonsense\r\n")
        self.assertEqual(reader.data, b"ok")
        reader.reason.trap(UpstreamBroke)
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active), (False, 0))

    def test_garbage(self):
        """What isn't HTTP/1 is a failure that names the host, and nothing of the query."""
        for garbage in (
            b"SSH-2.0-OpenSSH\r\n",
            b"\x15\x03\x01\x00\x02",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        ):
            memory = Memory()
            asked, wire = memory.ask(uri=URL + b"?key=secret")
            wire.answer(garbage)
            error = self.failureResultOf(asked, UpstreamFailed).value
            self.assertIn("provider.test", error.message)
            self.assertNotIn("secret", error.message)
            memory.turn()
            self.assertEqual(memory.agent.active, 0)

    def test_endless_head(self):
        """A head that doesn't end is given up, and so are trailers."""
        for start in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 " + b"x"):
            asked, wire = Memory().ask()
            wire.answer(start)
            wire.flood(b"x" * 65536, 5)
            self.failureResultOf(asked, UpstreamFailed)
        asked, wire = Memory().ask()
        wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        reader = read(self.successResultOf(asked))
        wire.flood(b"x" * 65536, 5)
        reader.reason.trap(UpstreamBroke)

    def test_too_many_headers(self):
        """Their number is bounded too."""
        asked, wire = Memory().ask()
        wire.answer(b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 1001 + b"\r\n")
        self.failureResultOf(asked, UpstreamFailed)

    def test_closed_before_an_answer(self):
        """On a fresh connection that may mean anything: a failure, not tried again."""
        for said in (b"", b"HTTP/1.1 200 OK\r\nConte"):
            memory = Memory()
            asked, wire = memory.ask()
            if said:
                wire.answer(said)
            wire.lose(ConnectionLost())
            error = self.failureResultOf(asked, UpstreamFailed)
            self.assertNotIsInstance(error.value, UpstreamRefused)
            self.assertEqual(len(memory.reactor.tcpClients), 1)


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
        """A body that can't be sent twice isn't; the error says that another try is safe."""
        _, wire = self.memory.ask()
        wire.answer(OK)
        asked = self.again(bodyProducer=Slow(3))
        wire.lose()
        self.failureResultOf(asked, UpstreamRefused)

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


class BodyFlowTests(SynchronousTestCase):
    """The reader sets the pace."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"

    def setUp(self):
        self.memory = Memory()
        self.asked, self.wire = self.memory.ask()

    def start(self, data=b""):
        self.wire.answer(self.HEAD + data)
        return self.successResultOf(self.asked)

    def test_nobody_reads(self):
        """Until someone asks for the body, the provider is paused; what came with the head is kept."""
        response = self.start(b"ab")
        self.assertEqual(self.wire.producerState, "paused")
        self.assertEqual(read(response).data, b"ab")
        self.assertEqual(self.wire.producerState, "producing")

    def test_read_at_once(self):
        """Where the reader comes with the answer, the transport is never paused."""
        self.asked.addCallback(read)
        self.wire.pauseProducing = lambda: self.fail("paused")
        self.start(b"ab")

    def test_pause_and_resume(self):
        """Both go to the provider's transport; what a read had brought is held until the reader is ready."""
        reader = read(self.start())
        reader.transport.pauseProducing()
        self.assertEqual(self.wire.producerState, "paused")
        self.wire.answer(b"abc")
        self.wire.answer(b"def")
        self.assertEqual((reader.data, reader.reason), (b"", None))
        reader.transport.resumeProducing()
        self.assertEqual(reader.data, b"abcdef")
        reader.reason.trap(ResponseDone)

    def test_born_paused(self):
        """A reader may pause before its first byte."""
        response = self.start(b"ab")
        reader = Reader(born_paused=True)
        response.deliverBody(reader)
        self.assertEqual((reader.data, self.wire.producerState), (b"", "paused"))
        reader.transport.resumeProducing()
        self.assertEqual((reader.data, self.wire.producerState), (b"ab", "producing"))

    def test_paused_connection_returns_running(self):
        """An answer that completes while its reader is paused leaves a connection that can be read from."""
        reader = read(self.start())
        reader.transport.pauseProducing()
        self.wire.answer(b"abcdef")
        self.assertEqual((self.memory.agent.idle, self.wire.producerState), (1, "producing"))
        again = self.memory.agent.request(b"GET", URL)
        reader.transport.pauseProducing()
        self.assertEqual(self.wire.producerState, "producing")
        self.wire.answer(OK)
        self.assertEqual(read(self.successResultOf(again)).data, b"hi")
        reader.transport.resumeProducing()
        self.assertEqual(reader.data, b"abcdef")

    def test_resume_within_data_received(self):
        """A reader that pauses and resumes while it is being handed a piece gets its pieces in order, whole."""
        seen = []

        class Nervous(Reader):
            def dataReceived(self, data):
                self.transport.pauseProducing()
                self.transport.resumeProducing()
                seen.append(data)

        reader = Nervous(born_paused=True)
        self.start().deliverBody(reader)
        for piece in (b"ab", b"cd", b"ef"):
            self.wire.answer(piece)
        reader.transport.resumeProducing()
        self.assertEqual(seen, [b"ab", b"cd", b"ef"])
        reader.reason.trap(ResponseDone)

    def test_stop(self):
        """Stopping closes the connection for good, paused or not; the reader hears of an end that is none."""
        for paused in (False, True):
            memory = Memory()
            asked, wire = memory.ask()
            wire.answer(self.HEAD + b"ab")
            reader = read(self.successResultOf(asked))
            if paused:
                reader.transport.pauseProducing()
            reader.transport.stopProducing()
            self.assertTrue(wire.aborted)
            memory.turn()
            self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))
            self.assertEqual((memory.agent.active, memory.agent.idle), (0, 0))

    def test_stop_after_the_end(self):
        """Stopping a body that is over does nothing to the connection, which is another's by now."""
        reader = read(self.start(b"abcdef"))
        self.memory.agent.request(b"GET", URL)
        reader.transport.stopProducing()
        self.assertFalse(self.wire.aborted)

    def test_stop_while_the_end_is_held(self):
        """What was held is dropped, so the end isn't a whole one."""
        reader = Reader(born_paused=True)
        self.start(b"abcdef").deliverBody(reader)
        reader.transport.stopProducing()
        self.assertEqual(reader.data, b"")
        self.assertFalse(reader.reason.check(ResponseDone))


class GivingUpTests(SynchronousTestCase):
    """Cancelling, time-outs, and connections that don't come about."""

    def test_cancel_while_connecting(self):
        """Cancelling ends the attempt to connect."""
        memory = Memory()
        asked = memory.agent.request(b"GET", URL)
        self.assertEqual(memory.agent.active, 1)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual((memory.agent.active, memory.reactor.getDelayedCalls()), (0, []))
        self.assertTrue(memory.reactor.connectors[0].stoppedConnecting)

    def test_cancel_while_waiting(self):
        """Cancelling closes the connection, on a fresh and on a kept one; it isn't tried again."""
        memory = Memory()
        asked, wire = memory.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active), (False, 0))
        _, wire = memory.ask()
        wire.answer(OK)
        asked = memory.agent.request(b"GET", URL)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        memory.turn()
        self.assertEqual((wire.connected, len(memory.wires)), (False, len(memory.reactor.tcpClients)))

    def test_connect_timeout(self):
        """No connection in time is a time-out that names the host and the time."""
        memory = Memory(connect_timeout=7)
        asked = memory.agent.request(b"GET", URL)
        memory.reactor.advance(7)
        error = self.failureResultOf(asked, UpstreamTimeout).value
        self.assertEqual(error.message, "provider.test: no connection within 7 s")
        self.assertEqual((memory.agent.active, memory.reactor.getDelayedCalls()), (0, []))

    def test_connected(self):
        """Once connected, the time limit for it is gone, and small writes aren't delayed."""
        memory = Memory()
        _, wire = memory.ask()
        self.assertEqual((memory.reactor.getDelayedCalls(), wire.no_delay), ([], True))

    def test_refused(self):
        """A connection that doesn't come about is a refusal: provably nothing was begun."""
        for reason, words in (
            (error.ConnectionRefusedError(), "refused"),
            (DNSLookupError(), "no such host"),
            (OSError(24, "Too many open files"), "OSError"),
        ):
            memory = Memory()
            asked = memory.agent.request(b"GET", URL + b"?key=secret")
            factory = memory.reactor.tcpClients[0][2]
            factory.clientConnectionFailed(None, Failure(reason))
            memory.reactor.advance(0.3)
            message = self.failureResultOf(asked, UpstreamRefused).value.message
            self.assertIn(words, message)
            self.assertIn("provider.test", message)
            self.assertNotIn("secret", message)

    def test_close(self):
        """Closing ends idle, waiting, reading and connecting ones alike, and fires when all are closed."""
        memory = Memory()
        _, idle = memory.ask(uri=b"http://idle.test/")
        idle.answer(OK)
        waiting, _ = memory.ask(uri=b"http://waiting.test/")
        reading, wire = memory.ask(uri=b"http://reading.test/")
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        reader = read(self.successResultOf(reading))
        connecting = memory.agent.request(b"GET", b"http://connecting.test/")
        self.assertEqual((memory.agent.idle, memory.agent.active), (1, 3))
        closed = memory.agent.close()
        self.assertNoResult(closed)
        memory.turn()
        self.successResultOf(closed)
        self.failureResultOf(waiting, UpstreamFailed)
        self.failureResultOf(connecting, UpstreamRefused)
        reader.reason.trap(UpstreamBroke)
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))
        self.assertEqual(memory.reactor.getDelayedCalls(), [])
        self.failureResultOf(memory.agent.request(b"GET", URL), UpstreamRefused)
        self.successResultOf(memory.agent.close())

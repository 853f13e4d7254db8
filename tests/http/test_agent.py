"""The requests that the gateway's HTTP client sends to a provider in memory."""

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface.verify import verifyObject

from aibridge.http.client_request import BytesProducer

from .memory import OK, URL, Memory, Slow, read


class AskingTests(SynchronousTestCase):
    """Requests arrive as they are given, and can't be forged."""

    def test_interfaces(self):
        """The agent is an `IAgent`, its responses are `IResponse`s, and a body of bytes is an `IBodyProducer`."""
        memory = Memory()
        pending, wire = memory.request()
        wire.respond(OK)
        verifyObject(IAgent, memory.agent)
        verifyObject(IResponse, self.successResultOf(pending))
        verifyObject(IBodyProducer, BytesProducer(b""))

    def test_head(self):
        """The path travels byte for byte, ``Host`` stands first, headers keep their order and repetitions."""
        headers = Headers()
        for name, value in ((b"X-B", b"1"), (b"X-A", b"2"), (b"X-B", b"3")):
            headers.addRawHeader(name, value)
        _, wire = Memory().request(uri=b"http://Provider.test:8080/a%2Fb//c;d?q=%20&x#part", headers=headers)
        self.assertEqual(
            wire.sent(),
            b"GET /a%2Fb//c;d?q=%20&x HTTP/1.1\r\nHost: Provider.test:8080\r\nX-B: 1\r\nX-B: 3\r\nX-A: 2\r\n\r\n",
        )

    def test_root(self):
        """A URI that ends with its host is a request for the root; a query may follow the host at once."""
        for uri, line in ((b"http://a.test", b"GET / "), (b"http://a.test?x", b"GET /?x ")):
            self.assertTrue(Memory().request(uri=uri)[1].sent().startswith(line))

    def test_own_host(self):
        """A ``Host`` among the headers replaces the URI's."""
        _, wire = Memory().request(headers=Headers({b"Host": [b"other.test"]}))
        self.assertEqual(wire.sent(), b"GET /v1/messages HTTP/1.1\r\nHost: other.test\r\n\r\n")

    def test_body_of_bytes(self):
        """Bytes are sent with their length; the length in the given headers is not sent."""
        headers = Headers({b"Content-Length": [b"99"], b"Transfer-Encoding": [b"chunked"]})
        _, wire = Memory().request(b"POST", headers=headers, body=BytesProducer(b"{}"))
        self.assertTrue(wire.sent().endswith(b"Host: provider.test\r\nContent-Length: 2\r\n\r\n{}"))

    def test_no_body(self):
        """A POST without a body has a Content-Length of 0; a GET has none."""
        self.assertIn(b"Content-Length: 0\r\n", Memory().request(b"POST")[1].sent())
        self.assertNotIn(b"Content-Length", Memory().request(b"GET")[1].sent())

    def test_body_of_unknown_length(self):
        """A body of unknown length is sent in chunks as it comes; an empty piece isn't its end."""
        body = Slow(UNKNOWN_LENGTH)
        _, wire = Memory().request(b"POST", body=body)
        self.assertIn(b"Transfer-Encoding: chunked\r\n\r\n", wire.sent())
        for piece in (b"hello", b"", b"x" * 17):
            body.consumer.write(piece)
        body.done.callback(None)
        self.assertEqual(wire.sent(), b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n")

    def test_slow_body_is_paced_by_the_transport(self):
        """While it is sent, a body is the transport's producer; after that the connection is reusable."""
        memory, body = Memory(), Slow(4)
        pending, wire = memory.request(b"POST", body=body)
        self.assertIs(wire.producer, body)
        body.consumer.write(b"body")
        body.done.callback(None)
        self.assertIsNone(wire.producer)
        wire.respond(OK)
        self.assertEqual((memory.agent.idle, self.successResultOf(pending).code), (1, 200))

    def test_body_of_wrong_length(self):
        """A body that is longer or shorter than it said breaks the connection rather than the framing."""
        for pieces in ((b"123456",), (b"12",)):
            memory, body = Memory(), Slow(4)
            pending, wire = memory.request(b"POST", body=body)
            wire.sent()
            try:
                for piece in pieces:
                    body.consumer.write(piece)
                body.done.callback(None)
            except ValueError:
                body.done.errback(Failure())
            self.failureResultOf(pending, ValueError)
            memory.turn()
            self.assertEqual((wire.connected, memory.agent.active), (False, 0))
            self.assertNotIn(b"123456", wire.sent())

    def test_early_answer(self):
        """A response that is complete before the request's body is sent is delivered; the connection isn't used again."""
        memory = Memory()
        pending, wire = memory.request(b"POST", body=Slow(4))
        wire.respond(OK)
        self.assertEqual(read(self.successResultOf(pending)).data, b"hi")
        self.assertTrue(wire.aborted)
        self.assertEqual(memory.agent.idle, 0)

    def test_refused_input(self):
        """A line break in the head, and a URI that can't be called, are refused before anything is sent."""
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

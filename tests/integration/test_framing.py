"""Ambiguous requests and malicious clients, over sockets, byte by byte."""

from typing import Any

from twisted.internet import reactor

from aibridge.http import server
from aibridge.testing import Ending, RawReply, Reply

from ..chain.apis import CHAT, MESSAGES, Api
from .gateway import LIMITS, GatewayTestCase
from .wire import HOST, SMUGGLED, Wire, chunk, chunked, head

BODY = MESSAGES.body()
SIZED = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
INSIDE = chunk(SMUGGLED) + b"0\r\n\r\n"

AMBIGUOUS = {
    "two kinds of length": head(b"Content-Length: 4", CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
    "two kinds of length, the other way": head(CHUNKED, b"Content-Length: 4") + b"0\r\n\r\n" + SMUGGLED,
    "two lengths": head(b"Content-Length: 0", SIZED) + BODY,
    "two equal lengths": head(SIZED, SIZED) + BODY,
    "two lengths in one": head(b"Content-Length: %d, %d" % (len(BODY), len(BODY))) + BODY,
    "a signed length": head(b"Content-Length: +%d" % len(BODY)) + BODY,
    "a negative length": head(b"Content-Length: -1") + BODY,
    "a hexadecimal length": head(b"Content-Length: 0x%x" % len(BODY)) + BODY,
    "an endless length that is no number": head(b"Content-Length: " + b"9" * 5000 + b"x"),
    "a length with an underscore": head(b"Content-Length: 1_0") + BODY,
    "no length": head(b"Content-Length:") + BODY,
    "chunks, then identity": head(b"Transfer-Encoding: chunked, identity") + INSIDE,
    "identity": head(b"Transfer-Encoding: identity") + SMUGGLED,
    "identity beside a length": head(b"Transfer-Encoding: identity", SIZED) + BODY,
    "xchunked": head(b"Transfer-Encoding: xchunked") + INSIDE,
    "two codings": head(CHUNKED, b"Transfer-Encoding: identity") + INSIDE,
    "chunks twice": head(CHUNKED, CHUNKED) + INSIDE,
    "a vertical tab": head(b"Transfer-Encoding:\x0bchunked") + INSIDE,
    "chunks in HTTP/1.0": head(CHUNKED, first=b"POST /anthropic/v1/messages HTTP/1.0") + INSIDE,
    "a blank before the colon": head(b"Transfer-Encoding : chunked", SIZED) + BODY,
    "a tab before the colon": head(b"Content-Length\t: 4", SIZED) + BODY,
    "a continued line": head(b"X-Any: a", b" Transfer-Encoding: chunked", SIZED) + BODY,
    "a coding on a second line": head(b"Transfer-Encoding:", b" chunked") + INSIDE,
    "a first header that continues": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "line feeds only": head(SIZED).replace(b"\r\n", b"\n") + BODY,
    "one line feed": head(b"X-Any: a\nTransfer-Encoding: chunked", SIZED) + BODY,
    "a line feed at the end": head(SIZED)[:-2] + b"\n" + BODY,
    "carriage returns only": head(SIZED).replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "one carriage return": head(b"X-Any: a\rTransfer-Encoding: chunked", SIZED) + BODY,
    "a NUL": head(b"X-Any: a\x00b", SIZED) + BODY,
    "a control character": head(b"X-Any: a\x1bb", SIZED) + BODY,
    "a NUL in a name": head(b"X-\x00Any: a", SIZED) + BODY,
    "no colon": head(b"X-Any", SIZED) + BODY,
    "no name": head(b": a", SIZED) + BODY,
    "no host": b"POST /anthropic/v1/messages HTTP/1.1\r\n" + SIZED + b"\r\n\r\n" + BODY,
    "two hosts": head(HOST, SIZED) + BODY,
    "a host that is none": head(SIZED).replace(b"gateway.test", b"gateway.test/evil") + BODY,
    "a chunk's size with 0x": chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a negative size": chunked(b"-1\r\nhello\r\n0\r\n\r\n"),
    "a signed size": chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "a size that is none": chunked(b"five\r\nhello\r\n0\r\n\r\n"),
    "no size": chunked(b"\r\nhello\r\n0\r\n\r\n"),
    "a blank before a size": chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
    "a blank behind a size": chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "a size with an underscore": chunked(b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"),
    "a size that ends with a line feed": chunked(b"5\nhello\r\n0\r\n\r\n"),
    "a line feed in an extension": chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "an endless extension": chunked(b"5;" + b"a" * 5000),
    "an endless size": chunked(b"0" * 5000),
    "nothing behind a chunk": chunked(b"5\r\nhello0\r\n\r\n"),
    "a line feed behind a chunk": chunked(b"5\r\nhello\n0\r\n\r\n"),
    "a longer chunk than its size": chunked(b"5\r\nhello world\r\n0\r\n\r\n"),
    "a line feed in a trailer": chunked(chunk(BODY), b"0\r\nX-Any: a\n\n", SMUGGLED),
    "a trailer that is none": chunked(chunk(BODY), b"0\r\nX Any\r\n\r\n"),
    "HTTP/0.9": b"GET /openai/v1/models\r\n\r\n",
    "HTTP/1.2": head(SIZED, first=b"POST /anthropic/v1/messages HTTP/1.2") + BODY,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a method in small letters": head(SIZED, first=b"post /anthropic/v1/messages HTTP/1.1") + BODY,
    "two blanks": head(SIZED, first=b"POST  /anthropic/v1/messages HTTP/1.1") + BODY,
    "a tab for a blank": head(SIZED, first=b"POST\t/anthropic/v1/messages\tHTTP/1.1") + BODY,
    "a blank at the end": head(SIZED, first=b"POST /anthropic/v1/messages HTTP/1.1 ") + BODY,
    "a blank in the target": head(SIZED, first=b"POST /anthropic/v1/messages?a b HTTP/1.1") + BODY,
    "letters beyond ASCII in the target": head(first=b"GET /openai/v1/models/\xc3\xa9 HTTP/1.1"),
    "two empty lines": b"\r\n\r\n" + head(SIZED) + BODY,
}
"""Each of them is 400, whatever follows it."""

TOO_LARGE = {
    "a length of 2^63": head(b"Content-Length: 9223372036854775808"),
    "an endless length": head(b"Content-Length: " + b"9" * 5000),
    "a chunk of 2^64 bytes": chunked(b"1" + b"0" * 16 + b"\r\n"),
    "a chunk of 2^64 bytes, and no end of its line": chunked(b"1" + b"0" * 16),
    "an endless size of a chunk": chunked(b"F" * 1000),
    "a chunk over the limit": chunked(b"%x\r\n" % (LIMITS["max_body_bytes"] + 1)),
    "chunks over the limit": chunked(chunk(BODY), b"%x\r\n" % LIMITS["max_body_bytes"]),
}
"""Each of them is 413 before a byte of that body has come."""

NO_ROUTES = {
    b"OPTIONS * HTTP/1.1": 400,
    b"GET http://192.0.2.66/openai/v1/files HTTP/1.1": 404,
    b"GET http://gateway.test HTTP/1.1": 404,
    b"CONNECT api.openai.com:443 HTTP/1.1": 400,
    b"CONNECT /openai/v1/models HTTP/1.1": 405,
    b"TRACE /openai/v1/models HTTP/1.1": 405,
}


class FramingTestCase(GatewayTestCase):
    """A gateway, and what reached the provider."""

    async def setUp(self) -> None:
        super().setUp()
        self.url = await self.start()

    async def wire(self, data: bytes = b"") -> Wire:
        """A connection on which this was sent."""
        wire: Any = await self.connect(self.url, Wire())
        wire.raw(data)
        return wire

    async def served(self, api: Api = MESSAGES) -> int:
        """The status of a request as it should be."""
        return (await self.answer(self.url, api, api.body())).status

    @property
    def refusals(self) -> float:
        """The number of refusals that the gateway counted."""
        [family] = self.bridge.metrics.refused.collect()
        return sum(sample.value for sample in family.samples if sample.name.endswith("_total"))


class RefusedTests(FramingTestCase):
    """Requests that are refused."""

    async def refused(self, name: str, data: bytes, status: int = 400, kind: str = "invalid_request_error") -> None:
        """One answer in an API's shape, the last one, whatever followed; nothing at the provider."""
        wire = await self.wire(data)
        await wire.done()
        wire.raw(SMUGGLED)
        wire.half_close()
        await wire.when(lambda: wire.closed)
        self.assertEqual([answer.status for answer in wire.answers], [status], name)
        answer = wire.answer
        self.assertEqual((answer.whole, answer.header("connection")), (True, "close"), name)
        document = answer.json
        self.assertEqual((document["type"], document["error"]["type"]), ("error", kind), name)
        self.assertTrue(document["error"]["message"], name)

    async def test_each(self) -> None:
        """400 in the API's shape; the connection is of no more use, the provider hears nothing, and all are counted."""
        for name, data in AMBIGUOUS.items():
            await self.refused(name, data)
        self.assertEqual((len(self.provider.requests), self.exchanges), (0, []))
        self.assertEqual(self.refusals, len(AMBIGUOUS))
        self.assertEqual(await self.served(), 200)

    async def test_too_large(self) -> None:
        """413 at once for a body that is announced to be too large, however long the number is."""
        for name, data in TOO_LARGE.items():
            await self.refused(name, data, 413, "request_too_large")
        self.assertEqual((len(self.provider.requests), self.refusals), (0, len(TOO_LARGE)))
        self.assertEqual(await self.served(), 200)

    async def test_read_to_the_end(self) -> None:
        """A client that reads to the end of its connection gets there at once, and need not end its own side."""
        self.patch(server, "_TIME_TO_READ_THE_ERROR", 1000.0)
        wire = await self.wire(AMBIGUOUS["no host"])
        await wire.when(lambda: wire.closed).addTimeout(20.0, reactor)
        self.assertEqual((wire.answer.status, wire.answer.whole), (400, True))

    async def test_byte_by_byte(self) -> None:
        """Requests that come in many pieces are refused in the same way."""
        for name in ("two kinds of length", "one line feed", "a line feed in a trailer", "nothing behind a chunk"):
            wire = await self.wire()
            for offset in range(len(AMBIGUOUS[name])):
                wire.raw(AMBIGUOUS[name][offset : offset + 1])
            await wire.done()
            self.assertEqual([answer.status for answer in wire.answers], [400], name)
        self.assertEqual(len(self.provider.requests), 0)

    async def test_targets(self) -> None:
        """Targets and methods of proxies are no route; TRACE would tell the credential."""
        for first, status in NO_ROUTES.items():
            wire = await self.wire(head(first=first))
            await wire.done()
            self.assertEqual(wire.answer.status, status, first)
            self.assertEqual(bool(wire.answer.header("allow")), status == 405)
        self.assertEqual(len(self.provider.requests), 0)

    async def test_expectations(self) -> None:
        """417 for an unsupported expectation."""
        await self.refused("expect", head(b"Expect: a-miracle", SIZED) + BODY, 417)
        self.assertEqual(len(self.provider.requests), 0)

    async def test_many_headers(self) -> None:
        """431 for very many headers, however small."""
        await self.refused("many", head(*[b"a:"] * 3000, SIZED) + BODY, 431)

    async def test_too_much_in_one_piece(self) -> None:
        """A body that is over the limit with its end already behind it is refused once, and not served cut off."""
        body = b"".join([chunk(b" " * 0x10000)] * ((LIMITS["max_body_bytes"] >> 16) + 2)) + b"0\r\n\r\n"
        data = head(b"Transfer-Encoding: chunked", first=b"POST /openai/v1/conversations HTTP/1.1") + body
        wire = await self.wire(data + SMUGGLED)
        await wire.done()
        wire.half_close()
        await wire.when(lambda: wire.closed)
        self.assertEqual([answer.status for answer in wire.answers], [413])
        self.assertEqual((len(self.provider.requests), self.refusals), (0, 1))


class AcceptedTests(FramingTestCase):
    """Unusual requests that are accepted."""

    async def accepted(self, data: bytes) -> None:
        """Assert that this is served, with its whole body."""
        wire = await self.wire(data)
        await wire.done()
        self.assertEqual((wire.answer.status, self.provider.requests[-1].body), (200, BODY))

    async def test_unusual(self) -> None:
        """An empty line before it, capitals, leading zeros, no blank, chunks with extensions and trailers."""
        half = len(BODY) // 2
        await self.accepted(b"\r\n" + head(SIZED) + BODY)
        await self.accepted(head(b"CONTENT-LENGTH:0000%d" % len(BODY)) + BODY)
        await self.accepted(head(b"transfer-encoding:\tCHUNKED") + chunk(BODY) + b"0\r\n\r\n")
        await self.accepted(chunked(chunk(BODY[:half]), chunk(BODY[half:]), b"000\r\nX-Trailer: a\r\n\r\n"))
        await self.accepted(chunked(b"%X;name=value\r\n%b\r\n0;x\r\n\r\n" % (len(BODY), BODY)))

    async def test_continue(self) -> None:
        """A client that asks whether to go on is told to, before it has sent its body."""
        wire = await self.wire(head(b"Expect: 100-continue", SIZED))
        await wire.when(lambda: wire.informed)
        self.assertEqual((wire.informed, wire.answers), ([100], []))
        wire.raw(BODY)
        await wire.done()
        self.assertEqual(wire.answer.status, 200)

    async def test_http_1_0(self) -> None:
        """An older client is answered, and its connection closed."""
        first = b"POST /anthropic/v1/messages HTTP/1.0"
        wire = await self.wire(head(SIZED, first=first).replace(HOST + b"\r\n", b"") + BODY + SMUGGLED)
        await wire.when(lambda: wire.closed)
        self.assertEqual([answer.status for answer in wire.answers], [200])
        self.assertEqual((wire.answer.header("connection"), len(self.provider.requests)), ("close", 1))

    async def test_closing(self) -> None:
        """After a request that closes its connection nothing is read, however that is written."""
        for value in (b"close", b"Close", b"keep-alive, close", b"close,te", b"te\r\nConnection: close"):
            self.provider.requests.clear()
            wire = await self.wire(head(b"Connection: " + value, SIZED) + BODY + SMUGGLED)
            await wire.when(lambda wire=wire: wire.closed)
            self.assertEqual([answer.status for answer in wire.answers], [200], value)
            self.assertEqual((wire.answer.header("connection"), len(self.provider.requests)), ("close", 1))


class ConnectionTests(FramingTestCase):
    """Several requests on one connection, and its end."""

    async def test_pipelined(self) -> None:
        """Requests sent without waiting are answered in their order."""
        texts = [f"answer-{number}-" for number in range(20)]
        self.provider.say(*[Reply(text=text) for text in texts])
        wire = await self.wire()
        for number in range(20):
            api = (MESSAGES, CHAT)[number % 2]
            body = api.body()
            first = b"POST %b HTTP/1.1" % api.path.encode()
            wire.raw(head(b"Content-Length: %d" % len(body), first=first) + body)
        await wire.done(20)
        found = [text for text, answer in zip(texts, wire.answers, strict=True) if text.encode() in answer.body]
        self.assertEqual(found, texts)

    async def test_what_waits_is_bounded(self) -> None:
        """Data behind a request that is in flight waits in the client's own socket."""
        self.provider.say(RawReply(status=None, ending=Ending.STALL))
        wire = await self.wire(head(SIZED) + BODY)
        await self.until(lambda: self.provider.requests)
        wire.raw(head(b"Content-Length: 20000000") + b"x" * 20_000_000)
        [channel] = self.site.channels
        await self.until(lambda: channel._pipelined)
        size = 0
        while size != (size := sum(map(len, channel._pipelined))):
            await self.until(lambda: True)
        self.assertLess(size, 200_000)
        wire.leave()
        await self.until(lambda: not self.bridge.in_flight)

    async def test_half_closed(self) -> None:
        """A client that closes its half counts as gone: the provider is let go, and the row says so."""
        self.provider.say(Reply(text="a word and another", stop_after=3, ending=Ending.STALL))
        wire = await self.wire(
            head(b"Content-Length: %d" % len(MESSAGES.body(stream=True))) + MESSAGES.body(stream=True)
        )
        await wire.when(lambda: wire.answers and wire.answer.body)
        wire.half_close()
        await wire.when(lambda: wire.closed)
        await self.until(lambda: not self.bridge.in_flight)
        self.assertEqual([exchange.end for exchange in self.exchanges], [("cancelled", 200)])

    async def test_half_a_request(self) -> None:
        """A request that breaks off in its head or its body is not served."""
        whole = head(SIZED) + BODY
        for length in (1, 30, len(whole) - len(BODY) + 5, len(whole) - 1):
            wire = await self.wire(whole[:length])
            wire.half_close()
            await wire.when(lambda wire=wire: wire.closed)
            self.assertEqual(wire.answers, [])
        self.assertEqual((len(self.provider.requests), await self.served()), (0, 200))

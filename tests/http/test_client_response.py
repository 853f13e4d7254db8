"""The parser of responses, with bytes alone, however they are split."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH

from aibridge.http.client_response import ResponseParser

CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 All Fine\r\nContent-Type: text/event-stream\r\nX: 1\r\nX: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n8;ext=1\r\nevent: a\r\nB\r\n\r\ndata: b\r\n\r\n0\r\nTrailer: t\r\n\r\n"
)
SIZED = b"HTTP/1.1 500 No\r\nContent-Length: 18\r\n\r\nevent: a\r\ndata: b\r"


def parse(pieces, method=b"POST"):
    """A parser that read these pieces, and the body that came of it."""
    parser = ResponseParser(method)
    return parser, b"".join(parser.feed(piece) for piece in pieces)


class SplitTests(SynchronousTestCase):
    """The cuts between reads make no difference."""

    def expect_chunked(self, pieces):
        parser, body = parse(pieces)
        self.assertEqual((parser.code, parser.phrase, body), (200, b"All Fine", b"event: a\r\ndata: b\r\n"))
        self.assertEqual(parser.headers.getRawHeaders(b"x"), [b"1", b"2"])
        self.assertFalse(parser.headers.hasHeader(b"Trailer"))
        self.assertEqual((parser.complete, parser.keep_alive, parser.problem), (True, True, None))
        self.assertEqual((parser.length, parser.close_delimited), (UNKNOWN_LENGTH, False))

    def test_every_byte(self):
        """A response can come one byte at a time."""
        self.expect_chunked([CHUNKED[at : at + 1] for at in range(len(CHUNKED))])

    def test_every_offset(self):
        """A response can come in two pieces, cut anywhere."""
        for at in range(len(CHUNKED) + 1):
            self.expect_chunked([CHUNKED[:at], CHUNKED[at:]])

    @given(st.lists(st.integers(0, len(CHUNKED)), max_size=8))
    def test_random_offsets(self, cuts):
        """A response can come in many pieces, empty ones among them."""
        ends = [*sorted(cuts), len(CHUNKED)]
        self.expect_chunked([CHUNKED[a:b] for a, b in zip([0, *ends], ends, strict=False)])

    @given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=5), st.integers(1, 64))
    def test_any_body(self, body, sizes, step):
        """Any bytes, in chunks of any size, read in steps of any size, are the same bytes."""
        wire, rest = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], body
        for size in [*sizes, len(body)]:
            chunk, rest = rest[:size], rest[size:]
            if chunk:
                wire.append(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        answer = b"".join([*wire, b"0\r\n\r\n"])
        parser, got = parse([answer[at : at + step] for at in range(0, len(answer), step)])
        self.assertEqual((got, parser.complete, parser.keep_alive), (body, True, True))

    @given(st.binary(max_size=300), st.integers(1, 40))
    def test_any_garbage(self, garbage, step):
        """Whatever comes, the parser says what is wrong with it, or waits for more; it never raises."""
        for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:120]):
            data = start + garbage
            parser, _ = parse([data[at : at + step] for at in range(0, len(data), step)])
            self.assertIsInstance(parser.problem, (str, type(None)))


class EndTests(SynchronousTestCase):
    """The end of a response, and the connection's further use."""

    def test_incomplete(self):
        """A response without its last byte isn't complete."""
        for whole in (CHUNKED, SIZED):
            self.assertFalse(parse([whole[:-1]])[0].complete)
            self.assertTrue(parse([whole])[0].complete)

    def test_close_delimited(self):
        """Without a length, and without chunks as the last coding, only the connection's end is the body's end."""
        for headers in (b"", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n"):
            parser, body = parse([b"HTTP/1.1 200 OK\r\n" + headers + b"\r\nabc"])
            self.assertEqual((parser.complete, parser.close_delimited, body), (False, True, b"abc"))

    def test_empty(self):
        """A length of zero is complete with its head."""
        parser, body = parse([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
        self.assertEqual((parser.complete, parser.length, body), (True, 0, b""))

    def test_body_after_head_request(self):
        """Data behind a response to HEAD isn't its body, and the connection isn't used again."""
        parser, body = parse([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"], b"HEAD")
        self.assertEqual((parser.complete, body), (True, b""))

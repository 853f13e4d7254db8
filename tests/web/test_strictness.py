"""Heads of requests, and the refusal of those that two servers could read in two ways."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, ExpectationFailed, GatewayError, HeadersTooLarge
from aibridge.web.strictness import HeadReader, check_framing, read_field, read_request_line

NO_REQUEST_LINES = (
    b"",
    b"GET",
    b"GET /",
    b"GET / ",
    b"GET  / HTTP/1.1",
    b"GET /  HTTP/1.1",
    b" GET / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET\t/\tHTTP/1.1",
    b"get / HTTP/1.1",
    b"Get / HTTP/1.1",
    b"G@T / HTTP/1.1",
    b"G" * 33 + b" / HTTP/1.1",
    b"GET / http/1.1",
    b"GET / HTTP/1.2",
    b"GET / HTTP/0.9",
    b"GET / HTTP/2.0",
    b"GET / HTTP/1.10",
    b"GET / HTTP/11",
    b"GET / ICAP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
    b"GET /\xc3\xa9 HTTP/1.1",
    b"GET / HTTP/1.1\n",
    b"GET / HTTP/1.1\r",
    b"\x00GET / HTTP/1.1",
    b"\xef\xbb\xbfGET / HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT a:443 HTTP/1.1",
    b"GET a/b HTTP/1.1",
    b"PRI * HTTP/2.0",
)
NO_FIELDS = (
    b"",
    b"Host",
    b": x",
    b"Host : x",
    b"Host\t: x",
    b" Host: x",
    b"\tHost: x",
    b"Ho st: x",
    b"H\xc3\xb6st: x",
    b"Host\x00: x",
    b"Host: \x00",
    b"Host: a\x01b",
    b"Host: a\x7fb",
    b"Host: a\rb",
    b"Host: a\nb",
    b"Host: a\x0bb",
    b"Host: a\x0c",
    b"(Host): x",
    b"Host;: x",
)
LENGTHS = (
    b"",
    b"+5",
    b"-5",
    b"5,5",
    b"5, 5",
    b"0x5",
    b"5.0",
    b"5 5",
    b"5_0",
    b"\xb25",
    b"1" * 19,
    b"1" * 5000,
    b"five",
)
CODINGS = (
    b"",
    b"identity",
    b"gzip",
    b"xchunked",
    b"chunkedx",
    b"chunked, identity",
    b"identity, chunked",
    b"gzip, chunked",
    b"chunked, chunked",
    b"chunked,",
    b",chunked",
    b"chunked;q=1",
    b'"chunked"',
    b"\x0bchunked",
    b"chun ked",
)
HOSTS = (b"a b", b"a,b", b"a/b", b"user@a", b"a\\b", b'a"b', b"a<b", b"a?b", b"a#b", b"\xc3\xa9")

_bytes = st.binary(max_size=30)
_evil = st.sampled_from([b" ", b"\t", b"\r", b"\n", b"\x00", b":", b",", b";", b"\x0b", b"\x7f", b"\xff", b""])
_names = st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Host", b"Expect", b"X-Any"])
_values = st.sampled_from([b"5", b"0", b"chunked", b"a.test", b"100-continue", b""])


class LineTests(SynchronousTestCase):
    """One line at a time."""

    def test_request_lines(self) -> None:
        """What clients send."""
        for line in (
            b"GET / HTTP/1.1",
            b"POST /a?b=%20;//.. HTTP/1.1",
            b"GET http://a/ HTTP/1.1",
            b"M-SEARCH /x HTTP/1.1",
        ):
            self.assertEqual(read_request_line(line), b"HTTP/1.1")
        self.assertEqual(read_request_line(b"HEAD / HTTP/1.0"), b"HTTP/1.0")

    def test_no_request_lines(self) -> None:
        """Anything else is refused, and not said back."""
        for line in NO_REQUEST_LINES:
            error = self.assertRaises(BadRequest, read_request_line, line)
            self.assertNotIn("GET", error.message)

    def test_fields(self) -> None:
        """A header's name, and its value without the blanks around it."""
        for line, field in (
            (b"Host: a", (b"host", b"a")),
            (b"Host:a", (b"host", b"a")),
            (b"X-A:\t a b \t", (b"x-a", b"a b")),
            (b"X_A:", (b"x_a", b"")),
            (b"X: \xc3\xa9\xff", (b"x", b"\xc3\xa9\xff")),
            (b"X: a:b", (b"x", b"a:b")),
        ):
            self.assertEqual(read_field(line), field)

    def test_no_fields(self) -> None:
        """Anything else is refused: a line that continues another, blanks before the colon, control characters."""
        for line in NO_FIELDS:
            self.assertRaises(BadRequest, read_field, line)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(_bytes | _evil, max_size=6).map(b"".join))
    def test_any_line(self, line: bytes) -> None:
        """Whatever comes is what it seems or is refused."""
        for read in (read_request_line, read_field):
            try:
                read(line)
            except BadRequest:
                continue
            self.assertFalse({*line} & {*b"\r\n\x00"}, line)


class FramingTests(SynchronousTestCase):
    """How long a body is, and for whom."""

    def refused(self, *fields: tuple[bytes, bytes], version: bytes = b"HTTP/1.1", error: type = BadRequest) -> None:
        """No such request."""
        self.assertRaises(error, check_framing, version, fields)

    def test_accepted(self) -> None:
        """One way to say it, or none."""
        host = (b"host", b"a.test:80")
        for fields in (
            [],
            [(b"content-length", b"0012")],
            [(b"transfer-encoding", b"Chunked")],
            [(b"expect", b"100-Continue")],
        ):
            check_framing(b"HTTP/1.1", [host, *fields])
        for fields in ([], [host], [(b"content-length", b"5")]):
            check_framing(b"HTTP/1.0", fields)
        for name in (b"", b"[::1]:8080", b"127.0.0.1", b"a_b.c-d", b"xn--bcher-kva"):
            check_framing(b"HTTP/1.1", [(b"host", name)])

    def test_lengths(self) -> None:
        """A length is digits, once."""
        host = (b"host", b"a")
        for length in LENGTHS:
            self.refused(host, (b"content-length", length))
        for second in (b"5", b"6"):
            self.refused(host, (b"content-length", b"5"), (b"content-length", second))

    def test_codings(self) -> None:
        """The only coding is chunked, once, without a length beside it, and not in HTTP/1.0."""
        host, chunked = (b"host", b"a"), (b"transfer-encoding", b"chunked")
        for coding in CODINGS:
            self.refused(host, (b"transfer-encoding", coding))
        self.refused(host, chunked, chunked)
        self.refused(host, chunked, (b"transfer-encoding", b"identity"))
        for pair in ([chunked, (b"content-length", b"5")], [(b"content-length", b"5"), chunked]):
            self.refused(host, *pair)
        self.refused(host, chunked, version=b"HTTP/1.0")

    def test_hosts(self) -> None:
        """One host, and nothing but that."""
        self.refused()
        self.refused((b"host", b"a"), (b"host", b"a"))
        self.refused((b"host", b"a"), (b"host", b"b"), version=b"HTTP/1.0")
        for host in HOSTS:
            self.refused((b"host", host))

    def test_expectations(self) -> None:
        """417 for what the gateway does not do."""
        for expected in (b"200-ok", b"", b"100-continue, x", b"100-continue;a=b"):
            self.refused((b"host", b"a"), (b"expect", expected), error=ExpectationFailed)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(_names.map(bytes.lower), st.tuples(_evil, _values, _evil).map(b"".join)), max_size=5))
    def test_one_way_only(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Of what is accepted every server reads the same length."""
        try:
            check_framing(b"HTTP/1.1", fields)
        except GatewayError:
            return
        names = [name for name, _ in fields]
        self.assertLessEqual(names.count(b"content-length") + names.count(b"transfer-encoding"), 1)
        self.assertEqual(names.count(b"host"), 1)
        for name, value in fields:
            if name == b"content-length":
                self.assertTrue(value.isdigit())
            elif name == b"transfer-encoding":
                self.assertEqual(value.lower(), b"chunked")


class HeadTests(SynchronousTestCase):
    """A whole head, line by line."""

    def read(self, *lines: bytes) -> None:
        """One head."""
        reader = HeadReader()
        for line in lines:
            reader.read(line)

    def test_accepted(self) -> None:
        """One empty line may stand before it."""
        self.read(b"GET / HTTP/1.1", b"Host: a", b"X: y", b"")
        self.read(b"", b"GET / HTTP/1.1", b"Host: a", b"")
        self.assertRaises(BadRequest, self.read, b"", b"", b"GET / HTTP/1.1")

    def test_too_large(self) -> None:
        """A head is bounded in bytes and in headers, whatever they are."""
        first = b"GET / HTTP/1.1"
        self.assertRaises(HeadersTooLarge, self.read, first, b"X: " + b"x" * 16_384)
        self.assertRaises(HeadersTooLarge, self.read, first, *[b"X: " + b"x" * 1000] * 17)
        self.assertRaises(HeadersTooLarge, self.read, first, *[b"X:"] * 202)
        self.read(first, *[b"X:"] * 199, b"Host: a", b"")

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(_names, _evil, st.just(b":"), _evil, _values).map(b"".join) | _bytes, max_size=8))
    def test_any_lines(self, lines: list[bytes]) -> None:
        """Whatever comes is a head or an error that can be answered."""
        for first in ([], [b"POST / HTTP/1.1", b"Host: a"]):
            try:
                self.read(*first, *lines, b"")
            except GatewayError as error:
                self.assertIn(error.status, (400, 417, 431))

"""Heads of requests, and the refusal of ambiguous ones."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, ExpectationFailed, GatewayError, HeadersTooLarge
from aibridge.http.head import Head, HeadReader, read_framing, read_header, read_headers, read_request_line
from aibridge.http.headers import RawHeaders

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
    b"five",
    b"9" * 5000 + b"x",
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
    """Single lines of a head."""

    def test_request_lines(self) -> None:
        """The request lines of clients are read."""
        for line in (
            b"GET / HTTP/1.1",
            b"POST /a?b=%20;//.. HTTP/1.1",
            b"GET http://a/ HTTP/1.1",
            b"GET HTTPS://a/ HTTP/1.1",
            b"M-SEARCH /x HTTP/1.1",
        ):
            self.assertEqual(b" ".join(read_request_line(line)), line)
        self.assertEqual(read_request_line(b"HEAD / HTTP/1.0"), (b"HEAD", b"/", b"HTTP/1.0"))

    def test_no_request_lines(self) -> None:
        """Any other request line is refused, and the error does not repeat it."""
        for line in NO_REQUEST_LINES:
            error = self.assertRaises(BadRequest, read_request_line, line)
            self.assertNotIn("GET", error.message)

    def test_fields(self) -> None:
        """A header is a name, and a value without the blanks around it."""
        for line, field in (
            (b"Host: a", (b"Host", b"a")),
            (b"host:a", (b"host", b"a")),
            (b"X-A:\t a b \t", (b"X-A", b"a b")),
            (b"X_A:", (b"X_A", b"")),
            (b"X_A: \t", (b"X_A", b"")),
            (b"X: \xc3\xa9\xff", (b"X", b"\xc3\xa9\xff")),
            (b"X: a:b", (b"X", b"a:b")),
        ):
            self.assertEqual(read_header(line), field)
            self.assertEqual(read_headers(line), [field])

    def test_no_fields(self) -> None:
        """Other lines are refused: a line that continues another, blanks before the colon, control characters."""
        for line in NO_FIELDS:
            self.assertRaises(BadRequest, read_header, line)
            self.assertRaises(BadRequest, read_headers, b"\r\n".join((b"X: y", line, b"X: y")))

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(_names, _evil, st.just(b":"), _evil, _values).map(b"".join) | _bytes, min_size=1))
    def test_all_at_once(self, lines: list[bytes]) -> None:
        """Headers that are read together are those that are read one by one, or refused if one of them is."""
        head = b"\r\n".join(lines) or b"a:"
        try:
            expected = [read_header(line) for line in head.split(b"\r\n")]
        except BadRequest:
            self.assertRaises(BadRequest, read_headers, head)
        else:
            self.assertEqual(read_headers(head), expected)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(_bytes | _evil, max_size=6).map(b"".join))
    def test_any_line(self, line: bytes) -> None:
        """Any line is read without a line break or NUL in it, or refused."""
        for read in (read_request_line, read_header):
            try:
                read(line)
            except BadRequest:
                continue
            self.assertFalse({*line} & {*b"\r\n\x00"}, line)


class FramingTests(SynchronousTestCase):
    """The length of a body, and the host of a request."""

    def refused(self, *fields: tuple[bytes, bytes], version: bytes = b"HTTP/1.1", error: type = BadRequest) -> None:
        """Assert that these headers are refused."""
        self.assertRaises(error, read_framing, version, RawHeaders(fields))

    def test_accepted(self) -> None:
        """A length, chunks, or neither is accepted."""
        host = (b"host", b"a.test:80")
        for fields, length in (
            ([], 0),
            ([(b"content-length", b"0012")], 12),
            ([(b"transfer-encoding", b"Chunked")], None),
            ([(b"content-length", b"9223372036854775808")], 2**63),
            ([(b"expect", b"100-Continue")], 0),
        ):
            self.assertEqual(read_framing(b"HTTP/1.1", RawHeaders([host, *fields])), length)
        for fields, length in (([], 0), ([host], 0), ([(b"content-length", b"5")], 5)):
            self.assertEqual(read_framing(b"HTTP/1.0", RawHeaders(fields)), length)
        for name in (b"", b"[::1]:8080", b"127.0.0.1", b"a_b.c-d", b"xn--bcher-kva"):
            self.assertEqual(read_framing(b"HTTP/1.1", RawHeaders([(b"host", name)])), 0)

    def test_lengths(self) -> None:
        """A length is digits, and there is only one."""
        host = (b"host", b"a")
        for length in LENGTHS:
            self.refused(host, (b"content-length", length))
        for second in (b"5", b"6"):
            self.refused(host, (b"content-length", b"5"), (b"content-length", second))

    def test_long_numbers(self) -> None:
        """A length of very many digits is a length, and over any limit; also one of zeros that hides a small one."""
        for length in (b"9" * 101, b"1" * 15_000, b"0" * 5000 + b"5"):
            fields = RawHeaders([(b"host", b"a"), (b"content-length", length)])
            found = read_framing(b"HTTP/1.1", fields)
            self.assertTrue(found is not None and found > 2**64, length)

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
        """There is one host, and its name holds nothing else."""
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
        """Every server reads the same length in headers that are accepted."""
        try:
            read_framing(b"HTTP/1.1", RawHeaders(fields))
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
    """Heads, as they arrive."""

    def read(self, *lines: bytes) -> Head | None:
        """A head that comes line by line."""
        reader = HeadReader()
        found = next(filter(None, (reader.feed(line + b"\r\n") for line in lines)), None)
        return found[0] if found else None

    def at_once(self, *lines: bytes) -> Head | None:
        """A head that comes in one piece."""
        found = HeadReader().feed(b"".join(line + b"\r\n" for line in lines))
        return found[0] if found else None

    def test_accepted(self) -> None:
        """An empty line may stand before a head."""
        for read in (self.read, self.at_once):
            for before in ((), (b"",)):
                head = read(*before, b"GET /a?b HTTP/1.1", b"Host: a", b"X: y", b"")
                assert head is not None
                self.assertEqual((head.method, head.target, head.version), (b"GET", b"/a?b", b"HTTP/1.1"))
                self.assertEqual(head.headers, RawHeaders([(b"Host", b"a"), (b"X", b"y")]))
                self.assertEqual((head.length, head.persistent, head.expects_continue), (0, True, False))
            self.assertRaises(BadRequest, read, b"", b"", b"GET / HTTP/1.1")

    def test_no_fields(self) -> None:
        """Before HTTP/1.1 there needn't be a host, nor any other header."""
        head = self.at_once(b"GET / HTTP/1.0", b"")
        assert head is not None
        self.assertEqual((head.headers, head.persistent), (RawHeaders(), False))

    def test_connection(self) -> None:
        """Another request may follow unless one of the Connection headers has the option close."""
        for value, persistent in ((b"keep-alive", True), (b"a, Close", False), (b"close", False), (b"closed", True)):
            head = self.at_once(b"GET / HTTP/1.1", b"Host: a", b"Connection: x", b"Connection: " + value, b"")
            assert head is not None
            self.assertIs(head.persistent, persistent)

    def test_what_follows(self) -> None:
        """The data behind a head is returned with it; then the next head can be read."""
        reader = HeadReader()
        whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for _ in range(2):
            head, rest = reader.feed(whole + b"body") or (None, b"")
            self.assertEqual((head is not None, rest), (True, b"body"))
        self.assertIsNone(reader.feed(whole[:-1]))
        head, rest = reader.feed(b"\n") or (None, b"none")
        self.assertEqual((head is not None, rest), (True, b""))

    def test_refused_early(self) -> None:
        """A malformed head is refused as soon as it shows, and its target is known."""
        for lines in ((b"nonsense",), (b"POST /a HTTP/1.1", b"Host : a"), (b"POST /a HTTP/1.1", b"a\nb")):
            self.assertRaises(BadRequest, self.read, *lines)
        reader = HeadReader()
        self.assertRaises(BadRequest, reader.feed, b"POST /a HTTP/1.1\r\nHost: a\nX:")
        self.assertEqual(reader.target, b"/a")
        self.assertEqual(HeadReader().target, b"/")

    def test_too_large(self) -> None:
        """A head is bounded in bytes and in headers, whatever they are."""
        first = b"GET / HTTP/1.1"
        self.assertRaises(HeadersTooLarge, self.read, first, b"X: " + b"x" * 16_384)
        self.assertRaises(HeadersTooLarge, self.read, first, *[b"X: " + b"x" * 1000] * 17)
        self.assertRaises(HeadersTooLarge, self.read, first, *[b"X:"] * 202)
        self.assertRaises(HeadersTooLarge, self.at_once, first, *[b"X:"] * 202, b"")
        self.assertRaises(HeadersTooLarge, self.at_once, first, *[b"X: " + b"x" * 1000] * 17, b"")
        for read in (self.read, self.at_once):
            self.assertIsNotNone(read(first, *[b"X:"] * 199, b"Host: a", b""))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(_names, _evil, st.just(b":"), _evil, _values).map(b"".join) | _bytes, max_size=8))
    def test_any_lines(self, lines: list[bytes]) -> None:
        """Any lines are a head or an error for the client, the same in one piece and in many."""
        for first in ([], [b"POST / HTTP/1.1", b"Host: a"]):
            outcomes = [self.outcome(read, *first, *lines, b"") for read in (self.read, self.at_once)]
            self.assertEqual(*outcomes)

    def outcome(self, read: Callable[..., Head | None], *lines: bytes) -> tuple[RawHeaders | None, int]:
        """The headers, or the status of the error."""
        try:
            head = read(*lines)
        except GatewayError as error:
            self.assertIn(error.status, (400, 417, 431))
            return None, error.status
        return head.headers if head is not None else None, 0

"""Bodies of requests as they arrive: of a known length and in chunks, whole or refused."""

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from aibridge.errors import BadRequest, BodyTooLarge, GatewayError
from aibridge.http.body import MAX_SIZE_LINE, MAX_TRAILERS, ChunkedBody, reader_for
from aibridge.http.head import read_header

LIMIT = 1000
NEXT = b"GET / HTTP/1.1\r\n"
WHOLE = b"5\r\nhello\r\nA;name=value\r\n0123456789\r\n0\r\nX-Trailer: a\r\n\r\n"

Outcome = tuple[bytes, bytes] | str

_lines = st.sampled_from(
    [b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"\r\n", b"X: a\r\n", b"00a\r\n", b"hello", NEXT]
)
_evil = st.sampled_from([b"\r", b"\n", b"\r\n", b";", b" ", b"\x00", b"\x0b", b"0x", b"-", b"+", b"_", b"f", b"0"])


def read(data: bytes, cuts: list[int]) -> Outcome:
    """The body and what follows it, or why there is none, of data that comes in pieces."""
    body, rest = ChunkedBody(LIMIT), b""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in pairwise(places):
            rest = rest + data[start:end] if body.complete else body.feed(data[start:end])
    except BadRequest:
        return "malformed"
    except BodyTooLarge:
        return "too large"
    return (body.content(), rest) if body.complete else "incomplete"


def twisteds(data: bytes) -> Outcome:
    """The same by Twisted's decoder, with a check of the trailers."""
    pieces: list[bytes] = []
    rests: list[bytes] = []
    decoder = _ChunkedTransferDecoder(pieces.append, rests.append)
    try:
        decoder.dataReceived(data)
        for trailer in decoder._trailerHeaders if rests else ():
            read_header(bytes(trailer))
    except (_MalformedChunkedDataError, BadRequest):
        return "malformed"
    if not rests:
        return "incomplete"
    return b"".join(pieces), rests[0]


class ChunkedBodyTests(SynchronousTestCase):
    """Chunks are put together, and ambiguous ones are refused."""

    def refused(self, error: type[GatewayError], *pieces: bytes) -> None:
        """Refused with the last of these pieces, and not before."""
        body = ChunkedBody(LIMIT)
        for piece in pieces[:-1]:
            self.assertEqual((body.feed(piece), body.complete), (b"", False))
        self.assertRaises(error, body.feed, pieces[-1])

    @given(st.lists(st.integers(0, 200), max_size=8))
    def test_any_cut(self, cuts: list[int]) -> None:
        """A body and what follows it are the same, wherever the network cuts them."""
        self.assertEqual(read(WHOLE + NEXT, cuts), (b"hello0123456789", NEXT))

    @settings(max_examples=300, deadline=None)
    @given(st.lists(_lines | _evil, max_size=8).map(b"".join), st.lists(st.integers(0, 100), max_size=4))
    @example(b"fffGET / HTTP/1.1\r\n\r", [3])
    def test_as_others_read_it(self, data: bytes, cuts: list[int]) -> None:
        """An accepted body is the one that Twisted reads; a refused one Twisted refuses too, or waits for more of it.

        Twisted has no limit. A size over the limit is refused as it comes, before the junk that may follow it.
        """
        ours, theirs = read(data, cuts), twisteds(data)
        if ours in ("malformed", "too large"):
            self.assertIn(theirs, ("incomplete", "malformed"))
        else:
            self.assertEqual(ours, theirs)

    def test_too_large(self) -> None:
        """A chunk over the limit is refused before it comes, however long its number is, and with it the whole body."""
        self.refused(BodyTooLarge, b"3e9")
        self.refused(BodyTooLarge, b"3e8\r\n" + b"x" * 1000 + b"\r\n", b"1")
        self.refused(BodyTooLarge, b"FFFFFFFFFFFFFFFF\r\n")
        self.refused(BodyTooLarge, b"1" * MAX_SIZE_LINE)
        self.assertEqual(read(b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", []), (b"x" * 1000, b""))

    def test_long_lines(self) -> None:
        """The line before a chunk is bounded, and so are the trailers; neither has to end to be refused."""
        for line in (b"0" * MAX_SIZE_LINE, b"5;" + b"a" * (MAX_SIZE_LINE - 2)):
            self.refused(BadRequest, line, b"0")
            self.refused(BadRequest, line + b"0\r\n")
        self.refused(BadRequest, b"0\r\n", b"X: " + b"a" * MAX_TRAILERS)
        self.refused(BadRequest, b"0\r\n", *[b"X: " + b"a" * 995 + b"\r\n"] * (MAX_TRAILERS // 1000 + 1))

    def test_refused_at_once(self) -> None:
        """Malformed chunks are refused with the first byte that shows it."""
        for pieces in (
            (b"g",),
            (b"5", b" "),
            (b"5\r", b"x"),
            (b"\r", b"\n"),
            (b"5\r\nhello", b"x"),
            (b"0\r\nX", b"\r\n"),
        ):
            self.refused(BadRequest, *pieces)


class SizedBodyTests(SynchronousTestCase):
    """A body of a known length ends where its length says."""

    @given(st.binary(max_size=30), st.binary(max_size=5), st.integers(0, 35))
    def test_any_cut(self, content: bytes, following: bytes, cut: int) -> None:
        """The body is its bytes, and what follows them is returned."""
        body, data = reader_for(len(content), LIMIT), content + following
        rest = body.feed(data[:cut])
        if not body.complete:
            self.assertEqual(rest, b"")
            rest = body.feed(data[cut:])
        else:
            rest += data[cut:]
        self.assertEqual((body.complete, body.content(), rest), (True, content, following))

    def test_too_large(self) -> None:
        """A length over the limit is refused."""
        self.assertRaises(BodyTooLarge, reader_for, LIMIT + 1, LIMIT)

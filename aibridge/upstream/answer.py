"""The parser of one answer: bytes in, head and body out. It knows no connection and no reactor.

On llhttp, by way of httptools: https://github.com/nodejs/llhttp
"""

from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.web.iweb import UNKNOWN_LENGTH

from ..fields import Field, Fields

MAX_BARREN_BYTES = 256 * 1024
"""How much may be read in a row that is no body: the whole head, trailers, what stands between chunks."""
MAX_HEADERS = 1000

_VERSIONS = {"1.0": (b"HTTP", 1, 0), "1.1": (b"HTTP", 1, 1)}


class AnswerParser:
    """Reads one answer, from its first byte to its last; informational ones before it are skipped."""

    version: tuple[bytes, int, int]
    code: int
    headers: Fields
    length: int | str

    def __init__(self, method: bytes) -> None:
        self.phrase = b""
        self.close_delimited = False
        """Whether nothing but the end of the connection ends the body."""
        self.started = False
        """Whether the head is complete, and what it says is known."""
        self.complete = False
        self.keep_alive = False
        """Whether the connection can be used again; of meaning once the answer is complete."""
        self.problem: str | None = None
        """Why this can't be read on, if so."""
        self._has_body = method != b"HEAD"
        self._fields: list[Field] = []
        self._pieces: list[bytes] = []
        self._barren = 0
        self._parser: Any = HttpResponseParser(self)

    def feed(self, data: bytes) -> bytes:
        """Read on, and return what of the body was in it."""
        if self._parser is None:
            self.keep_alive = self.keep_alive and not data  # it says more than it was asked
            return b""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._stumbled(str(error))
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._barren = 0 if body else self._barren + len(data)
        if self._barren > MAX_BARREN_BYTES and not self.complete:
            self.problem = "its head or what stands between pieces of its body is too large"
        if self.complete:
            self._parser = None  # it holds this object too: a circle, which only the garbage collector would open
        return body

    def _stumbled(self, problem: str) -> None:
        if self.complete:
            self.keep_alive = False
        elif self.problem is None:
            self.problem = problem

    # What follows is called by llhttp, in the midst of `feed`.

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep_alive = False  # it says more than it was asked

    def on_status(self, phrase: bytes) -> None:
        if not self.started:
            self.phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.started:  # else it is a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole; one of an interim answer is looked past."""
        code = self._parser.get_status_code()
        if self.started or (100 <= code < 200 and code != 101):
            return
        version = _VERSIONS.get(self._parser.get_http_version())
        if code == 101 or version is None or len(self._fields) > MAX_HEADERS:
            self.problem = "its head is none that this client can take"
            return
        self.version = version
        self.code = code
        self._read_fields()
        self.started = True
        if not self._has_body:
            self.on_message_complete()

    def _read_fields(self) -> None:
        headers = self.headers = Fields(self._fields)
        self._fields.clear()
        sizes = headers.by_name.get(b"content-length")
        if not self._has_body or self.code in (204, 304):
            self.length = 0
        elif sizes:
            self.length = int(sizes[0])
        else:
            self.length = UNKNOWN_LENGTH
            # Without a length, llhttp keeps a connection alive only behind chunks; unless it is to be closed anyway.
            codings = headers.by_name.get(b"transfer-encoding", [b""])
            self.close_delimited = not codings[-1].lower().rstrip().endswith(b"chunked")

    def on_body(self, piece: bytes) -> None:
        if not self.complete:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if not self.started:  # an informational answer: the one that was asked for follows
            self._fields.clear()
            self.phrase = b""
        elif not self.complete:
            self.complete = True
            # After this callback llhttp says no.
            self.keep_alive = self._parser.should_keep_alive()

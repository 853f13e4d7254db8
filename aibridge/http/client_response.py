"""The answer as the caller sees it, and the valve through which its body flows."""

from typing import Any, Protocol, cast

from attrs import define, field
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

from .headers import Field, RawHeaders

MAX_BARREN_BYTES = 256 * 1024
"""How much may be read in a row that is no body: the whole head, trailers, what stands between chunks."""
MAX_HEADERS = 1000

_VERSIONS = {"1.0": (b"HTTP", 1, 0), "1.1": (b"HTTP", 1, 1)}


class ResponseParser:
    """Reads one answer, from its first byte to its last; informational ones before it are skipped."""

    version: tuple[bytes, int, int]
    code: int
    headers: RawHeaders
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
            self._fail(str(error))
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._barren = 0 if body else self._barren + len(data)
        if self._barren > MAX_BARREN_BYTES and not self.complete:
            self.problem = "its head or what stands between pieces of its body is too large"
        if self.complete:
            self._parser = None  # it holds this object too: a circle, which only the garbage collector would open
        return body

    def _fail(self, problem: str) -> None:
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
        headers = self.headers = RawHeaders(self._fields)
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


class Source(Protocol):
    """What a body comes from."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close at once; the body is told of its end."""


@implementer(IPushProducer)
@define(eq=False)
class Body:
    """The transport of whoever reads a body: it turns the provider's own socket off and on.

    Held is only what one read of the socket had brought when the reader paused, or before there was a reader. The
    reader is told of the end after the last byte; an end with nothing held is told at once, paused or not.
    """

    disconnecting = False  # asked for by LineReceiver

    _source: Source | None
    _reader: IProtocol | None = None
    _held: list[bytes] = field(factory=list, repr=False)
    _end: Failure | None = None
    _paused: bool = False
    _stopped: bool = False
    _flowing: bool = False

    @property
    def unread(self) -> bool:
        """Whether nobody asked for it yet."""
        return self._reader is None

    def deliver_to(self, reader: IProtocol) -> None:
        """Let it flow to this reader; once."""
        if self._reader is not None:
            raise RuntimeError("the body is delivered once")
        self._reader = reader
        self._paused = False
        reader.makeConnection(cast(ITransport, self))
        if not self._paused:  # a reader may be born paused
            self.resumeProducing()

    # The source's side.

    def received(self, data: bytes) -> None:
        """More of it came."""
        if data and not self._stopped:
            self._held.append(data)
            self._flow()

    def ended(self, reason: Failure, data: bytes = b"") -> None:
        """It is over, after this last piece; the source has no more to do with it."""
        self._source = None
        self._end = Failure(ConnectionAborted()) if self._stopped else reason
        if data and not self._stopped:
            self._held.append(data)
        self._flow()

    # The reader's side.

    def pauseProducing(self) -> None:
        """Stop reading from the provider."""
        self._paused = True
        if self._source is not None:
            self._source.pause()

    def resumeProducing(self) -> None:
        """Hand over what is held, then read on."""
        self._paused = False
        self._flow()
        if self._source is not None and not self._paused:
            self._source.resume()

    def stopProducing(self) -> None:
        """Close the connection for good, at once; the reader is told of the end as of any other."""
        self._stopped = True
        self._held.clear()
        if self._source is not None:
            self._source.abort()
        elif self._end is not None:
            self.ended(self._end)

    loseConnection = abortConnection = stopProducing

    def _flow(self) -> None:
        if self._flowing or self._reader is None:
            return
        self._flowing = True  # a reader that resumes within dataReceived gets no second call inside the first
        try:
            while self._held and not self._paused:
                self._reader.dataReceived(self._held.pop(0))
        finally:
            self._flowing = False
        if self._end is not None and not self._held:
            end, self._end = self._end, None
            self._reader.connectionLost(end)


@implementer(IResponse)
@define(eq=False)
class Response:
    """An answer whose head is complete. Nothing of its body is read before `deliverBody` beyond what came along."""

    version: tuple[bytes, int, int]
    code: int
    phrase: bytes
    headers: Headers
    length: int | str
    request: IClientRequest
    _body: Body
    previousResponse: IResponse | None = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Hand the body to a protocol, whose transport is then an `IPushProducer`. Its ``connectionLost`` gets:

        - `ResponseDone`: that was all;
        - `PotentialDataLoss`: the connection ended, and that was the only mark of the end;
        - `UpstreamBroke`: the provider broke off;
        - `ConnectionAborted`: the protocol itself had stopped it.
        """
        self._body.deliver_to(protocol)

    def setPreviousResponse(self, response: IResponse) -> None:
        """Keep the answer that led here, for agents that follow redirects."""
        self.previousResponse = response

"""A provider's response: how it is parsed, and how its body is delivered."""

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
"""Bytes that may come in a row without a byte of body: the whole head, trailers, the lines between chunks."""
MAX_HEADERS = 1000

_VERSIONS = {"1.0": (b"HTTP", 1, 0), "1.1": (b"HTTP", 1, 1)}


class ResponseParser:
    """Reads one response, from its first byte to its last. Informational ones before it are skipped."""

    version: tuple[bytes, int, int]
    code: int
    headers: RawHeaders
    length: int | str

    def __init__(self, method: bytes) -> None:
        self.phrase = b""
        self.close_delimited = False
        """True if only the end of the connection ends the body."""
        self.started = False
        """True once the head is complete and understood."""
        self.complete = False
        self.keep_alive = False
        """True if the connection can be used again; only known once the response is complete."""
        self.problem: str | None = None
        """Why the rest can't be read, if so."""
        self._has_body = method != b"HEAD"
        self._fields: list[Field] = []
        self._pieces: list[bytes] = []
        self._last = 0
        """The number of pieces that belong to the body, once the response is complete."""
        self._barren = 0
        self.on_body = self._pieces.append  # called for each event of a stream, so it is no method
        self._parser: Any = HttpResponseParser(self)

    def feed(self, data: bytes) -> bytes:
        """Read on, and return the part of the body that came."""
        if self.complete:
            self.keep_alive = self.keep_alive and not data  # nothing more was requested
            return b""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.complete:
                self.keep_alive = False
            elif self.problem is None:
                self.problem = str(error)
        pieces = self._pieces
        if self.complete:
            # The parser refers to this object: without this only the garbage collector would free them.
            self._parser = None
            self.keep_alive = self.keep_alive and len(pieces) == self._last
            return b"".join(pieces[: self._last])
        body = b"".join(pieces)
        pieces.clear()
        self._barren = 0 if body else self._barren + len(data)
        if self._barren > MAX_BARREN_BYTES:
            self.problem = "its head, or the lines between pieces of its body, are too large"
        return body

    # Called by the parser, during `feed`.

    def on_message_begin(self) -> None:
        if self.complete:
            self.keep_alive = False  # another response follows, and nothing more was requested

    def on_status(self, phrase: bytes) -> None:
        if not self.started:
            self.phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.started:  # else it is a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Read the head; an informational response is skipped."""
        code = self._parser.get_status_code()
        if self.started or (100 <= code < 200 and code != 101):
            return
        version = _VERSIONS.get(self._parser.get_http_version())
        if not 200 <= code < 600 or version is None or len(self._fields) > MAX_HEADERS:
            self.problem = "unsupported status or version, or too many headers"
            return
        self.version, self.code, self.started = version, code, True
        headers = self.headers = RawHeaders(self._fields)
        self._fields.clear()
        sizes = headers.by_name.get(b"content-length")
        if not self._has_body or code in (204, 304):
            self.length = 0
        elif sizes:
            self.length = int(sizes[0])
        else:
            self.length = UNKNOWN_LENGTH
            # Without a length, llhttp keeps a connection alive only behind chunks; unless it is to be closed anyway.
            codings = headers.by_name.get(b"transfer-encoding", [b""])
            self.close_delimited = not codings[-1].lower().rstrip().endswith(b"chunked")
        if not self._has_body:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        if not self.started:  # an informational response: the real one follows
            self._fields.clear()
            self.phrase = b""
        elif not self.complete:
            self.complete = True
            self._last = len(self._pieces)
            self.keep_alive = self._parser.should_keep_alive()  # the parser knows this only during this call


class BodySource(Protocol):
    """The connection that a body comes from."""

    def pause(self) -> None:
        """Stop reading for now."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close at once; the body is told of its end."""


@implementer(IPushProducer)
@define(eq=False)
class ResponseBody:
    """The transport of a body's reader. Pausing it stops reading from the provider's socket.

    It holds only what one read of the socket brought before there was a reader, or while the reader was paused. The
    reader is told of the end after the last byte. If nothing is held, it is told at once, paused or not.
    """

    disconnecting = False  # LineReceiver needs it

    _source: BodySource | None
    reader: IProtocol | None = None
    _held: list[bytes] = field(factory=list, repr=False)
    _end: Failure | None = None
    _paused: bool = False
    _stopped: bool = False
    _delivering: bool = False

    def deliver_to(self, reader: IProtocol) -> None:
        """Deliver the body to this reader; once."""
        if self.reader is not None:
            raise RuntimeError("the body is delivered once")
        self.reader = reader
        self._paused = False
        reader.makeConnection(cast(ITransport, self))
        if not self._paused:  # a reader may pause as soon as it is connected
            self.resumeProducing()

    # Called by the connection

    def received(self, data: bytes) -> None:
        """Deliver a piece, or hold it until the reader can take it."""
        if self._stopped or not data:
            return
        if self.reader is None or self._paused or self._delivering:
            self._held.append(data)
            return
        self._delivering = True  # a reader that resumes within dataReceived gets no second call inside the first
        try:
            self.reader.dataReceived(data)
        finally:
            self._delivering = False
        if self._held or self._end is not None:
            self._deliver_held()

    def ended(self, reason: Failure, data: bytes = b"") -> None:
        """The body ends with this last piece. The connection has no more to do with it."""
        self._source = None
        self._end = Failure(ConnectionAborted()) if self._stopped else reason
        if data and not self._stopped:
            self._held.append(data)
        if self.reader is not None:
            self._deliver_held()

    # Called by the reader

    def pauseProducing(self) -> None:
        """Stop reading from the provider."""
        self._paused = True
        if self._source is not None:
            self._source.pause()

    def resumeProducing(self) -> None:
        """Deliver what is held, then read on."""
        self._paused = False
        self._deliver_held()
        if self._source is not None and not self._paused:
            self._source.resume()

    def stopProducing(self) -> None:
        """Close the connection at once; the reader is told of the end as of any other."""
        self._stopped = True
        self._held.clear()
        if self._source is not None:
            self._source.abort()
        elif self._end is not None:
            self.ended(self._end)

    loseConnection = abortConnection = stopProducing

    def _deliver_held(self) -> None:
        if self._delivering or self.reader is None:
            return
        self._delivering = True
        try:
            while self._held and not self._paused:
                self.reader.dataReceived(self._held.pop(0))
        finally:
            self._delivering = False
        if self._end is not None and not self._held:
            end, self._end = self._end, None
            self.reader.connectionLost(end)


@implementer(IResponse)
@define(eq=False)
class Response:
    """A response whose head is complete. Before `deliverBody` no more of its body is read than came with the head."""

    version: tuple[bytes, int, int]
    code: int
    phrase: bytes
    headers: Headers
    length: int | str
    request: IClientRequest
    _body: ResponseBody
    previousResponse: IResponse | None = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body to a protocol, whose transport is then an `IPushProducer`. Its ``connectionLost`` gets:

        - `ResponseDone`: the body is complete;
        - `PotentialDataLoss`: the connection was closed, which was the only mark of the end;
        - `UpstreamBroke`: the provider closed the connection before the end;
        - `ConnectionAborted`: the protocol itself stopped the body.
        """
        self._body.deliver_to(protocol)

    def setPreviousResponse(self, response: IResponse) -> None:
        """Keep the response that led here, for agents that follow redirects."""
        self.previousResponse = response

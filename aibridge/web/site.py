"""The Site in front of everything: it bounds heads, bodies and times while they arrive, and keeps no access log."""

# twisted.web.http has no types.
# mypy: disable-error-code="no-untyped-call, attr-defined, override, union-attr, assignment"

from collections.abc import Iterable
from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from ..errors import BadRequest, BodyTooLarge, GatewayError, HeadersTooLarge, RequestTooSlow, encode
from ..upstream.watchdog import Watchdog
from .strictness import MOST_HEAD_BYTES, HeadReader, read_field

_TIME_TO_READ_THE_ERROR = 5.0
_FOR_EVER = float("inf")


class GatewayRequest(Request):
    """A request whose body is kept in memory and bounded while it arrives."""

    # What every request has. Python stores a __dict__ of more than 30 names as a hash table of its own, of 1.5 kB.
    __slots__ = ("channel", "client", "cookies", "host", "notifications", "requestHeaders", "responseHeaders")

    defaultContentType = None

    def gotLength(self, length: int | None) -> None:
        """The head is whole; a length that is too large is refused before the body is read."""
        self.content = BytesIO()
        if length is not None and length > self.channel.site.max_body_bytes:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        if self.content.tell() + len(data) > self.channel.site.max_body_bytes:
            self._refuse_body()
        else:
            self.content.write(data)

    def write(self, data: bytes) -> None:
        """Sends a piece. The head goes out with the first one."""
        if not self.startedWriting:
            super().write(data)
            self.channel.send_head()
        elif data and not self._disconnected:
            self.channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def _refuse_body(self) -> None:
        limit = self.channel.site.max_body_bytes
        self.channel.refuse(BodyTooLarge(f"The body is over the {limit} bytes that are allowed here."))


class GatewayChannel(HTTPChannel):
    """A client's connection. It has its times for a whole head, between two pieces of a body, and between requests.

    Where twisted.web forgives, a `HeadReader` in front of it doesn't. Who is refused is heard no more.
    """

    # Not in its __dict__, for the same reason as those of `GatewayRequest`.
    __slots__ = ("_head", "_head_reader", "_idle", "_refused", "_watch")

    site: "GatewaySite"
    totalHeadersSize = MOST_HEAD_BYTES
    MAX_LENGTH = MOST_HEAD_BYTES

    def __init__(self) -> None:
        super().__init__()
        self._idle = True
        self._refused = False
        self._head = b""
        """The head of an answer that is about to be sent."""

    def connectionMade(self) -> None:
        """The client has time until its first request."""
        self._head_reader = HeadReader()
        self._watch = self.site.watchdog.watch(self.site.keepalive_timeout, self._too_slow)
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:
        """Nothing is awaited any more."""
        self.site.watchdog.call_off(self._watch)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """The first bytes of a request start its head's time."""
        if self._idle:
            self._idle = False
            self._allow(self.site.head_timeout)
        super().dataReceived(data)
        if self.line_mode and b"\n" in self._buffer:  # of whole lines nothing is left there
            self.refuse(BadRequest("A line of the request ends without a carriage return."))

    def lineReceived(self, line: bytes) -> None:
        """A line of a head, as long as the head is what it should be."""
        if self._refused:
            return
        try:
            self._head_reader.read(line)
        except GatewayError as error:
            self.refuse(error)
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """No head is that large."""
        self.refuse(HeadersTooLarge(f"The head of the request is over {MOST_HEAD_BYTES} bytes."))

    def allHeadersReceived(self) -> None:
        """From here on it is the body that is awaited."""
        self._head_reader = HeadReader()
        self._idle = False
        self._allow(self.site.body_timeout)
        super().allHeadersReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Whether another request may follow, by all that the Connection headers say."""
        said = b",".join(request.requestHeaders.getRawHeaders(b"connection", ())).lower()
        return version == b"HTTP/1.1" and b"close" not in map(bytes.strip, said.split(b","))

    def rawDataReceived(self, data: bytes) -> None:
        """A piece of the body. What comes after a refusal is thrown away: only so does the client get to read it."""
        if not self._refused:
            self._watch.alive = True
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """The request is whole; the exchange has times of its own."""
        self._check_trailers()
        if not self._refused:
            self._allow(_FOR_EVER)
            super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """The connection may be used again."""
        self._idle = True
        self._allow(self.site.keepalive_timeout)
        super().requestDone(request)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """The head of an answer: it waits for what follows it, since each `write` is a packet of its own."""
        if headers.hasHeader(b"connection"):  # it never says more than that this answer is the last one
            self.persistent = False
        elif not self.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        lines = [b"%b %b %b" % (version, code, reason)]
        for name, values in headers.getAllRawHeaders():
            lines += [b"%b: %b" % (name, value) for value in values]
        self._head = b"\r\n".join([*lines, b"", b""])

    def write(self, data: bytes) -> None:
        """A piece of an answer."""
        if self._head:
            data, self._head = self._head + data, b""
        self.transport.write(data)

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        """Several of them."""
        self.write(b"".join(pieces))

    def send_head(self) -> None:
        """Sends the head of an answer that has no more to say for now."""
        if self._head:
            self.write(b"")

    def refuse(self, error: GatewayError) -> None:
        """Answers before the request is whole, in the shape of the API it was meant for, and takes nothing more."""
        if self._refused:
            return
        self._refused = True
        body = encode(self.site.refusal(getattr(self, "_path", b"/"), error))
        status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
        self.transport.write(f"{status}\r\n{fields}\r\n\r\n".encode() + body)
        self.setRawMode()
        self._allow(_TIME_TO_READ_THE_ERROR)

    def _check_trailers(self) -> None:
        """Nobody reads what follows the last chunk, but it must be what it seems."""
        try:
            for line in getattr(self._transferDecoder, "_trailerHeaders", ()):
                read_field(bytes(line))
        except BadRequest as error:
            self.refuse(error)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(BadRequest("This is not HTTP as the gateway understands it."))

    def _send100Continue(self) -> None:
        if not self._refused:
            super()._send100Continue()

    def _allow(self, seconds: float) -> None:
        self.site.watchdog.change(self._watch, seconds)

    def _too_slow(self) -> None:
        """Closes in order, and by force where the client doesn't even take what is left to send."""
        self._watch = self.site.watchdog.watch(self.site.stall_timeout, self.abortConnection)
        if self._idle or self._refused:
            self.loseConnection()
        else:
            self.refuse(RequestTooSlow("The request did not arrive in time."))

    def abortConnection(self) -> None:
        """Ends it at once."""
        self.transport.abortConnection()


class GatewaySite(Site):
    """Serves a resource. Sizes are in bytes, times in seconds, with the meanings of the ``server`` configuration."""

    noisy = False
    requestFactory = GatewayRequest
    protocol = GatewayChannel

    def __init__(
        self,
        resource: IResource,
        *,
        max_body_bytes: int,
        head_timeout: float,
        body_timeout: float,
        keepalive_timeout: float,
        stall_timeout: float,
        reactor: Any,
    ) -> None:
        super().__init__(
            resource, requestFactory=GatewayRequest, timeout=None, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.max_body_bytes = max_body_bytes
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.keepalive_timeout = keepalive_timeout
        self.stall_timeout = stall_timeout
        self.watchdog = Watchdog(reactor)

    def refusal(self, target: bytes, error: GatewayError) -> dict[str, Any]:
        """The body of a refusal: the resource knows the API's shape, if it is a bridge."""
        shape = getattr(self.resource, "refusal", None)
        return shape(target, error) if shape else error.as_either()

    def startFactory(self) -> None:
        """No access log: the bridge logs each interception itself."""

    def stopFactory(self) -> None:
        """Connections that are still open end with the process; their deadlines end here."""
        self.watchdog.stop()

    def log(self, request: Request) -> None:
        """Nothing."""

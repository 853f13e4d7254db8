"""A client's connection: one request after another, each with one response."""

# twisted.web.http has no types.
# mypy: disable-error-code="no-untyped-call, override, assignment"

from enum import Enum
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import alsoProvides, implementer

from ..errors import GatewayError, RequestTooSlow, encode
from .body import BodyReader, reader_for
from .deadlines import FOREVER, Deadlines
from .half_close import HalfCloseProbe
from .head import Head, HeadReader
from .headers import RawHeaders
from .server_request import GatewayRequest
from .sockets import TCPTransport

_TIME_TO_READ_THE_ERROR = 5.0
_MAX_PIPELINED = 16 * 1024
"""Bytes that are read of what a client sends before it has the response to its last request."""


class ChannelState(Enum):
    """The stage of a connection."""

    IDLE = "nothing has come since it was opened, or since the last response"
    HEAD = "in the head of a request"
    BODY = "in its body"
    RESPONDING = "the request is complete, its response isn't"
    REFUSED = "an error is sent as the last response; what still comes is thrown away"
    CLOSING = "closed as soon as all is sent"


# Python 3.11 finds a member in its class as slowly as it calls a function.
_IDLE, _HEAD, _BODY, _RESPONDING, _REFUSED, _CLOSING = ChannelState


@implementer(IPushProducer)
class GatewayChannel(Protocol):
    """HTTP/1.1, the server's side.

    ::

        IDLE ──> HEAD ──> BODY ──> RESPONDING       from IDLE, HEAD, BODY: REFUSED ──> CLOSING
          ^                            │
          └── the response is sent ────┘            from any: CLOSING

    There are timeouts for a head, between two pieces of a body, for a request as a whole, and between requests. Reading
    goes on during a response: only so does the gateway notice that a client leaves.

    A client that ends its side of the connection has left, unless its request was its last one (``Connection: close``):
    then it may only have said so, and wait for the response.
    """

    transport: TCPTransport

    def __init__(self, site: "GatewaySite") -> None:
        self.site = site
        self.persistent = True
        """True if the connection can be used again after the current response."""
        self.state = _IDLE
        self._head_reader = HeadReader()
        self._head: Head | None = None
        self._body: BodyReader | None = None
        self._request: GatewayRequest | None = None
        self._producer: IPushProducer | None = None
        self._pipelined: list[bytes] = []
        self._writing_paused = False
        """True while the client takes nothing of what is sent."""
        self._reading_paused = False
        self.probe: HalfCloseProbe | None = None
        """Looks for a client that has ended its side of the connection."""

    def connectionMade(self) -> None:
        """Wait for the first request."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        # The addresses don't change, and each look at them is a call to the system.
        self._peer, self._host = self.transport.getPeer(), self.transport.getHost()
        self._deadline = self.site.deadlines.repeat(self.site.keepalive_timeout, self._time_out)
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the request that its client has left."""
        self.state = _CLOSING
        self.site.deadlines.cancel(self._deadline)
        if self.probe is not None:
            self.probe.stop()
            self.probe = None  # it leads back to this channel
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)

    def readConnectionLost(self) -> None:
        """The client sends nothing more: it waits for its response, or has left."""
        if self._request is not None:
            self.probe = HalfCloseProbe(self.transport, self._request, self.site.deadlines)

    def writeConnectionLost(self) -> None:
        """Never called: the gateway ends both sides of a connection together."""

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """Read requests. What comes during a response waits, and little of it is taken."""
        try:
            while data:
                if self.state is _RESPONDING:
                    self._pipelined.append(data)
                    if sum(map(len, self._pipelined)) > _MAX_PIPELINED:
                        self._pause_reading()
                    return
                if self.state is _REFUSED or self.state is _CLOSING:
                    return
                data = self._read_head(data) if self._body is None else self._read_body(self._body, data)
        except GatewayError as error:
            self.refuse(error)

    def _read_head(self, data: bytes) -> bytes:
        found = self._head_reader.feed(data)
        if found is None:
            if self.state is _IDLE:
                self._wait_for_more(_HEAD, self.site.head_timeout)
            return b""
        head, rest = found
        length = head.length
        if length is not None and len(rest) >= length <= self.site.max_body_bytes:  # as with most requests
            self._serve(head, rest[:length])
            return rest[length:]
        self._head = head
        self._body = body = reader_for(length, self.site.max_body_bytes)
        rest = self._read_body(body, rest)
        if head.expects_continue and not body.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return rest

    def _read_body(self, body: BodyReader, data: bytes) -> bytes:
        rest = body.feed(data)
        if body.complete:
            assert self._head is not None
            self._serve(self._head, body.content())
        else:
            self._wait_for_more(_BODY, self.site.body_timeout)
        return rest

    def _wait_for_more(self, state: ChannelState, timeout: float) -> None:
        """Wait for the next piece of a request. Its time as a whole counts from its first byte."""
        if self.state is _IDLE:
            self.site.deadlines.limit(self._deadline, self.site.request_timeout)
        self.state = state
        self.site.deadlines.reset(self._deadline, timeout)

    def _serve(self, head: Head, content: bytes) -> None:
        """Have a complete request processed. An exchange has timeouts of its own."""
        self._head = self._body = None
        self.state = _RESPONDING
        self.persistent = head.persistent
        if not head.persistent:
            alsoProvides(self, IHalfCloseableProtocol)
        deadline = self._deadline
        deadline.timeout, deadline.latest, deadline.alive = FOREVER, FOREVER, True
        self._request = request = self.site.requestFactory(self, head, content)
        request.process()

    # The channel of a request

    def requestDone(self, request: GatewayRequest) -> None:
        """The response is sent: read the next request."""
        self._request = None
        if not self.persistent:
            self.loseConnection()
            return
        self.state = _IDLE
        deadline = self._deadline
        deadline.timeout, deadline.alive = self.site.keepalive_timeout, True
        if self._reading_paused and not self._writing_paused:
            self._resume_reading()
        if self._pipelined:
            data, self._pipelined = b"".join(self._pipelined), []
            self.dataReceived(data)

    def write(self, data: bytes) -> None:
        """Send a piece of a response."""
        self.transport.write(data)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause and resume this push producer with the connection from now on."""
        assert streaming
        self._producer = producer
        if self._writing_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """The producer has nothing more to send."""
        self._producer = None

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._peer

    def getHost(self) -> IAddress:
        """The address that the client is connected to."""
        return self._host

    def isSecure(self) -> bool:
        """Return True if the connection is encrypted."""
        return bool(ISSLTransport.providedBy(self.transport))

    # The transport's producer

    def pauseProducing(self) -> None:
        """The client takes no more. Then it is not read from either, except during a response."""
        self._writing_paused = True
        if self._producer is not None:
            self._producer.pauseProducing()
        if self.state is not _RESPONDING:
            self._pause_reading()

    def resumeProducing(self) -> None:
        """The client takes more again."""
        self._writing_paused = False
        if self._producer is not None:
            self._producer.resumeProducing()
        if self.state is not _RESPONDING and self._reading_paused:
            self._resume_reading()

    def stopProducing(self) -> None:
        """The connection is lost."""
        if self._producer is not None:
            self._producer.stopProducing()

    def _pause_reading(self) -> None:
        self._reading_paused = True
        self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        self._reading_paused = False
        self.transport.resumeProducing()

    # The end

    def refuse(self, error: GatewayError) -> None:
        """Respond to an incomplete request with an error, in the shape of the API it was meant for. It is the last one.

        What the client still sends is read and thrown away: a connection that is closed with unread data is reset, and
        the client would lose the response.
        """
        head = self._head
        target = head.target if head is not None else self._head_reader.target
        body = encode(
            self.site.refusal(target, error, head.method, head.headers)
            if head is not None
            else self.site.refusal(target, error, b"", RawHeaders())
        )
        status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
        fields += "".join(f"\r\n{name}: {value}" for name, value in error.headers.items())
        self.transport.write(f"{status}\r\n{fields}\r\n\r\n".encode() + body)
        if IHalfCloseableDescriptor.providedBy(self.transport) and not self.isSecure():
            self.transport.loseWriteConnection()  # so that a client which reads to the end need not wait for it
        self.state = _REFUSED
        self._head = self._body = None
        self._deadline.latest = FOREVER
        self.site.deadlines.reset(self._deadline, _TIME_TO_READ_THE_ERROR)

    def loseConnection(self) -> None:
        """Close once all is sent; by force if the client does not take it within the stall timeout."""
        self._close(self.site.stall_timeout)

    def abortConnection(self) -> None:
        """Close at once."""
        self.transport.abortConnection()

    def _close(self, timeout: float) -> None:
        self.state = _CLOSING
        self.site.deadlines.reset(self._deadline, timeout)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _time_out(self) -> None:
        """Refuse a request that is too slow, close a connection that is of no more use, and at last by force."""
        if self.state is _HEAD or self.state is _BODY:
            self.refuse(RequestTooSlow("Request timed out: it did not arrive in time."))
        elif self.state is _CLOSING:
            self.abortConnection()
        else:
            self._close(_TIME_TO_READ_THE_ERROR if self.state is _REFUSED else self.site.stall_timeout)


class GatewaySite(Site):
    """Serves a resource. Sizes are in bytes, times in seconds, with the meanings of the ``server`` configuration."""

    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        max_body_bytes: int,
        head_timeout: float,
        body_timeout: float,
        request_timeout: float,
        keepalive_timeout: float,
        stall_timeout: float,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(
            resource, requestFactory=GatewayRequest, timeout=None, reactor=reactor, parsePOSTFormSubmission=False
        )
        self.max_body_bytes = max_body_bytes
        self.head_timeout = head_timeout
        self.body_timeout = body_timeout
        self.request_timeout = request_timeout
        self.keepalive_timeout = keepalive_timeout
        self.stall_timeout = stall_timeout
        self.deadlines = Deadlines(reactor)

    def buildProtocol(self, addr: IAddress) -> GatewayChannel:
        """Serve a new connection."""
        return GatewayChannel(self)

    def refusal(self, target: bytes, error: GatewayError, method: bytes, headers: RawHeaders) -> dict[str, Any]:
        """The body of a refusal: the resource knows the API's shape, if it is a bridge."""
        refusal = getattr(self.resource, "refusal", None)
        return refusal(target, error, method, headers) if refusal else error.as_either()

    def startFactory(self) -> None:
        """Open no access log: the bridge logs each interception itself."""

    def stopFactory(self) -> None:
        """Stop all timeouts. Connections that are still open end with the process."""
        self.deadlines.stop()

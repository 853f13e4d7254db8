"""A client's connection: one request after another, each with one answer."""

from enum import Enum
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IAddress, IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from ..errors import GatewayError, RequestTooSlow, encode
from .body import BodyReader, reader_for
from .deadlines import Deadlines
from .head import Head, HeadReader
from .server_request import GatewayRequest

_TIME_TO_READ_THE_ERROR = 5.0
_FOR_EVER = float("inf")
_MOST_AHEAD = 16 * 1024
"""Bytes that are taken of what a client sends behind a request that is not answered yet."""


class State(Enum):
    """How far a connection is."""

    IDLE = "nothing has come since it was opened, or since the last answer"
    HEAD = "in the head of a request"
    BODY = "in its body"
    ANSWERING = "the request is whole, and not answered so far"
    CLOSING = "nothing that comes is read any more"


# Python 3.11 finds a member in its class as slowly as it calls a function.
_IDLE, _HEAD, _BODY, _ANSWERING, _CLOSING = State


@implementer(IPushProducer)
class GatewayChannel(Protocol):
    """HTTP/1.1, the server's side.

    ::

        IDLE ──> HEAD ──> BODY ──> ANSWERING
          ^                            │
          └───── the answer is out ────┘       from any: CLOSING

    It has its times for a whole head, between two pieces of a body, and between requests. Reading goes on while a
    request is answered: only so does a client's leaving show.
    """

    transport: Any  # ITCPTransport, IConsumer and IPushProducer at once

    def __init__(self, site: Any) -> None:
        self.site = site
        self.persistent = True
        """Whether the connection can be used again after the answer at hand."""
        self.state = _IDLE
        self._head_reader = HeadReader()
        self._head: Head | None = None
        self._body: BodyReader | None = None
        self._expects_continue = False
        self._request: Any = None
        self._producer: IPushProducer | None = None
        self._pipelined: list[bytes] = []
        self._pausing = False
        """Whether the client takes nothing at the moment."""
        self._reading_paused = False

    def connectionMade(self) -> None:
        """The client has time until its first request."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        # They don't change, and to find out takes a call of the system.
        self._peer, self._host = self.transport.getPeer(), self.transport.getHost()
        self._watch = self.site.watchdog.start(self.site.keepalive_timeout, self._too_slow)
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing is awaited any more."""
        self.state = _CLOSING
        self.site.watchdog.cancel(self._watch)
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """What is sent ahead of its turn waits, as far as it is little."""
        if self.state is not _ANSWERING:
            self._read(data)
            return
        self._pipelined.append(data)
        if sum(map(len, self._pipelined)) > _MOST_AHEAD:
            self._pause_reading()

    def _read(self, data: bytes) -> None:
        try:
            while data and self.state is not _CLOSING:
                if self.state is _ANSWERING:
                    self._pipelined.append(data)
                    return
                data = self._read_head(data) if self._body is None else self._read_body(self._body, data)
        except GatewayError as error:
            self.refuse(error)

    def _read_head(self, data: bytes) -> bytes:
        head = self._head_reader.feed(data)
        if head is None:
            if self.state is _IDLE:
                self.state = _HEAD
                self._set_deadline(self.site.head_timeout)
            return b""
        self.state, self._head = _BODY, head
        self._expects_continue = head.expects_continue
        self._body = reader_for(head.length, self.site.max_body_bytes)
        return self._read_body(self._body, self._head_reader.take_rest())

    def _read_body(self, body: BodyReader, data: bytes) -> bytes:
        rest = body.feed(data)
        if body.whole:
            self._serve(body)
        else:
            self._set_deadline(self.site.body_timeout)
            self._consent()
        return rest

    def _consent(self) -> None:
        """A client that asks whether to go on with its body is told so."""
        if self._expects_continue:
            self._expects_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _serve(self, body: BodyReader) -> None:
        """The request is whole; the exchange has times of its own."""
        head, self._head, self._body = self._head, None, None
        assert head is not None
        self.state = _ANSWERING
        self.persistent = head.persistent
        self._set_deadline(_FOR_EVER)
        self._request = request = self.site.requestFactory(self, head, body.content())
        request.process()

    # What requests ask of it

    def requestDone(self, request: Any) -> None:
        """Its answer is out."""
        self._request = None
        if not self.persistent:
            self.loseConnection()
            return
        self.state = _IDLE
        self._set_deadline(self.site.keepalive_timeout)
        if not self._pausing:
            self._resume_reading()
        if self._pipelined:
            ahead, self._pipelined = b"".join(self._pipelined), []
            self._read(ahead)

    def write(self, data: bytes) -> None:
        """A piece of an answer."""
        self.transport.write(data)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """From now on that one is paused and resumed with this connection. It must push."""
        assert streaming
        self._producer = producer
        if self._pausing:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """It has no more to say."""
        self._producer = None

    def getPeer(self) -> Any:
        """The client's address."""
        return self._peer

    def getHost(self) -> Any:
        """The address that it has connected to."""
        return self._host

    def isSecure(self) -> bool:
        """Whether it is encrypted."""
        return bool(ISSLTransport.providedBy(self.transport))

    # As the producer of what the client is sent

    def pauseProducing(self) -> None:
        """The client does not read. Then it is not read from either, unless an answer is under way."""
        self._pausing = True
        if self._producer is not None:
            self._producer.pauseProducing()
        if self.state is not _ANSWERING:
            self._pause_reading()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._pausing = False
        if self._producer is not None:
            self._producer.resumeProducing()
        if self.state is not _ANSWERING:
            self._resume_reading()

    def stopProducing(self) -> None:
        """The connection is lost."""
        if self._producer is not None:
            self._producer.stopProducing()

    def _pause_reading(self) -> None:
        self._reading_paused = True
        self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resumeProducing()

    # The end

    def refuse(self, error: GatewayError) -> None:
        """Answers before the request is whole, in the shape of the API it was meant for, and takes nothing more.

        What still comes is thrown away: only so does the client get to read the answer.
        """
        target = self._head.target if self._head is not None else self._head_reader.target
        body = encode(self.site.refusal(target, error))
        status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
        self.transport.write(f"{status}\r\n{fields}\r\n\r\n".encode() + body)
        self.state = _CLOSING
        self._head = self._body = None
        self._set_deadline(_TIME_TO_READ_THE_ERROR)

    def loseConnection(self) -> None:
        """Ends it once all is sent."""
        self.state = _CLOSING
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        """Ends it at once."""
        self.transport.abortConnection()

    def _set_deadline(self, seconds: float) -> None:
        self.site.watchdog.reset(self._watch, seconds)

    def _too_slow(self) -> None:
        """Closes in order, and by force where the client doesn't even take what is left to send."""
        self._watch = self.site.watchdog.start(self.site.stall_timeout, self.abortConnection)
        if self.state in (_HEAD, _BODY):
            self.refuse(RequestTooSlow("The request did not arrive in time."))
        else:
            self.loseConnection()


# twisted.web.http has no types.
# mypy: disable-error-code="no-untyped-call, override, assignment"


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
        self.watchdog = Deadlines(reactor)

    def buildProtocol(self, addr: IAddress) -> GatewayChannel:
        """A client has connected."""
        return GatewayChannel(self)

    def refusal(self, target: bytes, error: GatewayError) -> dict[str, Any]:
        """The body of a refusal: the resource knows the API's shape, if it is a bridge."""
        shape = getattr(self.resource, "refusal", None)
        return shape(target, error) if shape else error.as_either()

    def startFactory(self) -> None:
        """No access log: the bridge logs each interception itself."""

    def stopFactory(self) -> None:
        """Connections that are still open end with the process; their deadlines end here."""
        self.watchdog.stop()

    def log(self, request: GatewayRequest) -> None:
        """Nothing."""

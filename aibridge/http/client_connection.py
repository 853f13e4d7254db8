"""A connection to a provider: one request after another, each with one response."""

from enum import Enum
from typing import Any, Protocol

from service_identity import VerificationError
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from ..errors import NotConnected, UpstreamBroke, UpstreamFailed, UpstreamRefused
from .client_request import BodyWriter, Origin, Request
from .client_response import Response, ResponseBody, ResponseParser
from .proxies import Proxy
from .sockets import TCPTransport

_DONE = Failure(ResponseDone("the body is complete"))  # one for all: making a Failure is slow


class ConnectionState(Enum):
    """The stage of a connection to a provider."""

    OPENING = "the TLS handshake"
    IDLE = "no request is sent"
    WAITING = "a request is sent, and nothing of its response has come"
    HEAD = "in the head of the response"
    BODY = "in its body"
    CLOSED = "of no more use"


# Python 3.11 finds a member in its class as slowly as it calls a function.
_OPENING, _IDLE, _WAITING, _HEAD, _BODY, _CLOSED = ConnectionState


class ConnectionOwner(Protocol):
    """Keeps connections, as a pool does."""

    def released(self, connection: "ClientConnection") -> None:
        """The connection can be used again: the response is complete."""

    def lost(self, connection: "ClientConnection") -> None:
        """The connection is closed."""


@implementer(IHandshakeListener)
class ClientConnection(TwistedProtocol):
    """HTTP/1.1, the client's side.

    ::

        OPENING ──> IDLE ──send──> WAITING ──> HEAD ──> BODY
                     ^                                    │
                     └────── the response is complete ────┘       from any: CLOSED
    """

    transport: TCPTransport  # type: ignore[assignment]
    _request: Request
    _response: ResponseParser
    _body: ResponseBody

    def __init__(self, origin: Origin, owner: ConnectionOwner) -> None:
        self.origin = origin
        self.state = _OPENING
        self.idle_since = 0.0
        self._owner = owner
        self._waiting: Deferred[Any] | None = None
        """Fires when the connection is open, or with the head of the response."""
        self._responses = 0
        self._uploading = False
        self._paused = False

    # Opening

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        if not self.origin.tls:
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        self.state = _IDLE
        self._fire(self)

    def opened(self) -> "Deferred[ClientConnection]":
        """Return a Deferred that fires with this connection once it can be used."""
        if self.state is _IDLE:
            return succeed(self)
        waiting: Deferred[ClientConnection] = Deferred(self._cancelled)
        self._waiting = waiting
        return waiting

    # The request

    def send(self, request: Request) -> Deferred[IResponse]:
        """Send a request. Fires with the head of the response; cancelling it closes the connection."""
        self.state = _WAITING
        self._request = request
        self._response = ResponseParser(request.method)
        waiting: Deferred[IResponse] = Deferred(self._cancelled)
        self._waiting = waiting
        if request.content is not None:
            self.transport.writeSequence((request.head, request.content))
        elif request.body is not None:
            self._upload(request.head, request.body)
        return waiting

    def _upload(self, head: bytes, body: IBodyProducer) -> None:
        """Send a body as it is produced."""

        def finish(_: None) -> None:
            if self.state is not _CLOSED:
                self._uploading = False
                self.transport.unregisterProducer()
                writer.finish()

        def fail(failure: Failure) -> None:
            self._fire(failure)
            self.abort()

        writer = BodyWriter(self.transport, head, body.length)
        self._uploading = True
        # From here on the transport pauses the body, and stops it when the connection is lost.
        self.transport.registerProducer(body, True)
        uploaded: Deferred[None] = body.startProducing(writer)
        writer.flush()
        uploaded.addCallback(finish).addErrback(fail)

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._waiting = None
        self.abort()

    # The response

    def dataReceived(self, data: bytes) -> None:
        if self.state is _BODY:
            response = self._response
            data = response.feed(data)
            if response.complete or response.problem is not None:
                self._end_body(data)
            else:
                self._body.received(data)
        elif self.state is _WAITING or self.state is _HEAD:
            self.state = _HEAD
            self._read_head(self._response.feed(data))
        else:
            self._close()  # no request is sent, so this is no response

    def _read_head(self, data: bytes) -> None:
        """Once the head is complete, fire with the response; `data` is what came of its body."""
        parser = self._response
        if not parser.started:
            if parser.problem is not None:
                self._fire(Failure(UpstreamFailed(f"{self.origin} did not respond in HTTP: {parser.problem}")))
                self._close()
            return
        request = self._request
        if parser.code == 407 and request.proxy is not None:  # the proxy's own words: no server behind it has this code
            self._fire(Failure(refused_by_proxy(request.proxy, self.origin, 407)))
            self._close()
            return
        self.state = _BODY
        self._body = body = ResponseBody(self)
        del self._request  # it has a response, so it won't be sent again
        request.body, request.content = None, b""  # they may be large
        headers = parser.headers
        del parser.headers  # the response may take long
        if parser.complete or parser.problem is not None:
            self._end_body(data)
        else:
            body.received(data)
        self._fire(Response(parser.version, parser.code, parser.phrase, headers, parser.length, request, body))
        if body.reader is None:
            body.pauseProducing()

    def _end_body(self, data: bytes) -> None:
        """End the body with this last piece: the response is complete, or the rest of it can't be read."""
        body, parser = self._body, self._response
        if not parser.complete:
            self._close()
            error = UpstreamBroke(f"{self.origin} did not go on in HTTP: {parser.problem}")
            body.ended(Failure(error), data)
            return
        # Released before the reader is told: if it then sends another request, it finds this connection free.
        if parser.keep_alive and not self._uploading:
            self._responses += 1
            self.state = _IDLE
            del self._response, self._body  # free connections are kept, what went over them isn't
            if self._paused:
                self.resume()
            self._owner.released(self)
        else:
            self._close()
        body.ended(_DONE, data)

    def _fire(self, result: Any) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(result)

    # The source of a body

    def pause(self) -> None:
        """Stop reading for now."""
        if self.state is not _CLOSED:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.state is not _CLOSED:
            self._paused = False
            self.transport.resumeProducing()

    def abort(self) -> None:
        """Close at once, as if the provider had closed the connection."""
        if self.state is not _CLOSED:
            self.transport.abortConnection()

    # The end

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state, self.state = self.state, _CLOSED
        self._owner.lost(self)
        if state is _BODY and self._response.close_delimited and reason.check(ConnectionDone):
            self._body.ended(Failure(PotentialDataLoss("the end of the connection was the end of the body")))
        elif state is _BODY:
            self._body.ended(
                Failure(UpstreamBroke(f"{self.origin} closed the connection in the middle of its response"))
            )
        elif self._waiting is not None:
            self._fire(Failure(self._why_no_response(state, reason)))

    def _why_no_response(self, state: ConnectionState, reason: Failure) -> UpstreamFailed:
        if state is _OPENING:
            return NotConnected(f"{self.origin}: TLS failed: {tls_problem(reason.value)}")
        if state is _WAITING and self._responses:
            return UpstreamRefused(f"{self.origin} closed an idle connection just as it was used")
        where = "in the head of its response" if state is _HEAD else "before it responded"
        return UpstreamFailed(f"{self.origin} closed the connection {where}")

    def _close(self) -> None:
        self.state = _CLOSED
        self.transport.abortConnection()


def refused_by_proxy(proxy: Proxy, origin: Origin, code: int) -> UpstreamFailed:
    """Return the error for a proxy's refusal, by its status. Another try is safe if only the proxy's own try failed."""
    why = " (its user or password is missing or wrong)" if code == 407 else ""
    kind = UpstreamRefused if code in (502, 503, 504) else NotConnected
    return kind(f"{origin}: the proxy {proxy} refused the connection with status {code}{why}")


def tls_problem(error: BaseException | None) -> str:
    """Return OpenSSL's words for a failure, or those of the check of the host's name."""
    if isinstance(error, VerificationError):
        return "the certificate is not for this host"
    match getattr(error, "args", ()):
        case ([(*_, str(words)), *_],):
            return words
    return "the connection was closed" if isinstance(error, ConnectionClosed) else type(error).__name__

"""One connection to a provider: one request after another, each with one answer."""

from enum import Enum
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..errors import UpstreamBroke, UpstreamFailed, UpstreamRefused
from .client_request import BodyWriter, Origin, Request
from .client_response import Body, Response, ResponseParser

_DONE = Failure(ResponseDone("the body is complete"))  # one for all: making a Failure is dear


class State(Enum):
    """How far a connection is."""

    OPENING = "TLS is being agreed on"
    IDLE = "nothing is asked"
    WAITING = "asked, and not a byte of an answer so far"
    HEAD = "in the head of the answer"
    BODY = "in its body"
    CLOSED = "of no more use"


# Python 3.11 finds a member in its class as slowly as it calls a function.
_OPENING, _IDLE, _WAITING, _HEAD, _BODY, _CLOSED = State


class Owner(Protocol):
    """Who keeps the connections."""

    def released(self, connection: "Connection") -> None:
        """Its answer is complete, it can be used again."""

    def lost(self, connection: "Connection") -> None:
        """It is closed."""


@implementer(IHandshakeListener)
class Connection(TwistedProtocol):
    """HTTP/1.1, the client's side.

    ::

        OPENING ──> IDLE ──send──> WAITING ──> HEAD ──> BODY
                     ^                                    │
                     └──────── the answer is complete ────┘       from any: CLOSED
    """

    transport: Any  # ITCPTransport, IConsumer and IPushProducer at once
    _request: Request
    _answer: ResponseParser
    _body: Body

    def __init__(self, origin: Origin, owner: Owner) -> None:
        self.origin = origin
        self.state = _OPENING
        self.idle_since = 0.0
        self._owner = owner
        self._waiting: Deferred[Any] | None = None
        self._answers = 0
        self._uploading = False
        self._paused = False

    # Opening.

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        if not self.origin.tls:
            self._opened()

    def handshakeCompleted(self) -> None:
        self._opened()

    def _opened(self) -> None:
        self.state = _IDLE
        self._next(self)

    def opened(self) -> "Deferred[Connection]":
        """Fires with this connection once it can be used."""
        if self.state is _IDLE:
            return succeed(self)
        waiting: Deferred[Connection] = Deferred(self._cancelled)
        self._waiting = waiting
        return waiting

    # Asking.

    def send(self, request: Request) -> Deferred[IResponse]:
        """Ask. Fires with the head of the answer; cancelling it closes the connection."""
        self.state = _WAITING
        self._request = request
        self._answer = ResponseParser(request.method)
        waiting: Deferred[IResponse] = Deferred(self._cancelled)
        self._waiting = waiting
        content = request.content
        if content is None:
            self._upload(request)
        else:
            self.transport.writeSequence((request.head, content))
        return waiting

    def _upload(self, request: Request) -> None:
        body: Any = request.body
        writer = BodyWriter(self.transport, request.head, body.length)
        self._uploading = True
        # From here on it is the transport that pauses the body, and that stops it when the connection is lost.
        self.transport.registerProducer(body, True)
        uploaded: Deferred[None] = body.startProducing(writer)
        writer.flush()
        uploaded.addCallback(self._uploaded, writer).addErrback(self._upload_failed)

    def _uploaded(self, _: None, writer: BodyWriter) -> None:
        if self.state is not _CLOSED:
            self._uploading = False
            self.transport.unregisterProducer()
            writer.finish()

    def _upload_failed(self, failure: Failure) -> None:
        self._next(failure)
        self.abort()

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._waiting = None
        self.abort()

    # Being answered.

    def dataReceived(self, data: bytes) -> None:
        if self.state is _BODY:
            self._read_body(self._answer.feed(data))
        elif self.state in (_WAITING, _HEAD):
            self.state = _HEAD
            self._read_head(self._answer.feed(data))
        else:
            self._close()  # nothing was asked: whatever this is, it answers nothing

    def _read_head(self, data: bytes) -> None:
        answer = self._answer
        if not answer.started:
            if answer.problem is not None:
                self._next(Failure(UpstreamFailed(f"{self.origin}: its answer is not HTTP: {answer.problem}")))
                self._close()
            return
        self.state = _BODY
        self._body = body = Body(self)
        request = self._request
        del self._request  # it is answered, so it won't be sent again
        request.body = None  # which may be large
        self._read_body(data)
        headers = answer.headers
        del answer.headers  # the answer may take long
        self._next(Response(answer.version, answer.code, answer.phrase, headers, answer.length, request, body))
        if body.unread:
            body.pauseProducing()

    def _read_body(self, data: bytes) -> None:
        body, answer = self._body, self._answer
        if answer.complete:
            self._answered()
            body.ended(_DONE, data)
        elif answer.problem is not None:
            self._close()
            body.ended(
                Failure(UpstreamBroke(f"{self.origin}: its answer turned into nonsense: {answer.problem}")), data
            )
        else:
            body.received(data)

    def _answered(self) -> None:
        """Before anyone is told: whoever then asks again finds this connection free."""
        if not self._answer.keep_alive or self._uploading:
            self._close()
            return
        self._answers += 1
        self.state = _IDLE
        del self._answer, self._body  # free connections are kept, what went over them isn't
        self.resume()
        self._owner.released(self)

    def _next(self, result: Any) -> None:
        """Tell whoever waits for the next step."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(result)

    # The body's valve.

    def pause(self) -> None:
        """Read no more for now."""
        if self.state is not _CLOSED:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.state is not _CLOSED:
            self._paused = False
            self.transport.resumeProducing()

    def abort(self) -> None:
        """Close at once; whoever waits is told as if the provider had gone."""
        if self.state is not _CLOSED:
            self.transport.abortConnection()

    # Closing.

    def _close(self) -> None:
        self.state = _CLOSED
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state, self.state = self.state, _CLOSED
        self._owner.lost(self)
        if state is _BODY:
            self._body.ended(self._end_of_body(reason))
        elif self._waiting is not None:
            self._next(Failure(self._why_unanswered(state, reason)))

    def _end_of_body(self, reason: Failure) -> Failure:
        if self._answer.close_delimited and reason.check(ConnectionDone):
            return Failure(PotentialDataLoss("the end of the connection was the end of the body"))
        return Failure(UpstreamBroke(f"{self.origin} broke off in the midst of its answer"))

    def _why_unanswered(self, state: State, reason: Failure) -> UpstreamFailed:
        if state is _OPENING:
            return UpstreamFailed(f"{self.origin}: TLS failed: {_tls_problem(reason.value)}")
        if state is _WAITING and self._answers:
            return UpstreamRefused(f"{self.origin} closed an idle connection just as it was used")
        where = "in the head of its answer" if state is _HEAD else "before it answered"
        return UpstreamFailed(f"{self.origin} closed the connection {where}")


def _tls_problem(error: BaseException | None) -> str:
    """What OpenSSL or the check of the host's name has to say."""
    match getattr(error, "args", ()):
        case ([(*_, str(words)), *_],):
            return words
    return type(error).__name__

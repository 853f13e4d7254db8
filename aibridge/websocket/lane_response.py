"""The events on a lane as the response of a request, for a round that asks a socket as it asks a provider over HTTP."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from ..errors import UpstreamFailed
from ..http.headers import RawHeaders
from ..wire.jsontext import JsonObject, int_or_none
from ..wire.responses.reader import ERROR

_STATUS_OF_ERROR = 500
"""The status of an error that names none."""


@implementer(IResponse, IPushProducer)
class LaneResponse:
    """The answer to one message. An error as its first event gives it its status; each event is a piece of its body.

    `resumed` is called when it takes events again, `stopped` when nobody wants the rest.
    """

    version = (b"HTTP", 1, 1)
    length = UNKNOWN_LENGTH
    request = previousResponse = None

    def __init__(self, resumed: Callable[[], None], stopped: Callable[[], None]) -> None:
        self.code, self.phrase = 200, b""
        self.headers: Headers = RawHeaders()
        self.error: object = None
        """The error object of an error as the first event."""
        self.is_paused = False
        """True while no event is taken."""
        self._waiting: Deferred[LaneResponse] | None = None
        self._first: tuple[bytes, bool] | None = None
        self._receiver: IProtocol | None = None
        self._resumed = resumed
        self._stopped = stopped

    def began(self) -> "Deferred[LaneResponse]":
        """Return a Deferred that fires with this response at its first event; cancelling it stops the response."""
        if self._first is not None:
            return succeed(self)
        self._waiting = waiting = Deferred[LaneResponse](lambda _: self.stopProducing())
        return waiting

    def receive(self, message: bytes, event: JsonObject, is_last: bool) -> None:
        """Take an event. Call this only if the response is not paused."""
        if self._receiver is not None:
            self._deliver(self._receiver, message, is_last)
            return
        if event.get("type") == ERROR:
            self._refuse(event)
        self._first, self.is_paused = (message, is_last), True
        self._fire(self)

    def _refuse(self, event: JsonObject) -> None:
        """Take the status of an error, and from its headers the time after which another try makes sense."""
        self.code = int_or_none(event.get("status")) or _STATUS_OF_ERROR
        self.phrase = RESPONSES.get(self.code, b"")
        given = event.get("headers")
        for name, value in given.items() if isinstance(given, dict) else ():
            if name.lower() == "retry-after" and isinstance(value, str | int | float):
                self.headers.setRawHeaders(b"Retry-After", [str(value).encode("ascii", "replace")])
        self.error = event.get("error")

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the events, the first at once."""
        self._receiver, self.is_paused = protocol, False
        protocol.makeConnection(self)  # type: ignore[arg-type]
        first, self._first = self._first, None
        if first is not None and self._receiver is not None:
            self._deliver(protocol, *first)
        if not self.is_paused:
            self._resumed()

    def setPreviousResponse(self, response: IResponse) -> None:
        """Do nothing: there are no redirects."""

    def pauseProducing(self) -> None:
        """Take no further event for now."""
        self.is_paused = True

    def resumeProducing(self) -> None:
        """Take events again."""
        if self.is_paused:
            self.is_paused = False
            self._resumed()

    def stopProducing(self) -> None:
        """Nobody wants the rest."""
        self._stopped()
        self._end(ConnectionAborted())

    def cut(self, provider: str) -> None:
        """The socket of the provider with that name is closed."""
        self._fire(Failure(UpstreamFailed(f"{provider} closed the connection before it responded.")))
        self._end(ConnectionLost())

    def _deliver(self, receiver: IProtocol, message: bytes, is_last: bool) -> None:
        receiver.dataReceived(message)
        if is_last:
            self._end(ResponseDone("the last event has come"))

    def _fire(self, result: "LaneResponse | Failure") -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(result)

    def _end(self, reason: Exception) -> None:
        """End the body, and forget those who are told of it: they lead back to this response."""
        receiver, self._receiver = self._receiver, None
        self._resumed = self._stopped = _nothing
        if receiver is not None:
            receiver.connectionLost(Failure(reason))


def _nothing() -> None:
    """Do nothing, in the place of what is called no more."""

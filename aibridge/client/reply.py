"""The client's side of an exchange: what it is told, whether it is still there, and how it is cut off."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from ..errors import GatewayError, encode
from ..http.server_request import GatewayRequest
from ..interfaces import IReply
from . import crossing

_TIME_TO_READ_THE_ERROR = 5.0
_JSON = b"application/json"


@implementer(IReply)
class Reply:
    """An answer to one request of twisted.web, over HTTP/1 or HTTP/2. Nothing done here fails for want of a client."""

    def __init__(self, request: Any, call_later: Any) -> None:
        self.gone = False
        """The client has left before its answer's end."""
        self.code: int | None = None
        """The status that went out, once one has."""
        self.begun = False
        """Whether a first byte has gone out, so that the status stands."""
        self._request = request
        self._call_later = call_later
        self._producing = False
        self._leaving: Callable[[], object] = _nothing
        self._over = False
        self._abort_later: Any = None
        if request.defaultContentType is not None:
            request.defaultContentType = None  # an answer without a type gets none
        request.responseHeaders.removeHeader(b"server")
        if isinstance(request, GatewayRequest):
            request.when_left(self._left)
        else:
            request.notifyFinish().addErrback(self._left)

    def head(self, code: int, reason: bytes, headers: Headers) -> None:
        """Status and headers of the provider; they go out with the first write."""
        self._request.setResponseCode(code, reason)
        self.code = code
        crossing.to_client(headers, self._request.responseHeaders)

    def set_header(self, name: bytes, value: bytes) -> None:
        """A header of the gateway's own."""
        self._request.responseHeaders.setRawHeaders(name, [value])

    def when_left(self, call: Callable[[], object]) -> None:
        """What to call when the client leaves; it takes the place of what was set before."""
        self._leaving = call
        if self.gone:
            call()

    def send_from(self, producer: IPushProducer) -> None:
        """From now on that producer is paused, resumed, and stopped when the client leaves."""
        self.when_left(producer.stopProducing)
        if not self.gone:
            if self._producing:
                self._request.unregisterProducer()  # that of an earlier round
            self._producing = True
            self._request.registerProducer(producer, True)

    def write(self, data: bytes) -> None:
        """Sends a piece, and the head before the first one."""
        if not self.gone:
            self.begun = True
            self._request.write(data)

    def finish(self) -> None:
        """The answer is whole."""
        if not self._close():
            return
        self._request.finish()

    def refuse(self, error: GatewayError, body: dict[str, Any]) -> None:
        """Answers with an error instead, as long as nothing has gone out."""
        if not self._close():
            return
        self.code = error.status
        kept = self._request.responseHeaders.getRawHeaders(crossing.INTERCEPTION_ID)
        self._request.responseHeaders = Headers()
        if kept:
            self.set_header(crossing.INTERCEPTION_ID, kept[0])
        for name, value in error.headers.items():
            if name != "Connection" or self._is_http_1:  # in HTTP/2 no header says that
                self.set_header(name.encode(), value.encode())
        self._send_json(error.status, encode(body))

    def answer_json(self, body: dict[str, Any]) -> None:
        """A small answer of the gateway's own."""
        if self._close():
            self.code = 200
            self._send_json(200, encode(body))

    def cut(self, last_words: bytes = b"") -> None:
        """Ends an answer that has begun without its proper end, so that no one takes it for a whole one."""
        if not self._close():
            return
        channel = self._request.channel
        if last_words and self._is_http_1:
            self._request.write(last_words)
            channel.loseConnection()
            self._abort_later = self._call_later(_TIME_TO_READ_THE_ERROR, _abort, channel)
        else:
            _abort(channel)

    @property
    def _is_http_1(self) -> bool:
        return bool(getattr(self._request, "clientproto", b"") == b"HTTP/1.1")

    def _send_json(self, code: int, body: bytes) -> None:
        # Twisted has no phrase for 426 and other newer statuses.
        self._request.setResponseCode(code, HTTPStatus(code).phrase.encode())
        self.set_header(b"Content-Type", _JSON)
        self.set_header(b"Content-Length", str(len(body)).encode())
        self._request.write(body)
        self._request.finish()

    def _close(self) -> bool:
        """Whether there is still a client to be told the end, which can be told once."""
        open_still = not (self.gone or self._over)
        self._over = True
        self._leaving = _nothing  # and with it goes the circle of references
        if open_still and self._producing:
            self._request.unregisterProducer()
        return open_still

    def _left(self, reason: Failure) -> None:
        if self._abort_later is not None and self._abort_later.active():
            self._abort_later.cancel()
        if self._over:
            return
        self.gone = True
        self._leaving()


def _nothing() -> None:
    """Nobody waits for the client to leave."""


def _abort(channel: Any) -> None:
    abort = getattr(channel, "abortConnection", None) or channel.transport.abortConnection
    abort()

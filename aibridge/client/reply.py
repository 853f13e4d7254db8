"""The client's side of an exchange: its answer, and the end of its connection."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from ..errors import GatewayError, encode
from ..http.handover import hand_over
from ..http.headers import RawHeaders
from ..http.server_request import GatewayRequest
from ..interfaces import IReply
from ..wire import eventstream
from . import cors, crossing

_NO_BUFFERING = b"X-Accel-Buffering"
_SECONDS_TO_READ_AN_ERROR = 5.0


@implementer(IReply)
class Reply:
    """The response to one request of twisted.web, over HTTP/1 or HTTP/2.

    Every method may be called at any time: once the client has left, or the response is complete, it does nothing.
    """

    def __init__(self, request: Any, clock: IReactorTime) -> None:
        self.gone = False
        """True once the client has left before its answer's end."""
        self.code: int | None = None
        """The status that was set; None before."""
        self.begun = False
        """True once a first byte has gone out: the status can't be changed any more."""
        self.on_left: Callable[[], object] | None = None
        """Called when the client leaves before its answer's end."""
        self.hides_redirects = False
        """True if a client could carry a credential of the gateway's own to where a provider redirects it."""
        self.write: Callable[[bytes], object] = self._write_first
        """Sends a piece of the body; the head goes out before the first one."""
        self.encode: Callable[[bytes], bytes] | None = None
        """Returns pieces of a stream in the framing that the client expects; None for server-sent events."""
        self.origin: bytes | None = None
        """The origin of the web page that the browser may show this response; None for every other request."""
        self._request = request
        self._clock = clock
        self._has_producer = False
        self._complete = False
        self._abort_later: IDelayedCall | None = None
        if isinstance(request, GatewayRequest):
            request.when_left(self._left)
        else:
            request.defaultContentType = None  # else twisted.web gives a type to a response that has none
            request.responseHeaders.removeHeader(b"server")
            request.notifyFinish().addErrback(self._left)

    def set_head(self, code: int, reason: bytes, headers: Headers) -> None:
        """Set the provider's status and headers; they go out with the first write."""
        own = self._request.responseHeaders
        self._request.setResponseCode(code, reason)
        self.code = code
        media_type = crossing.to_client(headers, own)
        if self.hides_redirects and 300 <= code < 400:
            own.removeHeader(b"location")
        if not media_type.startswith(b"text/event-stream"):
            self.encode = None
        elif not own.hasHeader(_NO_BUFFERING):
            own.setRawHeaders(_NO_BUFFERING, [b"no"])  # nginx in front would else keep events for later
        if self.encode is not None:
            own.setRawHeaders(b"Content-Type", [eventstream.CONTENT_TYPE])
        if self.origin is not None:
            cors.add_headers(self.origin, own)

    def set_header(self, name: bytes, value: bytes) -> None:
        """Set a header of the gateway's own."""
        headers = self._request.responseHeaders
        if type(headers) is RawHeaders:
            headers.set(name, value)
        else:
            headers.setRawHeaders(name, [value])

    def set_producer(self, producer: IPushProducer) -> None:
        """Let the client's connection pause and resume that producer, instead of an earlier one."""
        if self.gone:
            return
        if self._has_producer:
            self._request.unregisterProducer()
        self._has_producer = True
        self._request.registerProducer(producer, True)

    def finish(self) -> None:
        """Complete the response."""
        if self._end():
            self._request.finish()

    def refuse(self, error: GatewayError, body: dict[str, Any]) -> None:
        """Respond with an error, in place of any head that was set. Nothing may have gone out before."""
        if not self._end():
            return
        request = self._request
        interception_id = request.responseHeaders.getRawHeaders(crossing.INTERCEPTION_ID)
        request.responseHeaders = RawHeaders()
        if interception_id:
            self.set_header(crossing.INTERCEPTION_ID, interception_id[0])
        headers = error.headers if body.get("type") == "error" else error.headers | error.openai_headers
        for name, value in headers.items():
            if name != "Connection" or self._is_http_1:  # HTTP/2 has no such header
                self.set_header(name.encode(), value.encode())
        self._send_json(error.status, body)

    def allow_request(self) -> None:
        """Respond to a preflight: the browser may send the page's request. `origin` must be set."""
        request = self._request
        if self._end() and self.origin is not None:
            request.setResponseCode(204)
            cors.add_preflight_headers(request.requestHeaders, self.origin, request.responseHeaders)
            request.finish()

    def send_json(self, body: dict[str, Any]) -> None:
        """Respond with a small JSON object of the gateway's own."""
        if self._end():
            self._send_json(200, body)

    def hand_over(self, protocol: IProtocol) -> bytes | None:
        """Give the client's connection to another protocol, which answers from here on.

        Return what the client has sent behind its request; None if it has left.
        """
        return hand_over(self._request, protocol) if self._end() else None

    def abort(self, last_words: bytes = b"") -> None:
        """End a response that has begun without its proper end, so that no client takes it for a whole one.

        `last_words` are sent before: an error event. The client then has five seconds to read them.
        """
        if not self._end():
            return
        channel = self._request.channel
        if last_words and self._is_http_1:
            self._request.write(self.encode(last_words) if self.encode is not None else last_words)
            channel.loseConnection()
            self._abort_later = self._clock.callLater(_SECONDS_TO_READ_AN_ERROR, _abort_connection, channel)
        else:
            _abort_connection(channel)

    def _write_first(self, data: bytes) -> None:
        self.begun = True
        if self.encode is not None:
            data = self.encode(data)
        else:
            self.write = self._request.write  # called for each event of a stream
        self._request.write(data)

    @property
    def _is_http_1(self) -> bool:
        return bool(getattr(self._request, "clientproto", b"") == b"HTTP/1.1")

    def _send_json(self, code: int, body: dict[str, Any]) -> None:
        content = encode(body)
        self.code = code
        self._request.setResponseCode(code, HTTPStatus(code).phrase.encode())  # Twisted has no phrase for 426
        self.set_header(b"Content-Type", b"application/json")
        self.set_header(b"Content-Length", b"%d" % len(content))
        if self.origin is not None:
            cors.add_headers(self.origin, self._request.responseHeaders)
        self._request.write(content)
        self._request.finish()

    def _end(self) -> bool:
        """Mark the response as complete. Returns True if there was still a client to send its end to."""
        is_open = not (self.gone or self._complete)
        self._complete = True
        self.on_left = None  # it leads back to this reply
        if is_open and self._has_producer:
            self._request.unregisterProducer()
        return is_open

    def _left(self, reason: Failure) -> None:
        if self._abort_later is not None and self._abort_later.active():
            self._abort_later.cancel()
        if self._complete:
            return
        self.gone = True
        self.write = _discard
        if self.on_left is not None:
            self.on_left()


def _discard(data: bytes) -> None:
    """Drop a piece of an answer whose client has left."""


def _abort_connection(channel: Any) -> None:
    """Close the connection at once. An HTTP/2 stream has its own abort, an HTTP/1 channel that of its transport."""
    abort = getattr(channel, "abortConnection", None) or channel.transport.abortConnection
    abort()

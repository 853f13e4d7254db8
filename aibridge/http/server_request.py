"""A request as the resources of twisted.web know it, and the response to it."""

# twisted.web.http has no types.
# mypy: disable-error-code="no-untyped-call, attr-defined, override, union-attr, assignment"

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from time import time
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, datetimeToString, parse_qs
from twisted.web.server import Request

from .head import Head
from .headers import RawHeaders

_date = lru_cache(maxsize=1)(datetimeToString)


class RequestChannel(Protocol):
    """The connection of a request, as far as the request itself uses it; the rest is for twisted.web."""

    site: Any
    persistent: bool
    """False if the response is the last one of its connection."""


class GatewayRequest(Request):
    """A request that is complete when it is made. The head of its response is sent together with what follows it."""

    # The attributes of every request. Python stores a __dict__ of more than 30 names as a hash table of its own, of
    # 1.5 kB.
    __slots__ = (
        "args",
        "channel",
        "client",
        "clientproto",
        "content",
        "cookies",
        "host",
        "method",
        "notifications",
        "path",
        "prepath",
        "requestHeaders",
        "responseHeaders",
        "site",
        "uri",
    )

    defaultContentType = None
    _leaving: Callable[[Failure], None] | None = None
    _has_no_body = False
    """True if the response is a head alone; known once the head is sent."""

    def __init__(self, channel: RequestChannel, head: Head, content: bytes) -> None:
        super().__init__(channel)
        self.method, self.uri, self.clientproto = head.method, head.target, head.version
        self.requestHeaders, self.responseHeaders = head.headers, RawHeaders()
        self.path, _, query = head.target.partition(b"?")
        self.args = parse_qs(query, True) if query else {}
        self.content = BytesIO(content)
        self.site = channel.site
        self.prepath: list[bytes] = []

    def when_left(self, call: Callable[[Failure], None]) -> None:
        """Call this if the client leaves before the end of the response: an errback of `notifyFinish`, without the
        Deferred.
        """
        self._leaving = call

    def connectionLost(self, reason: Failure) -> None:
        """The client has left."""
        super().connectionLost(reason)
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving(reason)

    def finish(self) -> None:
        """End the response."""
        super().finish()
        self._leaving = None

    def process(self) -> None:
        """Let the resource of this path respond."""
        try:
            resource = self.site.resource
            if not resource.isLeaf:
                self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
                resource = self.site.getResourceFor(self)
            self.render(resource)
        except Exception:
            self.processingFailed(Failure())

    def write(self, data: bytes) -> None:
        """Send a piece of the response, and the head before the first one."""
        if self._disconnected:
            return
        head = b"" if self.startedWriting else self._begin()
        if data and not self._has_no_body:
            data = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
            self.transport.write(head + data if head else data)
        elif head:
            self.transport.write(head)

    def _begin(self) -> bytes:
        """The head of the response, which says how its body and the connection end."""
        self.startedWriting = 1
        self._has_no_body = self.method == b"HEAD" or self.code in NO_BODY_CODES
        headers, is_1_1 = self.responseHeaders, self.clientproto == b"HTTP/1.1"
        if type(headers) is not RawHeaders:  # a resource has put others in their place
            headers = RawHeaders.of(headers)
        by_name = headers.by_name
        if is_1_1 and b"content-length" not in by_name and not self._has_no_body:
            self.chunked = 1
            headers.set(b"Transfer-Encoding", b"chunked")
        if b"date" not in by_name:
            headers.set(b"Date", _date(int(time())))
        if self.cookies:
            headers.setRawHeaders(b"Set-Cookie", self.cookies)
        if b"connection" in by_name:  # it can only say that this response is the last one
            self.channel.persistent = False
        elif not self.channel.persistent:
            headers.set(b"Connection", b"close")
        if self.chunked:  # the response may take long, and nobody needs these any more
            self.requestHeaders = self.responseHeaders = RawHeaders()
        head = headers.encode((b"%b %d %b" % (self.clientproto, self.code, self.code_message),))
        probe = self.channel.probe
        return head if probe is None else head[probe.sent :]

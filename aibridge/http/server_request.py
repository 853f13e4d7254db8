"""One request, as twisted.web's resources know it, and its answer on the way out."""

# twisted.web.http has no types.
# mypy: disable-error-code="no-untyped-call, attr-defined, override, union-attr, assignment"

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from time import time
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, datetimeToString, parse_qs
from twisted.web.server import Request

from .head import Head
from .headers import RawHeaders, joined


class GatewayRequest(Request):
    """A request that is whole when it is made. Its answer's head goes out in one piece with what follows it."""

    # What every request has. Python stores a __dict__ of more than 30 names as a hash table of its own, of 1.5 kB.
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
    """Whether the answer is a head alone; found out once, with the first piece."""

    def __init__(self, channel: Any, head: Head, content: bytes) -> None:
        super().__init__(channel)
        self.method, self.uri, self.clientproto = head.method, head.target, head.version
        self.requestHeaders, self.responseHeaders = head.fields, RawHeaders()
        self.path, _, query = head.target.partition(b"?")
        self.args = parse_qs(query, True) if query else {}
        self.content = BytesIO(content)
        self.site = channel.site
        self.prepath: list[bytes] = []

    def when_left(self, call: Callable[[Failure], None]) -> None:
        """Whom to tell that the client has left before it had its answer: as an errback of `notifyFinish`, but one."""
        self._leaving = call

    def connectionLost(self, reason: Failure) -> None:
        """The client has left."""
        super().connectionLost(reason)
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving(reason)

    def finish(self) -> None:
        """The answer is whole."""
        super().finish()
        self._leaving = None

    def process(self) -> None:
        """Has it answered."""
        try:
            self.render(self._find_resource())
        except Exception:
            self.processingFailed(Failure())

    def write(self, data: bytes) -> None:
        """Sends a piece. The head goes out with the first one."""
        if self._disconnected:
            return
        head = b"" if self.startedWriting else self._begin()
        if data and not self._has_no_body:
            data = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data
            self.transport.write(head + data if head else data)
        elif head:
            self.transport.write(head)

    def _find_resource(self) -> Any:
        root = self.site.resource
        if root.isLeaf:
            return root
        self.postpath = [unquote_to_bytes(segment) for segment in self.path[1:].split(b"/")]
        return self.site.getResourceFor(self)

    def _begin(self) -> bytes:
        self.startedWriting = 1
        self._has_no_body = self.method == b"HEAD" or self.code in NO_BODY_CODES
        fields, is_1_1 = RawHeaders.of(self.responseHeaders), self.clientproto == b"HTTP/1.1"
        told = fields.by_name
        if is_1_1 and b"content-length" not in told and not self._has_no_body:
            self.chunked = 1
            fields.set(b"Transfer-Encoding", b"chunked")
        if b"date" not in told:
            fields.set(b"Date", _date(int(time())))
        if self.cookies:
            fields.setRawHeaders(b"Set-Cookie", self.cookies)
        if b"connection" in told:  # it never says more than that this answer is the last one
            self.channel.persistent = False
        elif not self.channel.persistent:
            fields.set(b"Connection", b"close")
        if self.chunked:  # the answer may take long, and nobody asks for these any more
            self.requestHeaders, self.responseHeaders = RawHeaders(), RawHeaders()
        return joined([b"%b %d %b" % (self.clientproto, self.code, self.code_message), *fields.lines()])


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    date: bytes = datetimeToString(second)
    return date

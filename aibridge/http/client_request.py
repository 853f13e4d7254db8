"""A request to a provider as it is sent: its head, and its body."""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IClientRequest
from zope.interface import implementer

from .headers import RawHeaders
from .proxies import Proxy
from .sockets import TCPTransport

_URI = re.compile(rb"(https?)://([^/?#\x00-\x20\x7f]+)([^#\x00-\x20\x7f]*)(?:#[^\x00-\x20\x7f]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+)(?::([0-9]{1,5}))?")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_ALWAYS_SIZED = frozenset((b"POST", b"PUT", b"PATCH"))


@frozen(cache_hash=True)
class Origin:
    """The server that a request is for. Requests to one origin share its connections."""

    tls: bool
    host: str
    """A name or an IP address, without brackets."""
    port: int
    authority: bytes = field(eq=False)
    """The value of the ``Host`` header."""

    def __str__(self) -> str:
        return self.authority.decode("latin-1")


@lru_cache(maxsize=256)
def split_uri(uri: bytes) -> tuple[Origin, bytes]:
    """An absolute URI's origin, and its path and query, byte for byte as they are.

    :raises ValueError: it is not an ``http`` or ``https`` URI, holds blanks or control characters, or names a user.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise ValueError("not an absolute http or https URI without blanks and control characters")
    scheme, authority, target = match.groups()
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("the URI's host is not a name or address with an optional port")
    host, port = match.groups()
    tls = scheme.lower() == b"https"
    name = host.strip(b"[]").decode("ascii").lower()
    if host.startswith(b"["):
        ip_address(name)
    origin = Origin(tls, name, int(port) if port else 443 if tls else 80, authority)
    return origin, target if target.startswith(b"/") else b"/" + target


@implementer(IClientRequest)
@define(eq=False)
class Request:
    """A request that is ready to be sent."""

    method: bytes
    absoluteURI: bytes
    headers: Headers
    body: IBodyProducer | None
    """Produces the body, unless `content` is all of it."""
    head: bytes = field(repr=False)
    content: bytes | None = field(repr=False)
    """The whole body; empty if there is none. None if it must be produced."""
    replayable: bool
    """True if the request can be sent again from its beginning."""
    proxy: Proxy | None = None
    """The proxy that reads this request and passes it on; None if none reads it."""


def make_request(
    method: bytes,
    uri: bytes,
    headers: Headers | None,
    body: IBodyProducer | None,
    find_proxy: Callable[[Origin], Proxy | None] | None = None,
) -> tuple[Origin, Request]:
    """A request, and its origin. The header that tells the body's length is made here; the caller's own is not sent.

    A request for a proxy to read has its whole URI in its first line:
    https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2

    :raises ValueError: the head would not arrive as it is, because of a line break in a value, for example.
    """
    origin, target = split_uri(uri)
    if _METHOD.fullmatch(method) is None:
        raise ValueError("a method is one token")
    fields = headers if type(headers) is RawHeaders else RawHeaders.of(headers or Headers())
    proxy = None if find_proxy is None else find_proxy(origin)
    if origin.tls:
        proxy = None  # it passes on what it can't read
    elif proxy is not None:
        target = b"http://%b%b" % (origin.authority, target)
    first, framing = [b"%b %b HTTP/1.1" % (method, target)], []
    if b"host" not in fields.by_name:
        first.append(b"Host: " + origin.authority)
    if not _FRAMING.isdisjoint(fields.by_name):
        fields = fields.filter(lambda name: name not in _FRAMING)
    content: bytes | None = b""
    if body is not None:
        content = body.data if isinstance(body, BytesProducer) else None
        unknown = body.length is UNKNOWN_LENGTH
        framing = [b"Transfer-Encoding: chunked" if unknown else b"Content-Length: %d" % body.length]
    elif method in _ALWAYS_SIZED:
        framing = [b"Content-Length: 0"]
    if proxy is not None and proxy.authorization is not None:
        framing.append(b"Proxy-Authorization: " + proxy.authorization)
    head = fields.encode(first, framing)
    replayable = body is None or getattr(body, "replayable", False)
    return origin, Request(method, uri, fields if headers is None else headers, body, head, content, replayable, proxy)


@implementer(IConsumer)
class BodyWriter:
    """Sends a body over a transport as it is produced. The head is sent together with its first piece."""

    def __init__(self, transport: TCPTransport, head: bytes, length: int | str) -> None:
        self._transport = transport
        self._head = head
        self._left = None if length is UNKNOWN_LENGTH else int(length)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Do nothing: a body is a push producer itself, and is registered with the transport."""

    def unregisterProducer(self) -> None:
        """Do nothing, likewise."""

    def write(self, data: bytes) -> None:
        """Send a piece.

        :raises ValueError: the body is longer than its ``length``; nothing of the excess is sent.
        """
        if not data:  # in chunks, an empty one would be the end
            return
        if self._left is None:
            self._send(b"%x\r\n" % len(data), data, b"\r\n")
            return
        if len(data) > self._left:
            raise ValueError("the body is longer than its length")
        self._left -= len(data)
        self._send(data)

    def flush(self) -> None:
        """Send the head if nothing was written yet."""
        if self._head:
            self._send()

    def finish(self) -> None:
        """End the body.

        :raises ValueError: it is shorter than its ``length``.
        """
        if self._left is None:
            self._send(b"0\r\n\r\n")
        elif self._left:
            raise ValueError("the body is shorter than its length")
        self.flush()

    def _send(self, *pieces: bytes) -> None:
        head, self._head = self._head, b""
        self._transport.writeSequence((head, *pieces))


@implementer(IBodyProducer)
class BytesProducer:
    """A body of bytes that are there already. It is sent as often as needed if it is `replayable`.

    The gateway's own client sends its `data` itself; another `IAgent` takes it as any other producer.
    """

    def __init__(self, data: bytes, *, replayable: bool = True) -> None:
        self.data = data
        self.replayable = replayable
        self.repeated = False
        """True once the gateway's own client has sent it again, because a kept connection was closed."""
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all of it is written."""

    def resumeProducing(self) -> None:
        """Do nothing, likewise."""

    def stopProducing(self) -> None:
        """Do nothing, likewise."""

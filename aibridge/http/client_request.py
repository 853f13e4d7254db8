"""A request as it goes onto the wire: its head, and bodies that can be sent."""

import re
from functools import lru_cache
from ipaddress import ip_address

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer, ITransport
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer, IClientRequest
from zope.interface import implementer

from .headers import RawHeaders, joined

_URI = re.compile(rb"(https?)://([^/?#\x00-\x20\x7f]+)([^#\x00-\x20\x7f]*)(?:#[^\x00-\x20\x7f]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]+)(?::([0-9]{1,5}))?")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_ALWAYS_SIZED = frozenset((b"POST", b"PUT", b"PATCH"))


@frozen(cache_hash=True)
class Origin:
    """Where a request goes; what connections are shared by."""

    tls: bool
    host: str
    """A name or an IP literal, without brackets."""
    port: int
    authority: bytes = field(eq=False)
    """The value of the ``Host`` header."""

    def __str__(self) -> str:
        return self.authority.decode("latin-1")


def _origin(scheme: bytes, authority: bytes) -> Origin:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError("the URI's host is not a name or address with an optional port")
    host, port = match.groups()
    tls = scheme.lower() == b"https"
    name = host.strip(b"[]").decode("ascii").lower()
    if host.startswith(b"["):
        ip_address(name)
    return Origin(tls, name, int(port) if port else 443 if tls else 80, authority)


@lru_cache(maxsize=256)
def split_uri(uri: bytes) -> tuple[Origin, bytes]:
    """An absolute URI's origin, and its path and query, byte for byte as they stand there.

    :raises ValueError: it is not an ``http`` or ``https`` URI, holds blanks or control characters, or names a user.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise ValueError("not an absolute http or https URI without blanks and control characters")
    scheme, authority, target = match.groups()
    return _origin(scheme, authority), target if target.startswith(b"/") else b"/" + target


@implementer(IClientRequest)
@define(eq=False)
class Request:
    """One request, ready to be sent; more than once if its body allows."""

    method: bytes
    absoluteURI: bytes
    headers: Headers
    body: IBodyProducer | None
    head: bytes = field(repr=False)

    @property
    def content(self) -> bytes | None:
        """The body, if all of it is there; empty if it has none. Else it must be produced."""
        if self.body is None:
            return b""
        return self.body.data if isinstance(self.body, BytesProducer) else None

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again from its beginning."""
        return self.body is None or getattr(self.body, "replayable", False)


def make_request(
    method: bytes, uri: bytes, headers: Headers | None, body: IBodyProducer | None
) -> tuple[Origin, Request]:
    """A request, and where it goes.

    :raises ValueError: something in its head would not come out as what it is, such as a line break in a value.
    """
    origin, target = split_uri(uri)
    if _METHOD.fullmatch(method) is None:
        raise ValueError("a method is one token")
    fields = RawHeaders() if headers is None else RawHeaders.of(headers)
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    if b"host" not in fields.by_name:
        lines.append(b"Host: " + origin.authority)
    if not _FRAMING.isdisjoint(fields.by_name):
        fields = fields.filter(lambda name: name not in _FRAMING)
    lines += fields.lines()
    lines += _framing(method, body)
    return origin, Request(method, uri, fields if headers is None else headers, body, joined(lines))


def _framing(method: bytes, body: IBodyProducer | None) -> list[bytes]:
    """The header that says how long the body is; the caller's own say on it is never sent."""
    if body is None:
        return [b"Content-Length: 0"] if method in _ALWAYS_SIZED else []
    if body.length is UNKNOWN_LENGTH:
        return [b"Transfer-Encoding: chunked"]
    return [b"Content-Length: %d" % body.length]


@implementer(IConsumer)
class BodyWriter:
    """Frames a body onto a transport; the head goes out together with its first piece."""

    def __init__(self, transport: ITransport, head: bytes, length: int | str) -> None:
        self._transport = transport
        self._head = head
        self._left = None if length is UNKNOWN_LENGTH else int(length)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Nothing: a body is a push producer itself, and is registered with the transport."""

    def unregisterProducer(self) -> None:
        """Nothing, likewise."""

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
        """The body is whole.

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
    """A body that is there already: written at once, and as often as needed where it is `replayable`.

    A connection takes its `data` and spares itself the rest; another `IAgent` takes it as any producer.
    """

    def __init__(self, data: bytes, *, replayable: bool = True) -> None:
        self.data = data
        self.replayable = replayable
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it."""
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Too late: it is written."""

    def resumeProducing(self) -> None:
        """Nothing is left to write."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""

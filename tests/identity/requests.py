"""Requests as an authenticator sees them, without a server."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.http_headers import Headers
from twisted.web.test.requesthelper import DummyRequest

from aibridge.errors import Unauthorized

HERE = IPv4Address("TCP", "127.0.0.1", 40000)


def request(*fields: tuple[str, str | bytes], peer: Any = HERE) -> Any:
    """A request with these header fields, from that address."""
    made = DummyRequest([b""])
    made.requestHeaders = Headers()
    for name, value in fields:
        made.requestHeaders.addRawHeader(name.encode(), value.encode() if isinstance(value, str) else value)
    made.client = peer
    made.getClientAddress = lambda: peer
    return made


def actor_of(authenticator: Any, made: Any) -> "Deferred[Any]":
    """The actor that the authenticator finds; None if it refuses the request with 401."""
    found: Deferred[Any] = maybeDeferred(authenticator.authenticate, made)
    return found.addErrback(lambda failure: failure.trap(Unauthorized) and None)


def left(made: Any) -> dict[bytes, list[bytes]]:
    """The headers that are still there."""
    return {name.lower(): values for name, values in made.requestHeaders.getAllRawHeaders()}

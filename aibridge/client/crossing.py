"""Which headers cross the gateway, in each direction.

Hop-by-hop: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from twisted.web.http_headers import Headers

from ..http.headers import RawHeaders

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# The client made these for its own connection, or they are the gateway's business.
_NOT_TO_PROVIDER = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"cookie", b"authorization", b"x-api-key"}
_GATEWAY_PREFIXES = (b"x-aibridge-", b"x-ai-bridge-")

INTERCEPTION_ID = b"X-AIBridge-Interception-Id"
_NOT_TO_CLIENT = _HOP_BY_HOP | {INTERCEPTION_ID.lower()}
ACTOR_ID = b"X-AI-Bridge-Actor-ID"
ACTOR_METADATA_PREFIX = b"X-AI-Bridge-Actor-Metadata-"


def _plain(name: bytes) -> bytes:
    """Behind WSGI and CGI an underscore is a hyphen: what the one may not say, the other may not either."""
    return name.lower().replace(b"_", b"-")


@lru_cache(maxsize=256)
def _reaches_provider(name: bytes) -> bool:
    plain = _plain(name)
    return plain not in _NOT_TO_PROVIDER and not plain.startswith(_GATEWAY_PREFIXES)


@lru_cache(maxsize=256)
def _reaches_provider_uncoded(name: bytes) -> bool:
    return _reaches_provider(name) and _plain(name) != b"accept-encoding"


@lru_cache(maxsize=256)
def _reaches_client(name: bytes) -> bool:
    return _plain(name) not in _NOT_TO_CLIENT


def to_provider(client: Headers, *, uncoded: bool = False) -> RawHeaders:
    """The client's headers as the provider may see them, without any credential.

    ``uncoded`` asks for an answer without a content coding, so that it can be read.
    """
    return _crossing(client, _reaches_provider_uncoded if uncoded else _reaches_provider)


def to_client(provider: Headers, target: Headers) -> None:
    """Puts the provider's headers, less the hop-by-hop ones and its own interception's id, into the answer's."""
    crossing = _crossing(provider, _reaches_client)
    if isinstance(target, RawHeaders):
        target.update(crossing)
        return
    for name, values in crossing.getAllRawHeaders():
        target.setRawHeaders(name, values)


def _crossing(headers: Headers, reaches: Callable[[bytes], bool]) -> RawHeaders:
    fields = RawHeaders.of(headers).filter(reaches)
    if headers.hasHeader(b"connection"):
        named = _named_by_connection(headers)
        return fields.filter(lambda name: _plain(name) not in named)
    return fields


def _named_by_connection(headers: Headers) -> Iterable[bytes]:
    values = headers.getRawHeaders(b"connection", ())
    return [_plain(name.strip()) for value in values for name in value.split(b",")]


def add_forwarded(headers: Headers, request: Any) -> None:
    """Says for whom, and under which address of the gateway's, a request is passed on."""
    address = getattr(request.getClientAddress(), "host", None)
    if address:
        known = headers.getRawHeaders(b"x-forwarded-for", [])
        headers.setRawHeaders(b"x-forwarded-for", [b", ".join([*known, address.encode()])])
    headers.setRawHeaders(b"x-forwarded-proto", [b"https" if request.isSecure() else b"http"])
    host = request.requestHeaders.getRawHeaders(b"host")
    if host:
        headers.setRawHeaders(b"x-forwarded-host", host[:1])


def content_type(headers: Headers) -> bytes:
    """The media type that an answer says it has, with its parameters; empty where it says none."""
    return headers.getRawHeaders(b"content-type", [b""])[0]

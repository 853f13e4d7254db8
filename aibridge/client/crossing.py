"""Which headers cross the gateway, in each direction.

Hop-by-hop: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
"""

from functools import lru_cache
from typing import Any

from twisted.web.http_headers import Headers

from ..http.headers import RawHeaders
from .paths import split_target

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
# The client made these for its own connection, or they are the gateway's business: it adds one credential itself.
_NOT_TO_PROVIDER = _HOP_BY_HOP | {
    b"api-key",
    b"authorization",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"x-api-key",
}
_GATEWAY_PREFIXES = (b"x-aibridge-", b"x-ai-bridge-")

INTERCEPTION_ID = b"X-AIBridge-Interception-Id"
COST = b"X-AIBridge-Cost"
BUDGET_REMAINING = b"X-AIBridge-Budget-Remaining"
"""Both in USD."""
_NOT_TO_CLIENT = _HOP_BY_HOP | {INTERCEPTION_ID.lower(), COST.lower(), BUDGET_REMAINING.lower()}
REQUEST_ID = b"x-request-id"
"""The header in which clients and proxies name a request. It reaches the provider as it is."""
_LONGEST_REQUEST_ID = 128
ACTOR_ID = b"X-AI-Bridge-Actor-ID"
ACTOR_METADATA_PREFIX = b"X-AI-Bridge-Actor-Metadata-"


def _hyphenated(name: bytes) -> bytes:
    """Return a header's name in lower case with hyphens: behind WSGI and CGI an underscore is a hyphen too."""
    return name.lower().replace(b"_", b"-")


@lru_cache(maxsize=256)
def _reaches_provider(name: bytes) -> bool:
    hyphenated = _hyphenated(name)
    return hyphenated not in _NOT_TO_PROVIDER and not hyphenated.startswith(_GATEWAY_PREFIXES)


@lru_cache(maxsize=256)
def _reaches_client(name: bytes) -> bool:
    return _hyphenated(name) not in _NOT_TO_CLIENT


def to_provider(client: RawHeaders, *, readable: bool = False) -> RawHeaders:
    """Return the client's headers as the provider may see them, without any credential.

    `readable` asks for a response without a content coding, so that the gateway can read it. Without the header any
    coding would be allowed: https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    """
    headers = client.filter(_reaches_provider)
    if b"connection" in client.by_name:
        headers = _without_named(headers, client)
    if readable:
        headers.set(b"Accept-Encoding", b"identity")
    return headers


def to_client(provider: Headers, target: Headers) -> bytes:
    """Put the provider's headers, less the hop-by-hop ones and its own interception's id, into the response's.

    Return the response's media type as `content_type` does.
    """
    sent = provider if type(provider) is RawHeaders else RawHeaders.of(provider)
    crossing = sent.filter(_reaches_client)
    if b"connection" in sent.by_name:
        crossing = _without_named(crossing, sent)
    if isinstance(target, RawHeaders):
        target.update(crossing)
    else:
        for name, values in crossing.getAllRawHeaders():
            target.setRawHeaders(name, values)
    types = sent.by_name.get(b"content-type")
    return types[0] if types else b""


def read_request_id(value: bytes) -> str:
    """Return a client's name of its request, as the log has it: cut off, with dots for what is not visible ASCII."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F else "." for byte in value[:_LONGEST_REQUEST_ID])


def _without_named(crossing: RawHeaders, sent: RawHeaders) -> RawHeaders:
    """Return the headers without those that ``Connection`` names among the sent ones."""
    named = sent.by_name[b"connection"]
    dropped = {_hyphenated(name.strip()) for value in named for name in value.split(b",")}
    return crossing.filter(lambda name: _hyphenated(name) not in dropped)


def add_forwarded(headers: Headers, request: Any) -> None:
    """Add ``X-Forwarded-For``, ``-Host`` and ``-Proto``: the client's address, and the gateway's as it was called."""
    address = getattr(request.getClientAddress(), "host", None)
    if address:
        known = headers.getRawHeaders(b"x-forwarded-for", [])
        headers.setRawHeaders(b"x-forwarded-for", [b", ".join([*known, address.encode()])])
    headers.setRawHeaders(b"x-forwarded-proto", [b"https" if request.isSecure() else b"http"])
    # The host of an absolute target counts: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
    host = split_target(request.uri)[0] or request.requestHeaders.getRawHeaders(b"host", [b""])[0]
    if host:
        headers.setRawHeaders(b"x-forwarded-host", [host])


def content_type(headers: Headers) -> bytes:
    """Return a response's media type with its parameters; empty if it has none."""
    # Every response is asked, and nearly all have headers of the gateway's own kind.
    by_name = headers.by_name if type(headers) is RawHeaders else None
    values = by_name.get(b"content-type") if by_name is not None else headers.getRawHeaders(b"content-type")
    return values[0] if values else b""

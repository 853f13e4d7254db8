"""Requests of web pages on other sites, as browsers let them through: https://fetch.spec.whatwg.org/#http-cors-protocol

A browser asks first whether a page may send its request: the preflight, which has no credential. Then it shows the page
the response, and of the headers only those that are named in one of them.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from twisted.web.http_headers import Headers

from ..errors import PageRefused
from ..http.proxies import is_fixed

ANY = "*"
"""Stands for every origin among those that are allowed."""

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_MAX_AGE = b"600"  # seconds; browsers keep an answer to a preflight no longer than two hours
_ALLOW_ORIGIN = b"Access-Control-Allow-Origin"
_EXPOSE_HEADERS = b"Access-Control-Expose-Headers"
_NOT_THE_PROVIDERS = (
    _ALLOW_ORIGIN,
    _EXPOSE_HEADERS,
    b"Access-Control-Allow-Credentials",
    b"Access-Control-Allow-Headers",
    b"Access-Control-Allow-Methods",
    b"Access-Control-Max-Age",
)


def allowed_origin(request: Headers, allowed: Collection[str]) -> bytes | None:
    """Return the page's origin if it is one of those, as the response has to name it; None for any other request."""
    [origin, *others] = request.getRawHeaders(b"origin") or (b"",)
    if not origin or others:
        return None
    if ANY in allowed:
        return ANY.encode()
    return origin if origin.decode("latin-1").lower() in allowed else None


def refuse_other_sites(request: Headers, allowed: Collection[str], *, is_open: bool) -> None:
    """Raise `PageRefused` for a request of a web page on another site, unless its origin is allowed.

    A WebSocket needs this: browsers let every page open any, with the user's cookies, and read what comes over it.
    https://www.rfc-editor.org/rfc/rfc6455#section-10.2

    :param is_open: True where nobody is asked for a credential. A page could have its own name lead to this gateway
        then, and be of the gateway's site for the browser; so that site must be an address, or localhost.
    """
    if request.hasHeader(b"origin") and allowed_origin(request, allowed) is None:
        own = _own_site(request)
        if own is None or (is_open and not is_fixed(own)):
            raise PageRefused("The Origin of this web page is not among server.cors_origins. Add it there.")


def refuse_unasked(method: bytes, request: Headers, allowed: Collection[str], *, is_open: bool) -> None:
    """Raise `PageRefused` for a page's request that its browser sends without a preflight, if no site may send it.

    That is a POST which says that its body is not JSON, and any request of a page that has the gateway's own site. The
    first page can't read the response, but the request would have been served, with the gateway's own credential.
    https://fetch.spec.whatwg.org/#cors-safelisted-request-header
    """
    [content_type] = request.getRawHeaders(b"content-type", [b""])[:1]
    # Parameters don't count: "text/plain; charset=json" needs no preflight either.
    is_simple = method == b"POST" and b"json" not in content_type.partition(b";")[0].lower()
    if is_simple or _own_site(request) is not None:
        refuse_other_sites(request, allowed, is_open=is_open)


def _own_site(request: Headers) -> str | None:
    """Return the host of a page's site, if that is the gateway's own; None for another site."""
    [origin, *others] = request.getRawHeaders(b"origin") or (b"",)
    [host] = request.getRawHeaders(b"host", [b""])[:1]
    site, own = _site(origin), _site(b"%b://%b" % (origin.partition(b":")[0], host))
    return site[0] if site is not None and site == own and not others else None


def _site(origin: bytes) -> tuple[str, int | None] | None:
    """Return the host and the port of an origin; None for one that has none, such as ``null``."""
    try:
        parts = urlsplit(origin.decode("latin-1"))
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


def is_preflight(method: bytes, request: Headers) -> bool:
    """Return True for a browser's question whether a page may send a request."""
    return method == b"OPTIONS" and request.hasHeader(b"access-control-request-method")


def add_preflight_headers(request: Headers, origin: bytes, response: Headers) -> None:
    """Allow the request that the browser asks about."""
    response.setRawHeaders(_ALLOW_ORIGIN, [origin])
    response.setRawHeaders(b"Access-Control-Allow-Methods", [_METHODS])
    if wanted := request.getRawHeaders(b"access-control-request-headers"):
        response.setRawHeaders(b"Access-Control-Allow-Headers", [b", ".join(wanted)])
    if request.hasHeader(b"access-control-request-private-network"):
        response.setRawHeaders(b"Access-Control-Allow-Private-Network", [b"true"])
    response.setRawHeaders(b"Access-Control-Max-Age", [_MAX_AGE])
    response.setRawHeaders(b"Vary", [b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"])


def add_headers(origin: bytes, response: Headers) -> None:
    """Let the page read the response with all its headers. What the provider says of pages is about its own site."""
    for name in _NOT_THE_PROVIDERS:
        response.removeHeader(name)
    names = sorted(name.lower() for name, _ in response.getAllRawHeaders())
    response.setRawHeaders(_ALLOW_ORIGIN, [origin])
    response.setRawHeaders(_EXPOSE_HEADERS, [b", ".join(names)])
    response.addRawHeader(b"Vary", b"Origin")

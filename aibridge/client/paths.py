"""Reading a request's path so that it means the same here and at the provider.

An administrator's key may be configured, so a path that could be read in two ways is no known route.
"""

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from attrs import frozen

from ..errors import RouteUnknown

_LONGEST_KNOWN = 128
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)
# What no request target may hold; upstream it would be refused, or cut off.
_NOT_OF_A_TARGET = re.compile(rb"[\x00-\x20\x7f#]")
# Dot segments, empty segments, parameters, backslashes, control characters; and an escape that is left after decoding.
_AMBIGUOUS = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)|//|[;\\\x00-\x1f\x7f]|%[0-9a-f]{2}", re.IGNORECASE)


@frozen
class RequestPath:
    """A path below the bridge: the provider's name, and the rest of it raw and decoded."""

    provider: str
    raw: bytes
    decoded: str
    query: bytes


def split_target(target: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a request target's host and port, its path and its query. Only an absolute target has a host.

    A server must accept absolute targets too: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
    """
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        target = target[absolute.end() :]
    path, _, query = target.partition(b"?")
    return absolute[1] if absolute is not None else b"", path, query


def read_path(uri: bytes, depth: int) -> RequestPath:
    """Return the path of a request target, below the `depth` segments under which the bridge is mounted.

    Raises `RouteUnknown` if the path could mean one thing here and another at the provider.
    """
    # Nearly all requests go to a handful of targets.
    return _read_known(uri, depth) if len(uri) <= _LONGEST_KNOWN else _read(uri, depth)


def _read(uri: bytes, depth: int) -> RequestPath:
    if _NOT_OF_A_TARGET.search(uri):
        raise RouteUnknown("Invalid request target.")
    _, path, query = split_target(uri)
    segments = path.split(b"/", depth + 1)
    if segments[0] or len(segments) < depth + 2:
        raise RouteUnknown("Not found.")
    name, slash, rest = segments[-1].partition(b"/")
    decoded = unquote_to_bytes(slash + rest)
    if _AMBIGUOUS.search(decoded):
        raise RouteUnknown("Ambiguous path: it could be read in more than one way.")
    try:
        return RequestPath(name.decode("ascii"), slash + rest, decoded.decode(), query)
    except UnicodeDecodeError:
        raise RouteUnknown("Invalid path: it is not UTF-8.") from None


_read_known = lru_cache(maxsize=256)(_read)

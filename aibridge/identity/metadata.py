"""Metadata of actors: facts that a signed token or a trusted proxy states beside the actor's name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.web.http_headers import Headers

from .. import settings

DEFAULT_ACTOR_CLAIM = "sub"
"""The claim of a signed token that names the actor."""
DEFAULT_LEEWAY = 30.0
"""Seconds by which the clock of a token's issuer may differ."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The names of metadata, which fit into the names of headers."""

LONGEST = 256
"""Characters of a value; the rest is cut off."""

_MOST = 16
"""The most names."""


def metadata_claims() -> Any:
    """A setting: the claim of each name, such as ``groups.0`` for the first of the groups."""
    return _sources(lambda claim: None if all(claim.split(".")) else "must be a claim, such as email or groups.0")


def metadata_headers() -> Any:
    """A setting: the header of each name."""
    return _sources(settings.check_header_name)


def _sources(check_source: Callable[[str], str | None]) -> Any:
    def check(value: dict[Any, Any]) -> str | None:
        if len(value) > _MOST:
            return f"must have at most {_MOST} names"
        for name, source in value.items():
            if type(name) is not str or not NAME.fullmatch(name):
                return "must have names of letters, digits, _ and - only"
            why = check_source(source) if type(source) is str else "must be a string"
            if why:
                return f"{name} {why}"
        return None

    return settings.setting(dict, check, factory=dict)


def from_claims(claims: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata that a token's claims state; names without a value are left out."""
    return _clean({name: _find(claims, source.split(".")) for name, source in sources.items()})


def from_headers(headers: Headers, sources: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata in these headers, and remove the headers.

    Of several lines of a header one may be the client's own, so none of them counts.
    """
    found: dict[str, object] = {}
    for name, source in sources.items():
        values = headers.getRawHeaders(source.encode(), ())
        found[name] = values[0].decode("utf-8", "replace") if len(values) == 1 else None
    for source in sources.values():
        headers.removeHeader(source)
    return _clean(found)


def _find(value: Any, path: Sequence[str]) -> Any:
    """Return the value at a path, None if there is none. The name of a claim may have dots, as URLs do."""
    if not path:
        return value
    if isinstance(value, list):
        at = path[0]
        return _find(value[int(at)], path[1:]) if at.isdecimal() and int(at) < len(value) else None
    if isinstance(value, dict):
        for end in range(len(path), 0, -1):
            if (key := ".".join(path[:end])) in value:
                return _find(value[key], path[end:])
    return None


def _clean(found: Mapping[str, object]) -> dict[str, str]:
    """Return the values as bounded, printable text; a list of them is joined by commas."""
    cleaned = {}
    for name, value in found.items():
        parts = [
            str(part) for part in (value if isinstance(value, list) else [value]) if type(part) in (str, int, float)
        ]
        text = "".join(character for character in ",".join(parts) if character.isprintable()).strip()
        if text:
            cleaned[name] = text[:LONGEST]
    return cleaned

"""Masking of secrets in dumps: in headers and URLs by name, and everywhere by value."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote

from attrs import field, fields, frozen, has

from ..http.headers import RawHeaders
from ..identity.credentials import hint, strip_scheme
from ..settings import SECRET

MASK = b"[masked]"
_SHORTEST = 6
"""Bytes; to mask shorter secrets by value would only make a dump unreadable. Headers hide them all the same."""
_SECRET_HEADERS = frozenset(
    (
        b"api-key",
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"set-cookie",
        b"x-amz-security-token",
        b"x-api-key",
        b"x-goog-api-key",
    )
)
_SECRET_PARAMETERS = re.compile(
    rb"([?&](?:key|api[_-]?key|(?:access[_-]?|security[_-]?)?token|sig|signature|code)=)[^&\s]*", re.IGNORECASE
)
_GATEWAY_PREFIX = b"aib_"
_GATEWAY_KEY = rb"aib_[A-Za-z0-9_-]{43}"
_LONGEST_GATEWAY_KEY = 47


def masked_url(target: bytes) -> bytes:
    """Return a URL, or a part of it, without the values of parameters that hold credentials."""
    return _SECRET_PARAMETERS.sub(rb"\1" + MASK, target)


def masked_headers(headers: RawHeaders, configured: Iterable[bytes] = ()) -> RawHeaders:
    """Return headers with hints in place of credentials. `configured` are further secret headers, in lower case."""
    masked = headers.copy()
    for name in _SECRET_HEADERS.union(configured) & headers.by_name.keys():
        shown = []
        for value in headers.by_name[name]:
            secret = strip_scheme(value)
            scheme = value.strip()[: -len(secret)] if secret else b""
            shown.append(scheme + (hint(secret) or "").encode() + MASK)
        masked.by_name[name] = shown
    return masked


def credentials_of(headers: RawHeaders) -> list[bytes]:
    """Return the credentials in headers, which are secret wherever they appear."""
    names = _SECRET_HEADERS & headers.by_name.keys()
    return [strip_scheme(value) for name in names for value in headers.by_name[name]]


def secrets_of(settings: object) -> list[bytes]:
    """Return the values of all secret settings of an attrs object, such as a provider."""
    cls = type(settings)
    if not has(cls):
        return []
    found: list[object] = []
    for setting in fields(cls):
        value = getattr(settings, setting.name) if setting.metadata.get(SECRET) else None
        found += value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else [value]
    return [strip_scheme(value.encode()) for value in found if isinstance(value, str)]


class Masker:
    """Masks secrets by value in bytes that come in pieces, wherever the pieces are cut.

    A secret is found as it is, as JSON writes it and as a URL does. The gateway's own keys are found by their form.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._search = _search_for(frozenset(secret for secret in secrets if len(secret) >= _SHORTEST))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be written of the pieces so far; the beginning of a secret may be held back."""
        data = self._held + data
        end = max(0, len(data) - self._search.longest + 1)
        if self._search.may_find(data):
            for found in self._search.pattern.finditer(data):
                if found.start() < end < found.end():
                    end = found.end()
        self._held = data[end:]
        return self._search.mask(data[:end])

    def close(self) -> bytes:
        """Return the rest."""
        held, self._held = self._held, b""
        return self._search.mask(held)


@frozen(eq=False)
class _Search:
    """The search for some secrets."""

    needles: tuple[bytes, ...] = field(repr=False)
    """The forms of the secrets, and the beginning of the gateway's keys."""
    pattern: "re.Pattern[bytes]" = field(repr=False)
    longest: int

    def may_find(self, data: bytes) -> bool:
        """Return False if there is no secret, in a fraction of the time that the pattern takes."""
        return any(needle in data for needle in self.needles)

    def mask(self, data: bytes) -> bytes:
        """Return whole bytes without the secrets."""
        return self.pattern.sub(MASK, data) if self.may_find(data) else data


@lru_cache(maxsize=1024)
def _search_for(secrets: frozenset[bytes]) -> _Search:
    forms: set[bytes] = set()
    for secret in secrets:
        text = secret.decode("utf-8", "surrogateescape")
        escaped = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape")
        forms |= {secret, escaped, escaped.replace(b"/", b"\\/"), quote(secret, safe="").encode()}
    longest_first = sorted(forms, key=len, reverse=True)
    return _Search(
        (*longest_first, _GATEWAY_PREFIX),
        re.compile(b"|".join([*map(re.escape, longest_first), _GATEWAY_KEY])),
        max([_LONGEST_GATEWAY_KEY, *map(len, forms)]),
    )

"""Credentials as clients present them: which of them are the gateway's own, and taking these out of a request.

A client sends the gateway's credential in ``X-AIBridge-Key``, or where it would send its provider's own.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.web.http_headers import Headers

from ..errors import MissingCredential
from ..record.records import BYOK, CENTRALIZED

_SHORTEST_HINTED = 16


def hint(value: bytes) -> str | None:
    """Enough of a secret to tell two apart and never enough to use; nothing at all of a short one."""
    secret = secret_of(value).decode("utf-8", "replace")
    return f"{secret[:4]}...{secret[-2:]}" if len(secret) >= _SHORTEST_HINTED else None


@define
class Credential:
    """What is sent to the provider, header by header, and what may be recorded of it."""

    kind: str
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    hint: str | None = None


def choose_credential(client: Headers, configured: tuple[bytes, bytes] | None, setting: str) -> Credential:
    """The client's credential in the headers it came in (some clients send both), or the configured header.

    MissingCredential, which names `setting`, where there is neither.
    """
    own = []
    for name in PROVIDER_HEADERS:
        values = client.getRawHeaders(name)
        if values and (value := _own(values)):
            own.append((name, value))
    if own:
        return Credential(BYOK, tuple(own), hint(own[0][1]))
    if configured is not None:
        return Credential(CENTRALIZED, (configured,), hint(configured[1]))
    raise MissingCredential(f"No credential for the provider: send your own, or set {setting} at the gateway.")


def _own(values: Sequence[bytes]) -> bytes | None:
    for value in values:
        # Where the gateway asks for no keys, a client may send one all the same: it is for no provider to see.
        if secret_of(value) and not is_gateway_credential(value):
            return value
    return None


GATEWAY_HEADER = b"x-aibridge-key"
PROVIDER_HEADERS = (b"x-api-key", b"authorization")
"""Where a client's own credential for the provider may be, in the order in which they are looked at."""

_SCHEME = re.compile(rb"(bearer|basic)(?:\s+|$)", re.IGNORECASE)
_KEY = re.compile(rb"(?:^|[\s,;:=\"'])aib_")


def secret_of(value: bytes) -> bytes:
    """The credential in a header's value, without the scheme in front of it."""
    stripped = value.strip()
    scheme = _SCHEME.match(stripped)
    return stripped[scheme.end() :] if scheme else stripped


def is_gateway_credential(value: bytes) -> bool:
    """Whether a header's value is one of the gateway's keys, whatever a client put around it."""
    return _names_a_key(value) or _names_a_key(_inside_basic(value))


def _names_a_key(text: bytes) -> bool:
    # Tokens may be long, and the search for plain bytes is quick.
    return text.find(b"aib_") >= 0 and _KEY.search(text) is not None


def take(headers: Headers, is_ours: Callable[[bytes], bool]) -> bytes | None:
    """Removes every credential of the gateway's own, and gives the first one; None where there is none.

    What is in ``X-AIBridge-Key`` always is. In the provider's headers `is_ours` tells; the others stay there.
    """
    taken = _split(headers, GATEWAY_HEADER, lambda value: True)
    for name in PROVIDER_HEADERS:
        taken += _split(headers, name, is_ours)
    return next(filter(None, map(secret_of, taken)), None)


def _split(headers: Headers, name: bytes, is_ours: Callable[[bytes], bool]) -> list[bytes]:
    """The values of that header that are the gateway's; only the others remain."""
    values = headers.getRawHeaders(name)
    ours = [value for value in values or () if is_ours(value)]
    if values and ours:
        headers.removeHeader(name)
        for value in values:
            if value not in ours:
                headers.addRawHeader(name, value)
    return ours


def _inside_basic(value: bytes) -> bytes:
    """User and password, where the value is of that scheme."""
    if value.lstrip()[:6].lower() != b"basic ":
        return b""
    try:
        return b64decode(secret_of(value))
    except ValueError:
        return b""

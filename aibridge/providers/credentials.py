"""Whose credential reaches the provider: the client's own if it sends one, else the configured one."""

from collections.abc import Sequence

from attrs import define, field
from twisted.web.http_headers import Headers

from ..errors import MissingCredential
from ..identity.presented import PROVIDER_HEADERS, holds_gateway_key, secret_of
from ..record.records import BYOK, CENTRALIZED

_SHORTEST_HINTED = 16


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


def hint(value: bytes) -> str | None:
    """Enough of a secret to tell two apart and never enough to use; nothing at all of a short one."""
    secret = secret_of(value).decode("utf-8", "replace")
    return f"{secret[:4]}...{secret[-2:]}" if len(secret) >= _SHORTEST_HINTED else None


def _own(values: Sequence[bytes]) -> bytes | None:
    for value in values:
        # Where the gateway asks for no keys, a client may send one all the same: it is for no provider to see.
        if secret_of(value) and not holds_gateway_key(value):
            return value
    return None

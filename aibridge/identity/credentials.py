"""Credentials in a client's headers: the gateway's own, which are removed, and the client's own for its provider.

A client sends the gateway's credential in ``X-AIBridge-Key``, or where it would send its provider's.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress

from attrs import define, field
from twisted.web.http_headers import Headers

from ..errors import CredentialRefused, MissingCredential
from ..http.headers import RawHeaders
from ..record.records import BYOK

GATEWAY_HEADER = b"x-aibridge-key"
PROVIDER_HEADERS = (b"x-api-key", b"authorization", b"api-key")
"""The headers of a client's own credential for its provider, in order of preference. Azure's clients send the last."""

ALLOW = "allow"
REFUSE = "refuse"
IGNORE = "ignore"

_SCHEME = re.compile(rb"(bearer|basic)(?:\s+|$)", re.IGNORECASE)
_GATEWAY_KEY = re.compile(rb"(?:^|[\s,;:=\"'])aib_")
_SHORTEST_HINTED = 16
_CHATGPT_ACCOUNT = b"chatgpt-account-id"
"""The header that Codex sends with a ChatGPT login."""
_SUBSCRIPTION = re.compile(rb"\s*(bearer\s+)?(sk-ant-oat|gho_|ghu_|tid=)", re.IGNORECASE)
"""Claude's OAuth tokens (Pro and Max), and the tokens of GitHub Copilot."""


@define
class Credential:
    """A credential for a provider."""

    kind: str
    """`BYOK` if the client sent it, `CENTRALIZED` if it is configured."""
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """Names and values of the headers to send."""
    hint: str | None = None
    """The part of it that may be recorded."""
    is_of_account: bool = False
    """True if the client names a ChatGPT account with it."""

    @property
    def is_subscription(self) -> bool:
        """True if it is the client's own and of a subscription: what is used by it has no price of its own."""
        if self.kind != BYOK or self.is_of_account:
            return self.is_of_account
        return any(map(_SUBSCRIPTION.match, dict(self.headers).values()))


def choose_credential(client: RawHeaders, configured: Credential | None, provider: str, byok: str) -> Credential:
    """Return the client's own credential if it sends one and `byok` is `ALLOW`, or else the configured one.

    Clients that send both ``x-api-key`` and ``Authorization`` have both passed on: only the provider knows which of
    them counts. ``api-key`` is passed on alone. Raise CredentialRefused for an own credential if `byok` is `REFUSE`,
    and MissingCredential, which names the setting of that provider, if there is no credential at all.
    """
    own: list[tuple[bytes, bytes]] = []
    for name in PROVIDER_HEADERS if byok != IGNORE else ():
        if own and name == b"api-key":
            break
        for value in client.by_name.get(name, ()):
            # Keys of the gateway are kept from providers even where the gateway doesn't ask for them.
            if strip_scheme(value) and not is_gateway_credential(value):
                own.append((name, value))
                break
    if own and byok == REFUSE:
        raise CredentialRefused(
            f"Your own {provider} key is not accepted here. Remove it from the client: the gateway adds its own key."
        )
    if own:
        return Credential(BYOK, tuple(own), hint(own[0][1]), _CHATGPT_ACCOUNT in client.by_name)
    if configured is not None:
        return configured
    yours = "Send your own, or set" if byok == ALLOW else "Set"
    raise MissingCredential(f"No {provider} key: the request has none. {yours} providers.{provider}.api_key.")


def pop_gateway_credential(headers: Headers, is_ours: Callable[[bytes], bool]) -> bytes | None:
    """Remove all of the gateway's credentials from the headers and return the first, without its scheme; None without.

    A value of ``X-AIBridge-Key`` always is the gateway's. Of the values of the provider's headers `is_ours` decides;
    the others stay in place.
    """
    popped = headers.getRawHeaders(GATEWAY_HEADER) or []
    if popped:
        headers.removeHeader(GATEWAY_HEADER)
    for name in PROVIDER_HEADERS:
        values = headers.getRawHeaders(name) or ()
        ours = [value for value in values if is_ours(value)]
        if ours:
            popped = [*popped, *ours]
            headers.removeHeader(name)
            for value in values:
                if value not in ours:
                    headers.addRawHeader(name, value)
    return next(filter(None, map(strip_scheme, popped)), None)


def is_gateway_credential(value: bytes) -> bool:
    """Return True if a header's value contains a key of the gateway, whatever a client put around it."""
    text = value
    if value.lstrip()[:6].lower() == b"basic ":
        with suppress(ValueError):
            text = b64decode(strip_scheme(value)) + b" " + value
    # Tokens may be long, and a search for plain bytes is quick.
    return b"aib_" in text and _GATEWAY_KEY.search(text) is not None


def strip_scheme(value: bytes) -> bytes:
    """Return the credential in a header's value, without ``Bearer`` or ``Basic`` in front of it."""
    stripped = value.strip()
    scheme = _SCHEME.match(stripped)
    return stripped[scheme.end() :] if scheme else stripped


def hint(value: bytes) -> str | None:
    """Return enough of a secret to tell two apart, and too little to use; None for a short one."""
    secret = strip_scheme(value).decode("utf-8", "replace")
    return f"{secret[:4]}...{secret[-2:]}" if len(secret) >= _SHORTEST_HINTED else None

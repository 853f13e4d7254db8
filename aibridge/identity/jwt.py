"""Mode ``jwt``: an issuer that the operator trusts has signed who it is. https://www.rfc-editor.org/rfc/rfc7519

A token is looked at twice. Unchecked, to see whom it is meant for: so the gateway's own is told from a token that is
the client's credential for its provider, and taken out wherever it stands. Then it is checked, by PyJWT.
"""

import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import jwt
import orjson
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..caches import LRUCache
from ..interfaces import IAuthenticator
from .authenticate import Actor
from .credentials import pop_gateway_credential, strip_scheme
from .jwks import ALGORITHMS, Fetch, Keyring, VerifyingKey, from_file, from_url

_LONGEST = 8 * 1024
_BELIEVED_FOR = 60.0
_MOST_KEPT = 10_000


@frozen
class _Checked:
    """The actor of a token that was found good, and until when it need not be checked again."""

    actor: Actor
    until: float


@implementer(IAuthenticator)
class JWTAuthenticator:
    """Knows actors by tokens of one issuer for one audience, whose keys are at a URL or in a file.

    `actor_claim` is the claim that names the actor, `leeway` the seconds by which clocks may differ. A token that was
    found good is believed for a minute, and never beyond its own end.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        reactor: Any,
        jwks_url: str | None = None,
        jwks_file: str | None = None,
        actor_claim: str = "sub",
        leeway: float = 30.0,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._actor_claim = actor_claim
        self._leeway = leeway
        self._clock = reactor
        self._keyring = Keyring(_source(jwks_url, jwks_file, reactor), reactor)
        self._checked: LRUCache[bytes, _Checked] = LRUCache(_MOST_KEPT)

    def authenticate(self, request: IRequest) -> "Actor | Deferred[Actor | None] | None":
        """The actor that the token names. The token is no longer among the request's headers then."""
        token = pop_gateway_credential(request.requestHeaders, self._is_for_us)
        if token is None or len(token) > _LONGEST:
            return None
        digest = sha256(token).digest()
        checked = self._checked.get(digest)
        if checked and self._clock.seconds() < checked.until:
            return checked.actor
        return Deferred.fromCoroutine(self._check(token, digest))

    def _is_for_us(self, value: bytes) -> bool:
        """Whether it claims to be one of the gateway's tokens; whether it is one is another question."""
        claims = _unchecked_claims(strip_scheme(value))
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        return claims.get("iss") == self._issuer and self._audience in named

    async def _check(self, token: bytes, digest: bytes) -> Actor | None:
        try:
            head = jwt.get_unverified_header(token)
            key = await self._key_of(head)
            claims = self._verify(token, key) if key else {}
        except jwt.PyJWTError:
            return None
        name = claims.get(self._actor_claim)
        if not isinstance(name, str) or not name.strip():
            return None
        checked = _Checked(Actor(name), self._believed_until(claims))
        self._checked.set(digest, checked)
        return checked.actor

    async def _key_of(self, head: Mapping[str, Any]) -> VerifyingKey | None:
        algorithm = head.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            return None
        return await self._keyring.find(algorithm, head.get("kid"))

    def _verify(self, token: bytes, key: VerifyingKey) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.key,
            algorithms=key.algorithms,
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway,
            options={"require": ["exp", "iss", "aud"]},
        )

    def _believed_until(self, claims: Mapping[str, Any]) -> float:
        left = int(claims["exp"]) + self._leeway - time.time()
        return float(self._clock.seconds() + min(_BELIEVED_FOR, left))


def _source(url: str | None, file: str | None, reactor: Any) -> Fetch:
    if url is not None and file is None:
        return from_url(url, reactor)
    if file is not None and url is None:
        return from_file(file, reactor)
    raise ValueError("the keys are either at jwks_url or in jwks_file")


def _unchecked_claims(token: bytes) -> Mapping[str, Any]:
    """What a token says of itself; nothing, where it is none."""
    if token.count(b".") != 2:
        return {}
    payload = token.split(b".")[1]
    try:
        claims = orjson.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}

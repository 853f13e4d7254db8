"""Mode ``jwt``: an issuer that the operator trusts has signed the actor's name. https://www.rfc-editor.org/rfc/rfc7519

A token is read twice. First unverified, for the issuer and audience that it claims: they distinguish the gateway's own
tokens, which are removed from all headers, from one that is the client's credential for its provider. Then PyJWT
verifies it.
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
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from zope.interface import implementer

from ..caches import LRUCache
from ..errors import Unauthorized
from ..interfaces import Actor, IAuthenticator, IRevocable
from .credentials import PROVIDER_HEADERS, pop_gateway_credential, strip_scheme
from .jwks import ALGORITHMS, Fetch, Keyring, from_file, from_url
from .metadata import DEFAULT_ACTOR_CLAIM, DEFAULT_LEEWAY, from_claims

"""Seconds."""

_LONGEST = 8 * 1024
"""Bytes of a token."""
_VERIFIED_FOR = 60.0
_MOST_KEPT = 10_000
# More special errors come before their base classes. PyJWT's own messages may quote claims of the token.
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is from another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks one of the claims exp, iss and aud"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
    (jwt.InvalidAlgorithmError, "the token's algorithm is not accepted"),
    (jwt.InvalidKeyError, "the token's key id and algorithm fit no key of the issuer"),
    (jwt.PyJWTError, "the token is malformed"),
)


@frozen
class _Verified:
    """The actor of a verified token, and the time until which the token is not verified again."""

    actor: Actor
    until: float


@implementer(IAuthenticator, IRevocable)
class JWTAuthenticator:
    """Identifies actors by tokens of one issuer for one audience. The issuer's keys are at a URL or in a file.

    `actor_claim` is the claim that names the actor, `leeway` the seconds by which clocks may differ, and
    `metadata_claims` has the claim of each name of the actor's metadata, such as ``groups.0``. A verified token is
    accepted for a minute without being verified again, but never beyond its own end.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        reactor: Any,
        jwks_url: str | None = None,
        jwks_file: str | None = None,
        actor_claim: str = DEFAULT_ACTOR_CLAIM,
        leeway: float = DEFAULT_LEEWAY,
        metadata_claims: Mapping[str, str] | None = None,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._actor_claim = actor_claim
        self._leeway = leeway
        self._metadata_claims = metadata_claims or {}
        self._clock = reactor
        self._keyring = Keyring(_source(jwks_url, jwks_file, reactor), reactor)
        self._verified: LRUCache[bytes, _Verified] = LRUCache(_MOST_KEPT)

    def authenticate(self, request: IRequest) -> "Actor | Deferred[Actor | None] | None":
        """Return the actor that the token names, and remove the token from the request's headers.

        Raise Unauthorized, or fail with it, for a token that is missing or not valid.
        """
        token = pop_gateway_credential(request.requestHeaders, self._is_for_gateway)
        if token is None:
            reason = self._why_no_token(request.requestHeaders)
            raise Unauthorized(
                "Missing gateway token. Send it as bearer token, as x-api-key or in X-AIBridge-Key.", reason=reason
            )
        if len(token) > _LONGEST:
            raise _rejected(f"the token is longer than {_LONGEST} bytes")
        digest = sha256(token).digest()
        verified = self._verified.get(digest)
        if verified and self._clock.seconds() < verified.until:
            return verified.actor
        return Deferred.fromCoroutine(self._verify(token, digest))

    def check(self) -> "Deferred[str]":
        """Fire with a word on the issuer's keys. Fail with `Unavailable` if there are none to verify tokens with."""
        return Deferred.fromCoroutine(self._keyring.check())

    def _is_for_gateway(self, value: bytes) -> bool:
        """Return True if the value claims to be a token for the gateway. It may be a forgery."""
        claims = _unverified_claims(strip_scheme(value))
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        return claims.get("iss") == self._issuer and self._audience in named

    def _why_no_token(self, headers: Headers) -> str:
        """Return why none of the credentials that are left in the headers is a token for the gateway."""
        values = [value for name in PROVIDER_HEADERS for value in headers.getRawHeaders(name) or ()]
        issuers = [claims.get("iss") for value in values if (claims := _unverified_claims(strip_scheme(value)))]
        if self._issuer in issuers:
            return "the token is for another audience"
        return "the token is from another issuer" if issuers else "no token was sent"

    async def _verify(self, token: bytes, digest: bytes) -> Actor:
        try:
            claims = await self._verified_claims(token)
        except jwt.PyJWTError as error:
            raise _rejected(next(reason for kind, reason in _REASONS if isinstance(error, kind))) from error
        name = claims.get(self._actor_claim)
        if not isinstance(name, str) or not name.strip():
            raise _rejected(f"the token's claim {self._actor_claim} is missing or empty")
        left = int(claims["exp"]) + self._leeway - time.time()
        actor = Actor(name, from_claims(claims, self._metadata_claims))
        verified = _Verified(actor, self._clock.seconds() + min(_VERIFIED_FOR, left))
        self._verified.set(digest, verified)
        return verified.actor

    async def _verified_claims(self, token: bytes) -> dict[str, Any]:
        """Return the token's claims. Raise PyJWTError if it is wrong in any respect."""
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        key = await self._keyring.find(algorithm, header.get("kid"))
        if key is None:
            raise jwt.InvalidKeyError
        return jwt.decode(
            token,
            key.key,
            algorithms=key.algorithms,
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway,
            options={"require": ["exp", "iss", "aud"]},
        )


def _rejected(reason: str) -> Unauthorized:
    """Return the error for a token that is not accepted. The reason, for operators, holds nothing of the token."""
    return Unauthorized("Gateway token rejected. Get a new token and send it as bearer token.", reason=reason)


def _source(url: str | None, file: str | None, reactor: Any) -> Fetch:
    if url is not None and file is None:
        return from_url(url, reactor)
    if file is not None and url is None:
        return from_file(file, reactor)
    raise ValueError("give either jwks_url or jwks_file, for the issuer's keys")


def _unverified_claims(token: bytes) -> Mapping[str, Any]:
    """Return a token's claims as they stand in it; none if it is no token."""
    if token.count(b".") != 2:
        return {}
    payload = token.split(b".")[1]
    try:
        claims = orjson.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}

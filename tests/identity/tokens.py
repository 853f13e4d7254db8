"""An issuer of tokens, honest unless a test makes it otherwise."""

import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ISSUER = "https://id.example/"
AUDIENCE = "aibridge"

_KINDS = {
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "PS": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ES256K": lambda: ec.generate_private_key(ec.SECP256K1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "weak": lambda: rsa.generate_private_key(65537, 1024),
}


@cache
def private_key(kind: str, which: int = 0) -> Any:
    """A private key of that kind, the same one each time."""
    return _KINDS[kind]()


def kind_of(algorithm: str) -> str:
    """The kind of key that an algorithm is for."""
    return algorithm[:2] if algorithm[:2] in ("RS", "PS") else algorithm


def public_jwk(algorithm: str, kid: str | None = None, key: Any = None, **members: Any) -> dict[str, Any]:
    """The public half as an issuer publishes it."""
    private = key or private_key(kind_of(algorithm))
    told: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(private.public_key(), as_dict=True)
    told.pop("key_ops", None)
    return told | ({"kid": kid} if kid else {}) | members


def jwks(*entries: Any) -> bytes:
    """A document with these keys."""
    return json.dumps({"keys": entries}).encode()


def claims(**changed: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim away."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 600, "iat": now} | changed
    return {name: value for name, value in said.items() if value is not None}


def token(algorithm: str = "RS256", kid: str | None = None, key: Any = None, **changed: Any) -> str:
    """A signed token."""
    headers = {"kid": kid} if kid else None
    return jwt.encode(claims(**changed), key or private_key(kind_of(algorithm)), algorithm, headers)


def segment(value: Any) -> str:
    """A part of a token that PyJWT would not write."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")

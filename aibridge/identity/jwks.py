"""The keys of an issuer of tokens, and what each of them may be used for.

A JSON Web Key Set: https://www.rfc-editor.org/rfc/rfc7517. Which algorithm fits which key is said here, never by a
token: https://www.rfc-editor.org/rfc/rfc8725#section-3.1. There is no symmetric algorithm among them, and no ``none``.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import field, frozen
from jwt import PyJWK
from jwt.exceptions import PyJWTError

_ALGORITHMS = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")
_SHORTEST_RSA = 2048

ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""All that a token may be signed with."""


@frozen
class VerifyingKey:
    """A public key, and the algorithms whose signatures it can check."""

    kid: str | None
    algorithms: tuple[str, ...]
    key: Any = field(repr=False)


def read_keys(document: bytes) -> tuple[VerifyingKey, ...]:
    """The keys of a set that are good for checking signatures. ValueError where there is none."""
    told = orjson.loads(document)
    entries = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(entries, list):
        raise ValueError("is no JSON Web Key Set")
    keys = tuple(key for entry in entries if (key := _read_key(entry)))
    if not keys:
        raise ValueError("holds no key that the signature of a token can be checked with")
    return keys


def fitting(keys: Sequence[VerifyingKey], algorithm: str, kid: str | None) -> VerifyingKey | None:
    """The key that such a token must be signed with; without a name only one that can't be confused with another."""
    able = [key for key in keys if algorithm in key.algorithms]
    if kid is None:
        return able[0] if len(able) == 1 else None
    return next((key for key in able if key.kid == kid), None)


def _read_key(entry: Any) -> VerifyingKey | None:
    """None where it is for something else, or of a kind that is not known here: the others may still be good."""
    algorithms = _algorithms(entry) if isinstance(entry, dict) else ()
    if not algorithms:
        return None
    try:
        key = PyJWK({name: entry[name] for name in _PUBLIC if name in entry}, algorithms[0]).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if entry["kty"] == "RSA" and key.key_size < _SHORTEST_RSA:
        return None
    kid = entry.get("kid")
    return VerifyingKey(kid if isinstance(kid, str) else None, algorithms, key)


def _algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    """What its kind can do and its own entry allows."""
    kind, curve, operations = entry.get("kty"), entry.get("crv"), entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return ()
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return ()
    able = _ALGORITHMS.get((kind, curve), ())
    return tuple(name for name in able if entry.get("alg", name) == name)

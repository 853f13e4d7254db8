"""Passwords, stored as their scrypt: https://www.rfc-editor.org/rfc/rfc7914"""

import secrets
from base64 import b64decode, b64encode
from hashlib import scrypt
from hmac import compare_digest

SHORTEST = 10
"""Characters of a password."""

_COST = 2**15
_BLOCKS = 8
_MEMORY = 64 * 2**20
"""The function needs 32 MB with this cost, and about a tenth of a second."""


def hash_password(password: str) -> str:
    """Return the form in which a password is stored: the cost, the salt and the hash."""
    salt = secrets.token_bytes(16)
    return f"scrypt${_COST}${b64encode(salt).decode()}${b64encode(_scrypt(password, salt, _COST)).decode()}"


def verify_password(password: str, stored: str | None) -> bool:
    """Return True if that is the password of the stored form. Without one it takes as long, and is False."""
    if stored is None:
        _scrypt(password, bytes(16), _COST)
        return False
    _, cost, salt, hashed = stored.split("$")
    return compare_digest(_scrypt(password, b64decode(salt), int(cost)), b64decode(hashed))


def _scrypt(password: str, salt: bytes, cost: int) -> bytes:
    return scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=_BLOCKS, p=1, maxmem=_MEMORY)

"""Changes of keys by administrators over the API."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from ..insight.filters import InvalidParameter
from .problems import forbidden, not_found
from .roles import ADMIN, ROLES, Visitor

_MOST_DAYS = 36_500
_LONGEST_NAME = 512


async def create_key(api: Any, visitor: Visitor, subject: str, body: Mapping[str, object]) -> tuple[int, object]:
    """Make a key; the answer is the only one that has it."""
    require_admin(visitor)
    for name in body:
        if name not in ("actor", "metadata", "expires_days", "console_role"):
            raise InvalidParameter(name, f"Unknown member {name[:50]!r} of the body.", "unknown_parameter")
    actor, metadata, days, role = (body.get(name) for name in ("actor", "metadata", "expires_days", "console_role"))
    if not isinstance(actor, str) or not actor.strip() or not actor.isprintable() or len(actor) > _LONGEST_NAME:
        raise InvalidParameter("actor", "Member 'actor' must be the printable name of the key's owner.")
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise InvalidParameter("metadata", "Member 'metadata' must be an object of texts.")
    if days is not None and not (type(days) is int and 0 < days <= _MOST_DAYS):
        raise InvalidParameter("expires_days", f"Member 'expires_days' must be a number from 1 to {_MOST_DAYS}.")
    if role is not None and role not in ROLES:
        raise InvalidParameter("console_role", f"Member 'console_role' must be one of {', '.join(ROLES)}.")
    lifetime = timedelta(days=days) if isinstance(days, int) else None
    make = partial(api.access.keys.create, actor.strip(), metadata or {}, lifetime, role, visitor.entry)
    return 201, {"key": await api.queries.run(make)}


async def revoke_key(api: Any, visitor: Visitor, subject: str, body: Mapping[str, object]) -> tuple[int, object]:
    """Revoke a key. Every gateway process refuses it within five seconds."""
    require_admin(visitor)
    try:
        id_ = UUID(subject)
    except ValueError:
        raise not_found("There is no key of that id.") from None
    if not await api.queries.run(partial(api.access.keys.revoke, id_, visitor.entry)):
        raise not_found("There is no key of that id.")
    return 204, None


def require_admin(visitor: Visitor) -> None:
    """Raise the error of a visitor who is no administrator."""
    if not visitor.may(ADMIN):
        raise forbidden(ADMIN)


KEY_ACTIONS = {("POST", "keys"): create_key, ("DELETE", "keys/{id}"): revoke_key}
"""By method and path."""

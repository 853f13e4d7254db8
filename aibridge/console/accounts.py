"""Users of the console and their sessions, in the database. Every method blocks."""

import hmac
import secrets
from datetime import datetime, timedelta
from hashlib import sha256

from attrs import frozen
from sqlalchemy import func, select

from ..errors import AIBridgeError
from ..identity.key_store import KeyStore, digest
from ..identity.user_store import is_admitted
from ..record.audit import AuditEntry, add_entry
from ..record.console_tables import console_sessions, console_users
from ..record.database import single_transaction
from ..record.values import bounded
from .passwords import SHORTEST, hash_password, verify_password
from .roles import SELF

SESSION_LIFETIME = timedelta(hours=12)
LONGEST_PASSWORD = 1000
"""Characters; a longer one is no password, but work for the gateway."""


class AccountError(AIBridgeError):
    """A user can't be made or changed as asked."""


@frozen(kw_only=True)
class Account:
    """A user of the console."""

    name: str
    role: str
    created_at: datetime


@frozen(kw_only=True)
class Session:
    """The session of somebody who has signed in."""

    secret: str
    """The value of its cookie."""
    name: str
    role: str
    expires_at: datetime


def form_token(secret: str) -> str:
    """Return the token that a session's forms carry: who can't read the session's cookie can't know it."""
    return hmac.new(secret.encode(), b"form", sha256).hexdigest()


def is_form_token(secret: str, token: str) -> bool:
    """Return True if that is the token of the session's forms."""
    return hmac.compare_digest(form_token(secret).encode(), token.encode("utf-8", "replace"))


class Accounts:
    """The users and sessions in the database of that URL. RecordingError without the database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys = KeyStore(url)

    # Users

    def add(self, name: str, role: str, password: str, now: datetime) -> None:
        """Make a user. `AccountError` if there is one of that name, or the password is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST_PASSWORD:
            raise AccountError(f"The password must have {SHORTEST} to {LONGEST_PASSWORD} characters.")
        row = {"name": bounded(name), "role": role, "password": hash_password(password), "created_at": now}
        with single_transaction(self._url) as connection:
            if connection.execute(select(console_users).where(console_users.c.name == row["name"])).first():
                raise AccountError(f"User {name} exists already. Remove it first: aibridge console user remove {name}")
            connection.execute(console_users.insert().values(row))

    def remove(self, name: str) -> bool:
        """Remove a user and their sessions. Return False if there is none of that name."""
        with single_transaction(self._url) as connection:
            connection.execute(
                console_sessions.delete().where(
                    console_sessions.c.name == bounded(name), console_sessions.c.role.is_(None)
                )
            )
            gone = connection.execute(console_users.delete().where(console_users.c.name == bounded(name)))
            return gone.rowcount > 0

    def all(self) -> list[Account]:
        """Return all users by their names."""
        columns = (console_users.c.name, console_users.c.role, console_users.c.created_at)
        with single_transaction(self._url) as connection:
            rows = connection.execute(select(*columns).order_by(console_users.c.name))
            return [Account(**row) for row in rows.mappings()]

    # Sessions

    def sign_in(self, name: str, password: str, now: datetime) -> Session | None:
        """Return a new session of the user; None if the name or the password is wrong."""
        with single_transaction(self._url) as connection:
            user = connection.execute(select(console_users).where(console_users.c.name == bounded(name))).first()
        right = verify_password(password[: LONGEST_PASSWORD + 1], user.password if user else None)
        return self._begin(user.name, user.role, None, now) if user and right else None

    def sign_in_with_key(self, key: str, now: datetime) -> Session | None:
        """Return a new session of the actor of a gateway key, who sees what is their own; None if it is not valid."""
        found = self._keys.find([digest(key.encode("utf-8", "replace"))])
        for stored in found.values():
            if stored.console_role is not None or stored.ended(now) is not None:
                continue
            with single_transaction(self._url) as connection:
                admitted = is_admitted(connection, stored.actor, now)
            return self._begin(stored.actor, SELF, SELF, now) if admitted else None
        return None

    def find(self, secret: str, now: datetime) -> Session | None:
        """Return the session of that secret, if it has not ended.

        A session that a gateway key has begun ends when its user is disabled, or has no valid key any more.
        """
        s, role = console_sessions.c, func.coalesce(console_sessions.c.role, console_users.c.role).label("role")
        joined = console_sessions.outerjoin(console_users, s.name == console_users.c.name)
        query = select(s.name, s.expires_at, role).select_from(joined)
        with single_transaction(self._url) as connection:
            row = connection.execute(query.where(s.hash == _hash(secret), s.expires_at > now)).first()
            if row is None or row.role is None:
                return None
            if row.role == SELF and not is_admitted(connection, row.name, now):
                return None
        return Session(secret=secret, name=row.name, role=row.role, expires_at=row.expires_at)

    def sign_out(self, secret: str) -> None:
        """End the session of that secret."""
        with single_transaction(self._url) as connection:
            connection.execute(console_sessions.delete().where(console_sessions.c.hash == _hash(secret)))

    def _begin(self, name: str, role: str, own_role: str | None, now: datetime) -> Session:
        """Begin a session, and remove those that have ended."""
        secret = secrets.token_urlsafe(32)
        ends = now + SESSION_LIFETIME
        row = {"hash": _hash(secret), "name": name, "role": own_role, "created_at": now, "expires_at": ends}
        with single_transaction(self._url) as connection:
            connection.execute(console_sessions.delete().where(console_sessions.c.expires_at <= now))
            connection.execute(console_sessions.insert().values(row))
        return Session(secret=secret, name=name, role=role, expires_at=ends)

    # The audit

    def record(self, entry: AuditEntry) -> None:
        """Add an entry to the audit."""
        with single_transaction(self._url) as connection:
            add_entry(connection, entry)


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "replace")).hexdigest()

"""The users in the gateway's database: who they are, and which of them are disabled."""

from collections import Counter
from datetime import datetime

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, or_, select

from ..record.audit import add_entry, operator_entry
from ..record.database import single_reader, single_transaction
from ..record.erasure import hidden_name
from ..record.leases import has_running_process
from ..record.schema import interceptions, keys, users
from ..record.values import bounded, utc_now

REFUSED_WITHIN = 6.0
"""Seconds within which every gateway refuses a disabled user: five, and one for a request that has just passed."""


@frozen
class User:
    """A user that the database knows: by keys, by interceptions, or as disabled."""

    actor: str
    keys: int
    """The number of valid keys."""
    last_request_at: datetime | None
    disabled_at: datetime | None


class UserStore:
    """The users in the database of that URL. Every method blocks, and raises RecordingError without the database."""

    def __init__(self, url: str) -> None:
        self._url = url

    def all(self) -> list[User]:
        """Return all users, by name."""
        with single_reader(self._url) as connection:
            valid = _valid_keys(connection)
            disabled = dict(connection.execute(select(users.c.actor, users.c.disabled_at)).tuples().all())
            requests = _last_requests(connection)
        names = sorted({*valid, *disabled, *requests})
        return [User(name, valid.get(name, 0), requests.get(name), disabled.get(name)) for name in names]

    def has_seen(self, actor: str) -> bool:
        """Return True if the database knows the user: by a key, by an interception, or as disabled."""
        known = [
            select(keys.c.id).where(keys.c.actor == actor),
            select(interceptions.c.id).where(interceptions.c.initiator_id == bounded(actor)),
            select(users.c.actor).where(_is(actor)),
        ]
        with single_reader(self._url) as connection:
            return any(connection.scalar(query.limit(1)) is not None for query in known)

    def disabled(self) -> frozenset[str]:
        """Return the names of the disabled users, as `bounded` or `hidden_name` has them."""
        query = select(users.c.actor).where(users.c.disabled_at.is_not(None))
        with single_reader(self._url) as connection:
            return frozenset(connection.scalars(query))

    def accepted_for(self, actor: str) -> float:
        """Return the seconds for which a running gateway may still accept requests of a disabled user."""
        query = select(users.c.disabled_at).where(_is(actor))
        with single_reader(self._url) as connection:
            if not has_running_process(connection):
                return 0.0
            disabled_at = connection.scalar(query)
        passed = (utc_now() - disabled_at).total_seconds() if disabled_at else 0.0
        return max(0.0, REFUSED_WITHIN - passed)

    def disable(self, actor: str) -> bool:
        """Disable a user, who need not be known yet. Return False if the user is disabled already."""
        with single_transaction(self._url) as connection:
            if connection.scalar(select(users.c.actor).where(_is(actor))):
                return False
            connection.execute(insert(users).values(actor=bounded(actor), disabled_at=utc_now()))
            add_entry(connection, operator_entry("disable user", actor))
            return True

    def enable(self, actor: str) -> bool:
        """Enable a user again. Return False if the user is not disabled."""
        with single_transaction(self._url) as connection:
            was_disabled = connection.execute(delete(users).where(_is(actor))).rowcount > 0
            if was_disabled:
                add_entry(connection, operator_entry("enable user", actor))
            return was_disabled


def is_admitted(connection: Connection, actor: str, now: datetime) -> bool:
    """Return True if a user has a valid key of the gateway's own, and is not disabled."""
    own = (keys.c.actor == actor) & keys.c.console_role.is_(None) & _is_valid(now)
    is_disabled = exists().where(_is(actor), users.c.disabled_at.is_not(None))
    return connection.scalar(select(keys.c.id).where(own, ~is_disabled).limit(1)) is not None


def _is(actor: str) -> ColumnElement[bool]:
    """The condition for a row of the table of users to be about this one, who may be forgotten."""
    return users.c.actor.in_([bounded(actor), hidden_name(actor)])


def _is_valid(now: datetime) -> ColumnElement[bool]:
    """The condition for a key to be neither revoked nor expired by that time."""
    return keys.c.revoked_at.is_(None) & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)


def _valid_keys(connection: Connection) -> Counter[str]:
    """Return the number of valid keys of each user who ever had one."""
    counts = Counter[str]()
    for name, valid in connection.execute(select(keys.c.actor, _is_valid(utc_now()))):
        counts[bounded(name)] += bool(valid)
    return counts


def _last_requests(connection: Connection) -> dict[str, datetime]:
    """Return the time of each user's last request.

    Two looks into an index for each user: a query for distinct users would read all interceptions.
    """
    found: dict[str, datetime] = {}
    column, name = interceptions.c.initiator_id, ""
    while (following := connection.scalar(select(func.min(column)).where(column > name))) is not None:
        name = following
        found[name] = connection.scalar(select(func.max(interceptions.c.started_at)).where(column == name))
    return found

"""The gateway's own keys in its database, and a cache before it.

A key is ``aib_`` and 43 characters of base64url, which are 32 random bytes. Only its SHA-256 is stored: a plain hash is
enough for a secret that nobody can guess.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from itertools import islice
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import Engine, Insert, Select, Update, insert, select, update
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..caches import LRUCache
from ..errors import Unavailable
from ..record.audit import AuditEntry, EntryMaker, add_entry
from ..record.database import open_reader, plain_errors, single_transaction
from ..record.schema import keys
from ..record.values import new_id, utc_now
from .credentials import hint

Find = Callable[[Sequence[str]], "Deferred[Mapping[str, StoredKey]]"]
"""A query of the database for the keys with these hashes; the result is by hash."""

GRACE = 4 * 3600.0
"""Seconds for which a valid key stays so while the database is away."""

_FORM = re.compile(rb"aib_[A-Za-z0-9_-]{43}")
_RANDOM_BYTES = 32
# Seconds. A change of a key takes effect within five: until it is seen, at most _STALE and the time of a query pass.
_FRESH = 2.0
_STALE = 4.0
_QUERY_TIMEOUT = 3.0
_AWAY_FOR = 5.0
_MOST_KEPT = 10_000
_MOST_AT_ONCE = 500
_NEVER = float("-inf")
_log = Logger()


def is_key(text: bytes) -> bool:
    """Return True if the text has the form of a key."""
    return _FORM.fullmatch(text) is not None


def digest(key: bytes) -> str:
    """Return the hash of a key, by which it is stored and found."""
    return sha256(key).hexdigest()


@frozen(kw_only=True)
class StoredKey:
    """A key as it is stored."""

    id: UUID
    hash: str
    hint: str
    actor: str
    metadata: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    console_role: str | None = None
    """The role that the key gives in the console; None for a key of the gateway itself."""

    def ended(self, now: datetime) -> str | None:
        """Return the end that the key has found by that time, ``revoked`` or ``expired``; None if it is valid."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else None


@frozen
class _Found:
    """The result of a query for a hash."""

    key: StoredKey | None
    queried_at: float


class KeyCache:
    """Finds keys by their hash, and remembers the results for a few seconds.

    A result in use is queried again before it is too old, so that requests don't wait for it. A single query runs at a
    time, for all hashes that were requested since the one before began.
    """

    def __init__(self, find: Find, clock: IReactorTime, grace: float = GRACE) -> None:
        self._find = find
        self._clock = clock
        self._grace = grace
        # Apart, so that made-up keys can't evict the existing ones.
        self._known: LRUCache[str, _Found] = LRUCache(_MOST_KEPT)
        self._unknown: LRUCache[str, _Found] = LRUCache(_MOST_KEPT)
        self._waiting: dict[str, set[Deferred[StoredKey | None]]] = {}
        self._queried: dict[str, set[Deferred[StoredKey | None]]] = {}
        """The hashes of the query that runs, each with those who wait for it."""
        self._failed_at = _NEVER

    def find(self, digest: str) -> "StoredKey | Deferred[StoredKey | None] | None":
        """Return the key with that hash, None if there is none. The Deferred fails with `Unavailable`."""
        found = self._known.get(digest) or self._unknown.get(digest)
        if found is None:
            return self._query(digest)
        age = self._clock.seconds() - found.queried_at
        if age < _FRESH:
            return found.key
        if age < _STALE or (self._is_away and self._in_grace(found)):
            if digest not in self._queried and digest not in self._waiting:
                self._query(digest).addErrback(lambda failure: failure.trap(Unavailable))
            return found.key

        def use_old(failure: Failure) -> StoredKey | None:
            failure.trap(Unavailable)
            if not self._in_grace(found):
                failure.raiseException()
            return found.key

        return self._query(digest).addErrback(use_old)

    def check(self) -> "Deferred[str]":
        """Fire with a word on the database. Fail with `Unavailable` if it is away and no known key is in its grace."""

        def away(failure: Failure) -> str:
            failure.trap(Unavailable)
            if not any(self._in_grace(found) for found in self._known.values()):
                failure.raiseException()
            return "the keys' database is away: keys that were valid lately stay so"

        # No key has this hash, so that the database is queried, every few seconds at most; at once if it was away.
        found = maybeDeferred(self._query if self._is_away else self.find, "")
        return found.addCallback(lambda _: "the keys' database can be read").addErrback(away)

    @property
    def _is_away(self) -> bool:
        """True if the last query, a moment ago, failed."""
        return self._clock.seconds() - self._failed_at < _AWAY_FOR

    def _in_grace(self, found: _Found) -> bool:
        return found.key is not None and self._clock.seconds() - found.queried_at < self._grace

    def _query(self, digest: str) -> "Deferred[StoredKey | None]":
        """Return the result of the query that runs for that hash, or else of the next one."""
        if len(self._waiting) >= _MOST_KEPT:
            return fail(Unavailable("The gateway has too many keys to look up. Try again in a moment."))
        batch = self._queried if digest in self._queried else self._waiting
        waiters = batch.setdefault(digest, set())
        waiter: Deferred[StoredKey | None] = Deferred(waiters.discard)
        waiters.add(waiter)
        waiter.addTimeout(_QUERY_TIMEOUT, self._clock).addErrback(self._failed)
        self._run_query()
        return waiter

    def _run_query(self) -> None:
        """Query the database for the hashes that wait, unless a query runs already."""
        if self._queried or not self._waiting:
            return
        self._queried = dict(islice(self._waiting.items(), _MOST_AT_ONCE))
        for digest in self._queried:
            del self._waiting[digest]
        now = self._clock.seconds()
        self._find([*self._queried]).addCallback(self._keep, now).addBoth(self._query_ended)

    def _keep(self, found: Mapping[str, StoredKey], queried_at: float) -> Mapping[str, StoredKey]:
        for digest in self._queried:
            cache, other = (self._known, self._unknown) if digest in found else (self._unknown, self._known)
            cache.set(digest, _Found(found.get(digest), queried_at))
            other.pop(digest)
        self._failed_at = _NEVER
        return found

    def _query_ended(self, result: Mapping[str, StoredKey] | Failure) -> None:
        queried, self._queried = self._queried, {}
        for digest, waiters in queried.items():
            for waiter in waiters:
                waiter.callback(result if isinstance(result, Failure) else result.get(digest))
        self._run_query()

    def _failed(self, failure: Failure) -> None:
        if not self._is_away:
            why = str(failure.value) or type(failure.value).__name__
            _log.error("keys can't be looked up in the database: {why}", why=why)
        self._failed_at = self._clock.seconds()
        raise Unavailable("The gateway can't look up keys now. Try again in a moment.") from failure.value


class KeyStore:
    """The keys in the database of that URL. Every method blocks, and raises RecordingError without the database."""

    def __init__(self, url: str) -> None:
        self._url = url

    def create(
        self,
        actor: str,
        metadata: Mapping[str, str],
        lifetime: timedelta | None = None,
        console_role: str | None = None,
        entry: EntryMaker | None = None,
    ) -> str:
        """Make a key and return it; it can't be shown again.

        :param entry: makes the entry of the audit, which is stored together with the key.
        """
        key = "aib_" + secrets.token_urlsafe(_RANDOM_BYTES)
        now, id_ = utc_now(), new_id()
        expires_at = now + lifetime if lifetime else None
        row = {
            "id": id_,
            "hash": digest(key.encode()),
            "hint": hint(key.encode()),
            "actor": actor,
            "metadata": dict(metadata),
            "created_at": now,
            "expires_at": expires_at,
            "console_role": console_role,
        }
        expires = expires_at.isoformat(timespec="seconds") if expires_at else None
        facts = {"key": str(id_), "expires_at": expires, "console_role": console_role}
        self._write(insert(keys).values(row), entry("create key", actor, **facts) if entry else None)
        return key

    def revoke(self, key_id: UUID, entry: EntryMaker | None = None) -> bool:
        """Revoke a key, if it is not revoked already. Return False if there is none of that id.

        :param entry: as for `create`.
        """
        ended = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=utc_now())
        count = self._write(ended, entry("revoke key", str(key_id)) if entry else None)
        return count > 0 or bool(self._read(select(keys).where(keys.c.id == key_id)))

    def all(self) -> list[StoredKey]:
        """Return every key that was ever made, the oldest first."""
        return self._read(select(keys).order_by(keys.c.created_at, keys.c.id))

    def find(self, hashes: Sequence[str]) -> dict[str, StoredKey]:
        """Return the keys with these hashes, by hash; those that don't exist are left out."""
        return {key.hash: key for key in self._read(select(keys).where(keys.c.hash.in_(hashes)))}

    @cached_property
    def _reader(self) -> Engine:
        return open_reader(self._url)

    def _read(self, query: Select[Any]) -> list[StoredKey]:
        with plain_errors(self._url), self._reader.connect() as connection:
            return [StoredKey(**row) for row in connection.execute(query).mappings()]

    def _write(self, statement: Insert | Update, entry: AuditEntry | None) -> int:
        """Run a statement and return the number of rows that it concerned; if there are any, add the entry."""
        with single_transaction(self._url) as connection:
            count = connection.execute(statement).rowcount
            if count and entry is not None:
                add_entry(connection, entry)
            return count

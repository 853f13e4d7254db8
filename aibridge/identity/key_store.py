"""The gateway's own keys, in its database: ``aib_`` and 43 characters of base64url, which are 32 random bytes.

Only a SHA-256 is kept. A plain hash is enough for a secret that nobody can guess: there is nothing to search through.
Everything here blocks.
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
from sqlalchemy import Engine, insert, select, update
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..caches import LRUCache
from ..errors import Unavailable
from ..record.database import open_engine, open_reader, plain_errors
from ..record.ledger import utc_now
from ..record.schema import keys
from ..record.values import new_id
from .credentials import hint

Find = Callable[[Sequence[str]], "Deferred[Mapping[str, StoredKey]]"]
"""Asks the database for the keys with these hashes."""

_Answers = set["Deferred[StoredKey | None]"]

GRACE = 4 * 3600.0

_FRESH = 2.0
_STALE = 4.0
_PATIENCE = 3.0
_AWAY_FOR = 5.0
_MOST_KEPT = 10_000
_MOST_AT_ONCE = 500
_log = Logger()


_FORM = re.compile(rb"aib_[A-Za-z0-9_-]{43}")
_RANDOM_BYTES = 32


def is_key(text: bytes) -> bool:
    """Whether it has the form of a key."""
    return _FORM.fullmatch(text) is not None


def digest(key: bytes) -> str:
    """What is kept of a key."""
    return sha256(key).hexdigest()


@frozen(kw_only=True)
class StoredKey:
    """A key as it is kept."""

    id: UUID
    hash: str
    hint: str
    actor: str
    metadata: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def opens_at(self, moment: datetime) -> bool:
        """Whether it is good for anything at that time."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


@frozen
class _Found:
    """A key, or that there was none, when the database was asked."""

    key: StoredKey | None
    asked_at: float


class KeyCache:
    """Finds keys by their hash. One query runs at a time, for all that were asked for since the one before."""

    def __init__(self, find: Find, clock: IReactorTime, grace: float = GRACE) -> None:
        self._find = find
        self._clock = clock
        self._grace = grace
        # Apart, so that nobody can drive out the true keys by making up others.
        self._known: LRUCache[str, _Found] = LRUCache(_MOST_KEPT)
        self._unknown: LRUCache[str, _Found] = LRUCache(_MOST_KEPT)
        self._waiting: dict[str, _Answers] = {}
        self._asked: dict[str, _Answers] = {}
        self._failed_at = float("-inf")

    def find(self, digest: str) -> "StoredKey | Deferred[StoredKey | None] | None":
        """The key with that hash, None where there is none. The Deferred fails with `Unavailable`."""
        found = self._known.get(digest) or self._unknown.get(digest)
        if found is None:
            return self._ask(digest)
        age = self._clock.seconds() - found.asked_at
        if age < _FRESH:
            return found.key
        if age < _STALE or (self._is_away and self._may_go_on(found)):
            self._ask_meanwhile(digest)
            return found.key
        return self._ask(digest).addErrback(self._go_on, found)

    @property
    def _is_away(self) -> bool:
        return self._clock.seconds() - self._failed_at < _AWAY_FOR

    def _may_go_on(self, found: _Found) -> bool:
        return found.key is not None and self._clock.seconds() - found.asked_at < self._grace

    def _go_on(self, failure: Failure, found: _Found) -> StoredKey | None:
        failure.trap(Unavailable)
        return found.key if self._may_go_on(found) else failure  # type: ignore[return-value]

    def _ask_meanwhile(self, digest: str) -> None:
        if digest not in self._asked and digest not in self._waiting:
            self._ask(digest).addErrback(lambda failure: failure.trap(Unavailable))

    def _ask(self, digest: str) -> "Deferred[StoredKey | None]":
        if len(self._waiting) >= _MOST_KEPT:
            return fail(Unavailable("The gateway has too many keys to look up."))
        asked = self._asked if digest in self._asked else self._waiting
        answers = asked.setdefault(digest, set())
        answer: Deferred[StoredKey | None] = Deferred(answers.discard)
        answers.add(answer)
        answer.addTimeout(_PATIENCE, self._clock).addErrback(self._failed)
        self._ask_next()
        return answer

    def _ask_next(self) -> None:
        if self._asked or not self._waiting:
            return
        self._asked = dict(islice(self._waiting.items(), _MOST_AT_ONCE))
        for digest in self._asked:
            del self._waiting[digest]
        now = self._clock.seconds()
        self._find([*self._asked]).addCallback(self._keep, now).addBoth(self._tell)

    def _keep(self, found: Mapping[str, StoredKey], asked_at: float) -> Mapping[str, StoredKey]:
        for digest in self._asked:
            known, other = (self._known, self._unknown) if digest in found else (self._unknown, self._known)
            known.set(digest, _Found(found.get(digest), asked_at))
            other.pop(digest)
        self._failed_at = float("-inf")
        return found

    def _tell(self, outcome: Mapping[str, StoredKey] | Failure) -> None:
        asked, self._asked = self._asked, {}
        for digest, answers in asked.items():
            for answer in answers:
                answer.callback(outcome if isinstance(outcome, Failure) else outcome.get(digest))
        self._ask_next()

    def _failed(self, failure: Failure) -> None:
        if not self._is_away:
            _log.error("keys can't be looked up: {why}", why=str(failure.value) or type(failure.value).__name__)
        self._failed_at = self._clock.seconds()
        raise Unavailable("The gateway can't look up its keys now.") from failure.value


class KeyStore:
    """The keys in the database of that URL. RecordingError where it can't be reached."""

    def __init__(self, url: str) -> None:
        self._url = url

    def create(self, actor: str, metadata: Mapping[str, str], lifetime: timedelta | None = None) -> str:
        """A new key: the only time that it is seen."""
        key = "aib_" + secrets.token_urlsafe(_RANDOM_BYTES)
        now = utc_now()
        row = {
            "id": new_id(),
            "hash": digest(key.encode()),
            "hint": hint(key.encode()),
            "actor": actor,
            "metadata": dict(metadata),
            "created_at": now,
            "expires_at": now + lifetime if lifetime else None,
        }
        self._write(insert(keys).values(row))
        return key

    def revoke(self, key_id: UUID) -> bool:
        """Ends that key, if it has not ended already. Whether there is one of that id."""
        ended = update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=utc_now())
        return self._write(ended) > 0 or bool(self._read(select(keys).where(keys.c.id == key_id)))

    def all(self) -> list[StoredKey]:
        """Every key there ever was, the oldest first."""
        return self._read(select(keys).order_by(keys.c.created_at, keys.c.id))

    def find(self, hashes: Sequence[str]) -> dict[str, StoredKey]:
        """The keys with these hashes, as far as there are any."""
        return {key.hash: key for key in self._read(select(keys).where(keys.c.hash.in_(hashes)))}

    @cached_property
    def _reader(self) -> Engine:
        return open_reader(self._url)

    def _read(self, query: Any) -> list[StoredKey]:
        with plain_errors(self._url), self._reader.connect() as connection:
            return [StoredKey(**row) for row in connection.execute(query).mappings()]

    def _write(self, statement: Any) -> int:
        """How many rows it was for."""
        with plain_errors(self._url):
            engine = open_engine(self._url)
            try:
                with engine.begin() as connection:
                    return connection.execute(statement).rowcount
            finally:
                engine.dispose()

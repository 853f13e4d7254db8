"""The gateway's own keys, in its database: ``aib_`` and 43 characters of base64url, which are 32 random bytes.

Only a SHA-256 is kept. A plain hash is enough for a secret that nobody can guess: there is nothing to search through.
Everything here blocks.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import Engine, insert, select, update

from ..providers.credentials import hint
from ..record.database import open_engine, open_reader, plain_errors
from ..record.ids import new_id
from ..record.ledger import utc_now
from ..record.schema import keys

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

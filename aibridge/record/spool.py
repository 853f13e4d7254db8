"""Where rows wait on local disk while the database is away.

A spool is a SQLite file of one process: its records in the order in which they came, each as JSON under the
names of `aibridge.record.records`, so that it is the same for every database, and a later version can read it.
What is committed there survives a crash and a loss of power.

Rows leave it in that order, many at a time: read, committed to the database, removed. A crash in between
repeats the last step with the same ids, which changes nothing; and nothing newer of those ids can be in the
database by then, for as long as a process has rows in its spool, all its new ones go there too.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
from twisted.logger import Logger

from ..errors import RecordingError
from .database import describe
from .records import RECORD_TYPES, Record
from .statements import Encoder, Entry, Refusals
from .store import Store
from .values import storable_json

SUFFIX = ".spool"

_TYPES = {record_type.storage.spool_kind: record_type for record_type in RECORD_TYPES}
_READERS: dict[Any, Callable[[Any], Any]] = {UUID: UUID, datetime: datetime.fromisoformat}

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (kind TEXT NOT NULL, record TEXT NOT NULL, why TEXT NOT NULL);
"""

STEP_ROWS = 500
_STEP_BYTES = 4 * 2**20

_log = Logger()

_Spooled = tuple[int, str, str]
"""Place, kind and JSON of a record."""


class SpoolFailed(RecordingError):
    """The local disk didn't take rows, or didn't give them back."""


class Spool:
    """One connection to a spool; a thread has its own. The file is made with the first row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added = 0
        """Rows that came in through this connection."""
        self.removed = 0
        """Rows that this connection took out."""
        self._connection: sqlite3.Connection | None = None

    def append(self, entries: Sequence[Entry]) -> Refusals:
        """Make the entries durable, all but those that JSON can't say. `SpoolFailed`: none of them is."""
        rows, refused = _encode_all(entries)
        with self._transaction() as connection:
            connection.executemany("INSERT INTO rows (kind, record) VALUES (?, ?)", rows)
        self.added += len(rows)
        return refused

    def first(self) -> list[_Spooled]:
        """The oldest rows, as many as are moved in one step."""
        found: list[_Spooled] = []
        size = 0
        if not self.path.exists():
            return found
        with self._opened() as connection:
            for row in connection.execute("SELECT seq, kind, record FROM rows ORDER BY seq LIMIT ?", (STEP_ROWS,)):
                found.append(row)
                size += len(row[2])
                if size > _STEP_BYTES:
                    break
        return found

    def remove(self, rows: Sequence[_Spooled], refused: dict[int, str]) -> None:
        """The rows are in the database, but for some that it won't ever take: those are kept apart, with the reason."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO refused (kind, record, why) SELECT kind, record, ? FROM rows WHERE seq = ?",
                [(why, seq) for seq, why in refused.items()],
            )
            connection.executemany("DELETE FROM rows WHERE seq = ?", [(seq,) for seq, *_ in rows])
        self.removed += len(rows)

    def retry_refused(self) -> None:
        """Put those that were kept apart in the row again."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO rows (kind, record) SELECT kind, record FROM refused")
            connection.execute("DELETE FROM refused")

    def count(self) -> tuple[int, int]:
        """How many rows wait, and how many the database has refused."""
        if not self.path.exists():
            return 0, 0
        with self._opened() as connection:
            query = "SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM refused)"
            waiting, refused = connection.execute(query).fetchone()
        return waiting, refused

    def used_bytes(self) -> int:
        """The room that all spools of the folder take on disk, less what is free again in this one."""
        free = 0
        with self._plain_errors():
            if self._connection is not None:
                free = _pragma(self._connection, "freelist_count") * _pragma(self._connection, "page_size")
            return _spools_bytes(self.path.parent) - free

    def shrink(self) -> None:
        """Give the room of removed rows back."""
        if self._connection is not None:
            with self._opened() as connection:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discard(self) -> None:
        """Remove the file, which nobody else may have open."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """What SQLite or the disk can't do becomes a `SpoolFailed` that names the file, and never the row."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            why = describe(error)
        else:
            return
        raise SpoolFailed(f"spool {self.path}: {why}")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._plain_errors():
            yield self._connection or self._connect()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk makes SQLite roll back by itself
                    connection.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=10.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_TABLES)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection


def move(spool: Spool, store: Store, encoder: Encoder) -> int:
    """One step: the oldest rows into the database. How many; 0 when the spool is empty.

    `DatabaseAway` where the database doesn't take them; then they are still in the spool.
    """
    rows = spool.first()
    if not rows:
        return 0
    refused: dict[int, str] = {}
    entries = {}
    for seq, kind, text in rows:
        try:
            entries[encoder(decode(kind, text))] = seq
        except Exception as error:  # of a later version, or of a host that records what has no form here
            refused[seq] = describe(error)
    refused |= {entries[entry]: str(error) for entry, error in store.commit(list(entries)).items()}
    for why in refused.values():
        _log.error("a row stays in {path}, the database does not take it: {why}", path=str(spool.path), why=why)
    spool.remove(rows, refused)
    return len(rows)


def encode(record: Record) -> str:
    """A record as JSON."""
    values = attrs.asdict(record, recurse=False)
    return storable_json({name: _plain(value) for name, value in values.items()})


def decode(kind: str, text: str) -> Record:
    """The record that `encode` was given. A field that is not there has its default."""
    record, values = _TYPES[kind], json.loads(text)
    fields = [field for field in attrs.fields(record) if field.name in values]
    return record(**{field.name: _READERS.get(field.type, _same)(values[field.name]) for field in fields})


def _encode_all(entries: Sequence[Entry]) -> tuple[list[tuple[str, str]], Refusals]:
    rows: list[tuple[str, str]] = []
    refused: Refusals = {}
    for entry in entries:
        try:
            rows.append((entry.record.storage.spool_kind, encode(entry.record)))
        except Exception as error:  # whatever a host's values do
            refused[entry] = entry.error(describe(error))
    return rows, refused


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _same(value: Any) -> Any:
    return value


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _spools_bytes(folder: Path) -> int:
    size = 0
    for file in folder.glob(f"*{SUFFIX}*"):
        with suppress(FileNotFoundError):  # another process's, gone meanwhile
            size += file.stat().st_size
    return size

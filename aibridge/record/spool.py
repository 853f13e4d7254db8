"""The spool: rows on local disk that wait for a database that is away.

A spool is a SQLite file of one process: its records in the order in which they came, each as JSON under the
names of `aibridge.record.records`, so that it is the same for every database, and a later version can read it.
What is committed there survives a crash and a loss of power.

Rows leave it in that order, many at a time: read, committed to the database, removed. A crash in between
repeats the last step with the same ids, which changes nothing. Nothing newer of those ids can be in the
database by then, because a process that has rows in its spool sends all new ones there too.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
from twisted.logger import Logger

from ..errors import RecordingError
from .database import describe, make_private_file
from .records import RECORD_TYPES, Record
from .rollup_changes import mark_interceptions
from .statements import Encoder, Entry, Refusals
from .store import Store
from .values import storable_json

SUFFIX = ".spool"

STEP_ROWS = 500
_STEP_BYTES = 4 * 2**20
"""The largest step: so many rows, or so many characters and one row."""

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (kind TEXT NOT NULL, record TEXT NOT NULL, why TEXT NOT NULL);
"""

_TYPES = {record_type.storage.spool_kind: record_type for record_type in RECORD_TYPES}
_PARSERS: dict[object, Callable[[str], object]] = {UUID: UUID, datetime: datetime.fromisoformat}

_TRIAL_BYTES = 64 * 1024
"""Bytes with which a disk is tried that was full: more than most rows have."""

_log = Logger()

_SpooledRow = tuple[int, str, str]
"""The place, the kind and the JSON of a record."""


class SpoolFailed(RecordingError):
    """The local disk didn't take rows, or didn't give them back."""


class Spool:
    """A connection to a spool; each thread has its own. The file is made with the first row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added = 0
        """Rows that were added through this connection."""
        self.removed = 0
        """Rows that were removed through this connection."""
        self._connection: sqlite3.Connection | None = None

    def append(self, entries: Sequence[Entry]) -> Refusals:
        """Make the entries durable, except those that JSON has no form for. After a `SpoolFailed` none of them is."""
        rows: list[tuple[str, str]] = []
        refused: Refusals = {}
        for entry in entries:
            try:
                rows.append((entry.record.storage.spool_kind, encode(entry.record)))
            except Exception as error:  # a host's values may raise anything
                refused[entry] = entry.error(describe(error))
        with self._transaction() as connection:
            connection.executemany("INSERT INTO rows (kind, record) VALUES (?, ?)", rows)
        self.added += len(rows)
        return refused

    def try_to_write(self) -> None:
        """Write something, and take it away again. `SpoolFailed` if the disk does not take it."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO rows (kind, record) VALUES ('', ?)", ("-" * _TRIAL_BYTES,))
            connection.execute("DELETE FROM rows WHERE kind = ''")

    def read_batch(self) -> list[_SpooledRow]:
        """Return the oldest rows, as many as are moved in one step."""
        batch: list[_SpooledRow] = []
        size = 0
        if not self.path.exists():
            return batch
        with self._open() as connection:
            for row in connection.execute("SELECT seq, kind, record FROM rows ORDER BY seq LIMIT ?", (STEP_ROWS,)):
                batch.append(row)
                size += len(row[2])
                if size > _STEP_BYTES:
                    break
        return batch

    def remove(self, rows: Sequence[_SpooledRow], refused: dict[int, str]) -> None:
        """Remove rows that are in the database. Those that it refused for good are kept apart, each with the reason."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO refused (kind, record, why) SELECT kind, record, ? FROM rows WHERE seq = ?",
                [(why, seq) for seq, why in refused.items()],
            )
            connection.executemany("DELETE FROM rows WHERE seq = ?", [(seq,) for seq, *_ in rows])
        self.removed += len(rows)

    def retry_refused(self) -> None:
        """Put the rows that were kept apart back in the queue."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO rows (kind, record) SELECT kind, record FROM refused")
            connection.execute("DELETE FROM refused")

    def erase_refused(self, is_due: Callable[[Mapping[str, object]], bool]) -> int:
        """Remove the rows kept apart whose fields `is_due` returns True for, and return how many there were."""
        with self._open() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            kept_apart = connection.execute("SELECT rowid, record FROM refused").fetchall()
        due = [(rowid,) for rowid, record in kept_apart if is_due(json.loads(record))]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM refused WHERE rowid = ?", due)
        self.shrink()
        return len(due)

    def count(self) -> tuple[int, int]:
        """Return the number of rows that wait, and of those that the database has refused."""
        if not self.path.exists():
            return 0, 0
        with self._open() as connection:
            query = "SELECT (SELECT count(*) FROM rows), (SELECT count(*) FROM refused)"
            waiting, refused = connection.execute(query).fetchone()
        return waiting, refused

    def used_bytes(self) -> int:
        """Return the room that all spools of the folder take on disk, less what is free again in this one."""
        used = 0
        with self._translate_errors():
            for file in self.path.parent.glob(f"*{SUFFIX}*"):
                with suppress(FileNotFoundError):  # another process has just removed its spool
                    used += file.stat().st_size
            if self._connection is not None:
                (free_pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
                (page_size,) = self._connection.execute("PRAGMA page_size").fetchone()
                used -= free_pages * page_size
        return used

    def shrink(self) -> None:
        """Give the room of removed rows back to the disk."""
        if self._connection is not None:
            with self._open() as connection:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def discard(self) -> None:
        """Remove the file, which nobody else may have open."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn an error of SQLite or the disk into a `SpoolFailed` that names the file and never quotes the row."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            why = describe(error)
        else:
            return
        raise SpoolFailed(f"spool {self.path}: {why}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._translate_errors():
            if self._connection is None:
                self._connection = _connect(self.path)
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk makes SQLite roll back by itself
                    connection.execute("ROLLBACK")
                raise


def _connect(path: Path) -> sqlite3.Connection:
    make_private_file(path)
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_TABLES)
    except BaseException:
        connection.close()
        raise
    return connection


def move_batch(spool: Spool, store: Store, encoder: Encoder) -> int:
    """Move the oldest rows into the database, and return how many there were: 0 if the spool is empty.

    `DatabaseAway` if the database doesn't take them; then they are still in the spool.
    """
    rows = spool.read_batch()
    if not rows:
        return 0
    refused: dict[int, str] = {}
    entries: dict[Entry, int] = {}
    for seq, kind, text in rows:
        try:
            entries[encoder(decode(kind, text))] = seq
        except Exception as error:  # a row of a later version, or a host's value that this database has no form for
            refused[seq] = describe(error)
    refused |= {entries[entry]: str(error) for entry, error in store.commit(list(entries), is_fresh=False).items()}
    for why in refused.values():
        _log.error("A row stays in {path}, the database refuses it: {why}", path=str(spool.path), why=why)
    # Sums by the hour may have been made without them.
    with store.transaction() as connection:
        mark_interceptions(connection, [getattr(entry.record, "interception_id", entry.record.id) for entry in entries])
    spool.remove(rows, refused)
    return len(rows)


def encode(record: Record) -> str:
    """Return a record as JSON."""

    def plain(value: object) -> object:
        if isinstance(value, UUID):
            return str(value)
        return value.isoformat() if isinstance(value, datetime) else value

    return storable_json({name: plain(value) for name, value in attrs.asdict(record, recurse=False).items()})


def decode(kind: str, text: str) -> Record:
    """Return the record that `encode` was given. A field that is missing gets its default."""
    record_type, values = _TYPES[kind], json.loads(text)
    known: dict[str, Any] = {}
    for field in attrs.fields(record_type):
        if field.name in values:
            value, parse = values[field.name], _PARSERS.get(field.type)
            known[field.name] = parse(value) if parse else value
    return record_type(**known)

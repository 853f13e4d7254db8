"""The way of records over the driver's own connection: the rows, the errors and the connections of SQLAlchemy's."""

import sqlite3
from typing import Any

from attrs import evolve
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from aibridge.record.database import DatabaseAway, open_engine
from aibridge.record.records import InterceptionRecord, PromptUsageRecord, TokenUsageRecord, ToolUsageRecord
from aibridge.record.schema import metadata
from aibridge.record.store import Store
from aibridge.record.values import bounded, storable
from aibridge.record.writer import Writer

from .databases import OnSQLite, stored
from .postgresql import OnPostgreSQL
from .samples import ended, exchange, interception, prompt, token_usage, tool_usage

_ODD = "zero\0 half\ud800 tab\t quote' Zoë 😀 %s ? :name"


class WriterTests:
    """Tests for every database. Give them ``self.url``."""

    url: str

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.store = Store(self.url)
        self.store.open()
        self.encoder = self.store.encoder(None)
        self.engine = open_engine(self.url)
        self.writer = Writer(self.engine)
        self.addCleanup(self.engine.dispose)  # type: ignore[attr-defined]
        self.addCleanup(self.writer.release)  # type: ignore[attr-defined]
        self.addCleanup(self.store.close)  # type: ignore[attr-defined]

    def count(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM aibridge_interceptions")).scalar_one())

    def insert(self, cursor: Any, record: InterceptionRecord) -> None:
        entry = self.encoder(record)
        entry.statement.execute(cursor, [entry.row])

    def test_same_rows(self) -> None:
        """Values are stored as SQLAlchemy would store them, to the byte: also NUL, lone surrogates and huge integers."""
        begun = interception(client_session_id=_ODD, user_agent="x" * 2000, metadata={"a": [_ODD, 2**80, None, 1.5]})
        records = [
            begun,
            token_usage(begun.id, input_tokens=2**63 - 1, metadata={"complete": True}),
            prompt(begun.id, prompt=_ODD),
            tool_usage(begun.id, input=_ODD, output=[{"text": _ODD}], duration_ms=0.1),
        ]
        assert not self.store.commit([self.encoder(record) for record in records])
        written = [self.dump(type(record)) for record in records]
        with self.engine.begin() as connection:
            connection.execute(metadata.tables[InterceptionRecord.storage.table].delete())
            for record in records:
                values = {**vars(record)}
                for name, value in values.items():
                    if isinstance(value, str) and name != "input":
                        values[name] = bounded(value) if name == "client_session_id" else storable(value)
                connection.execute(insert(metadata.tables[record.storage.table]).values(values))
        assert written == [self.dump(type(record)) for record in records]

    def dump(self, kind: Any) -> list[Any]:
        """Return the rows of a table as the database has them, in text that keeps types apart."""
        with self.engine.connect() as connection:
            return list(map(repr, connection.exec_driver_sql(f"SELECT * FROM {kind.storage.table}")))

    def test_rolled_back(self) -> None:
        """A block that raises leaves nothing behind, and the next transaction goes on over the same connection."""
        with self.assertRaises(ZeroDivisionError), self.writer.transaction() as cursor:  # type: ignore[attr-defined]
            self.insert(cursor, interception())
            raise ZeroDivisionError
        assert self.count() == 0
        with self.writer.transaction() as cursor:
            self.insert(cursor, interception())
        assert self.count() == 1

    def test_refused(self) -> None:
        """An error of the driver is SQLAlchemy's error, and the next transaction goes on over the same connection."""
        with self.assertRaises(IntegrityError) as raised, self.writer.transaction() as cursor:  # type: ignore[attr-defined]
            self.insert(cursor, interception(initiator_id=None))
        assert not raised.exception.connection_invalidated
        with self.writer.transaction() as cursor:
            self.insert(cursor, interception())
        assert self.count() == 1

    def test_other_transactions(self) -> None:
        """Records and transactions of SQLAlchemy's take turns, in any order, and see each other's rows."""
        for number in range(3):
            assert not self.store.commit([self.encoder(record) for record in exchange()])
            with self.store.transaction() as connection:
                found = connection.execute(text("SELECT count(*) FROM aibridge_interceptions")).scalar_one()
                assert found == number + 1

    def test_closed(self) -> None:
        """A store that was closed opens the database again with the next records."""
        begun = interception()
        assert not self.store.commit([self.encoder(begun)])
        self.store.close()
        assert not self.store.commit([self.encoder(ended(begun.id))])
        assert self.count() == 1


class SQLiteWriterTests(WriterTests, OnSQLite):
    """The writer on SQLite."""

    def test_locked(self) -> None:
        """While another process holds the database nothing is written; then the same connection writes again."""
        store = Store(self.url, lock_timeout=0.01)
        self.addCleanup(store.close)
        begun = self.encoder(interception())
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        with self.assertRaises(DatabaseAway) as raised:
            store.commit([begun])
        assert "SQLITE_BUSY" in str(raised.exception)
        other.execute("ROLLBACK")
        assert not store.commit([begun])
        assert self.count() == 1

    def test_too_large(self) -> None:
        """An integer that SQLite has no room for is refused alone, and leaves no transaction open."""
        begun = interception()
        bad = self.encoder(token_usage(begun.id, output_tokens=2**64))
        assert list(self.store.commit([self.encoder(begun), bad])) == [bad]
        other = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        other.execute("BEGIN IMMEDIATE")
        other.close()

    def test_durable(self) -> None:
        """Commits survive a loss of power: the connection has a log of writes, which each commit brings to the disk."""
        with self.writer.transaction() as cursor:
            modes = [cursor.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")]
        assert modes == [("wal",), (2,)]


class PostgreSQLWriterTests(WriterTests, OnPostgreSQL):
    """The writer on PostgreSQL."""

    def of_connections(self, what: str) -> list[Any]:
        """Return this of each of the gateway's connections but the one that asks."""
        query = (
            f"SELECT {what} FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'aibridge' AND pid <> pg_backend_pid()"
        )
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)).scalars())

    def end_connections(self) -> None:
        assert self.of_connections("pg_terminate_backend(pid, 10000)") == [True]

    def test_one_connection(self) -> None:
        """A store has one connection, whatever it is used for."""
        self.store.commit([self.encoder(interception())])
        with self.store.transaction() as connection:
            connection.execute(text("SELECT 1"))
        self.store.commit([self.encoder(interception())])
        assert len(self.of_connections("pid")) == 1

    def test_cut(self) -> None:
        """A connection that was cut while it was idle is replaced within the same commit."""
        first, second = interception(), interception()
        assert not self.store.commit([self.encoder(first)])
        self.end_connections()
        assert not self.store.commit([self.encoder(second)])
        assert {record.id for record in stored(self.url, InterceptionRecord)} == {first.id, second.id}

    def test_cut_amid(self) -> None:
        """A connection that is cut within a transaction takes the transaction along, and is not used again."""
        with self.assertRaises(OperationalError) as raised, self.writer.transaction() as cursor:
            self.insert(cursor, interception())
            self.end_connections()
            self.insert(cursor, interception())
        assert raised.exception.connection_invalidated
        with self.writer.transaction() as cursor:
            self.insert(cursor, interception())
        assert self.count() == 1

    def test_serialization(self) -> None:
        """A transaction that another one came before is told apart from a refused row, and can be tried again."""
        begun = interception()
        with self.writer.transaction() as cursor:
            self.insert(cursor, begun)
        with self.assertRaises(DBAPIError) as raised, self.writer.transaction() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
            assert not self.store.commit([self.encoder(evolve(begun, client="other"))])
            self.insert(cursor, begun)
        assert getattr(raised.exception.orig, "sqlstate", "") == "40001"
        assert stored(self.url, InterceptionRecord) == [evolve(begun, client="other")]

    def test_refused_is_gone(self) -> None:
        """A refused row leaves the connection without a transaction: others see the rows that came with it."""
        begun = interception()
        bad = self.encoder(token_usage(begun.id, cost_nanousd=2**64))
        assert list(self.store.commit([self.encoder(begun), bad, self.encoder(prompt(begun.id))])) == [bad]
        assert len(stored(self.url, PromptUsageRecord)) == 1
        assert not stored(self.url, TokenUsageRecord)
        assert not stored(self.url, ToolUsageRecord)

"""The way of records into the database: the driver's own connection, without SQLAlchemy around each statement.

SQLAlchemy opens the connection and says what its errors mean. Beyond that it would take the connection from a pool for
every transaction and reset it afterwards, call listeners, and make an execution context and a result for every
statement: most of the time that the records of a lone request took.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPICursor, DBAPIModule
from sqlalchemy.exc import DBAPIError


class Writer:
    """Transactions over a single connection of an engine, which stays open between them. Use it on one thread only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._error = self._dialect.loaded_dbapi.Error
        # PostgreSQL's driver begins a transaction with the first statement; SQLite's is told to leave that to us.
        self._begins_itself = self._dialect.name != "sqlite"
        self._connection: PoolProxiedConnection | None = None
        self._cursor: DBAPICursor | None = None

    @contextmanager
    def transaction(self) -> Iterator[DBAPICursor]:
        """A transaction on a cursor of the driver's, committed at the block's end and rolled back if the block raises.

        Errors of the driver become SQLAlchemy's, as they would in a transaction of its own. After an error that ended
        the connection, the next transaction opens another one.
        """
        try:
            cursor = self._cursor or self._connect()
            if self._begins_itself:
                yield cursor
                assert self._connection is not None
                self._connection.commit()
            else:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")  # prepared once, unlike the driver's own commit
        except self._error as error:
            raise self._undo(error) from error
        except BaseException:
            self._roll_back()
            raise

    def release(self) -> None:
        """Give the connection back to the engine, for a transaction of another kind or to be closed."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()

    def _connect(self) -> DBAPICursor:
        self._connection = self._engine.raw_connection()
        self._cursor = self._connection.cursor()
        return self._cursor

    def _undo(self, error: DBAPIModule.Error) -> DBAPIError:
        """Roll back, and return SQLAlchemy's error for one of the driver's."""
        connection = self._connection
        is_lost = bool(self._dialect.is_disconnect(error, connection and connection.dbapi_connection, None))
        if is_lost:
            self._discard(error)
        else:
            self._roll_back()
        translated = DBAPIError.instance(
            None, None, error, self._error, hide_parameters=True, connection_invalidated=is_lost, dialect=self._dialect
        )
        assert isinstance(translated, DBAPIError)
        return translated

    def _roll_back(self) -> None:
        """Leave the connection without a transaction; a connection on which that fails is of no more use."""
        if self._connection is not None:
            try:
                self._connection.rollback()
            except self._error as error:
                self._discard(error)

    def _discard(self, error: DBAPIModule.Error) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.invalidate(error)

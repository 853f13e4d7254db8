"""Opening a database, the same way for everyone, and finding out what its errors mean."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ..errors import RecordingError
from .urls import POSTGRESQL, driver_fault, parse_url
from .values import storable_json

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql.dml import Insert as PostgreSQLInsert
    from sqlalchemy.dialects.sqlite.dml import Insert as SQLiteInsert


class DatabaseAway(RecordingError):
    """The database can't take rows at the moment; that may pass by itself."""


class DatabaseRefused(RecordingError):
    """The database's server refuses the user, the password or the database's name."""


VERSION_TABLE = "aibridge_alembic_version"
"""Alembic's table of the database's revision."""

_TIMEOUTS: dict[str, int | str] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "application_name": "aibridge",
}
"""Parameters of libpq, in seconds: a server that is gone without a word must not keep a thread.

https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

_SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret")
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
"""SQLite's errors that may pass by themselves."""
_REFUSALS = re.compile(
    'password authentication failed|no password supplied|(role|database) ".*" does not exist'
    "|is not permitted to log in|no pg_hba.conf entry"
)
"""PostgreSQL's messages of connections that it refuses. psycopg gives these errors no SQLSTATE."""
_ROLLED_BACK = "40"
_OF_A_ROW = ("22", "23", "54")
"""Classes of SQLSTATE: deadlock and the like; data, integrity, a limit such as the depth of JSON.

https://www.postgresql.org/docs/15/errcodes-appendix.html
"""


def open_engine(url: str, *, lock_timeout: float = 5.0, foreign_keys: bool = True) -> Engine:
    """Return an engine for the URL; it connects when first used, and its transactions are for writing.

    SQLite runs in WAL mode, so that readers never wait for the writer, and with ``synchronous=FULL``, so that
    a commit survives a loss of power. ``lock_timeout``: the seconds to wait while another process holds the database.
    """
    with plain_errors(url):
        parsed = parse_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        # Without an isolation level Python's driver leaves transactions to us; its own begin is late, and not for DDL.
        sqlite_arguments = {"isolation_level": None, "timeout": float(str(parsed.query.get("timeout", lock_timeout)))}
        engine = create_engine(
            parsed,
            connect_args=sqlite_arguments if is_sqlite else engine_arguments(parsed),
            hide_parameters=True,  # an error must never quote a prompt
            json_serializer=storable_json,
        )
    if is_sqlite:
        _set_up_sqlite(engine, foreign_keys)
    return engine


def open_reader(url: str) -> Engine:
    """Return an engine for reading now and then: between two queries it holds neither a connection nor a lock."""
    with plain_errors(url):
        parsed = parse_url(url)
        connect_args = {} if parsed.get_backend_name() == "sqlite" else engine_arguments(parsed)
        return create_engine(parsed, connect_args=connect_args, hide_parameters=True, poolclass=NullPool)


def engine_arguments(url: URL) -> dict[str, int | str | None]:
    """Return the arguments with which a connection to PostgreSQL is opened."""
    arguments: dict[str, int | str | None] = {name: value for name, value in _TIMEOUTS.items() if name not in url.query}
    if url.drivername == POSTGRESQL:
        # A pooler in transaction mode, such as PgBouncer, gives each transaction another session: a statement that was
        # prepared in one is unknown in the next. Without a pooler, a threshold in the URL lets psycopg prepare them.
        threshold = url.query.get("prepare_threshold")
        arguments["prepare_threshold"] = int(str(threshold)) if threshold is not None else None
    return arguments


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A transaction on a reader's connection that sees the database as it is when the transaction begins."""
    is_sqlite = connection.dialect.name == "sqlite"
    with connection.begin():
        connection.exec_driver_sql("BEGIN" if is_sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def _set_up_sqlite(engine: Engine, foreign_keys: bool) -> None:
    # None has no adapter otherwise; the driver looks for one each time and raises twice: a tenth of a commit. This one
    # returns None without a frame of Python's.
    itself: Callable[[None], None] = dict[None, None]().get
    sqlite3.register_adapter(type(None), itself)

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    def begin(connection: Connection) -> None:
        # Lock the database for writing at once: a transaction that reads first and writes later can fail in its midst.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def connecting(dialect: object, record: object, arguments: list[str], options: dict[str, object]) -> None:
        if not options.get("uri"):
            make_private_file(arguments[0])

    event.listen(engine, "do_connect", connecting)
    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begin)


def make_private_file(path: str | Path) -> None:
    """Make an empty file that only its owner may read, unless there is one. SQLite gives its companions the same mode.

    SQLite itself says what is wrong if the file can't be made.
    """
    if path != ":memory:":
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def plain_errors(url: str) -> Iterator[None]:
    """Turn an error of opening or migrating a database into a `RecordingError` that names the database.

    It is a `DatabaseAway` if waiting may help, and a `DatabaseRefused` if the user, the password or the database's
    name is wrong. The database's own words may be shown here: no row is at stake yet.
    """
    try:
        yield
    except (SQLAlchemyError, ImportError) as error:
        cause: object = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(error, ImportError):
            cause = driver_fault(parse_url(url)) or error
        raise _kind_of(error)(f"database {printable(url)}: {' '.join(str(cause).split())}") from error


@contextmanager
def single_reader(url: str) -> Iterator[Connection]:
    """A connection that is opened for a few queries alone. RecordingError if the database can't be read."""
    with plain_errors(url), open_reader(url).connect() as connection:
        yield connection


@contextmanager
def single_transaction(url: str, *, lock_timeout: float = 5.0) -> Iterator[Connection]:
    """A transaction over a connection that is opened for it alone. RecordingError if the database can't be used."""
    with plain_errors(url):
        engine = open_engine(url, lock_timeout=lock_timeout)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


def insert_into(connection: Connection, table: Table) -> "PostgreSQLInsert | SQLiteInsert":
    """Return the dialect's own INSERT, which knows ``ON CONFLICT``."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # 2.4 MB, which SQLite does not need

        return postgresql.insert(table)
    return sqlite.insert(table)


def _kind_of(error: Exception) -> type[RecordingError]:
    """Return the class that tells what can be done about an error of opening a database."""
    if not isinstance(error, OperationalError):
        return RecordingError
    if isinstance(error.orig, sqlite3.Error):
        passes = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _PASSING
        return DatabaseAway if passes else RecordingError
    return DatabaseRefused if _REFUSALS.search(str(error.orig)) else DatabaseAway


def is_row_error(error: Exception) -> bool:
    """True if the fault may be in one row. If the database is locked, full or away, fewer rows fare no better."""
    if not isinstance(error, DBAPIError):
        return not isinstance(error, SQLAlchemyError)  # a value that the driver has no form for
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state).startswith(_OF_A_ROW)
    return isinstance(error, DataError | IntegrityError)


def is_retryable(error: DBAPIError) -> bool:
    """True if a second try may succeed at once: an idle connection was cut, or two processes waited for each other."""
    return error.connection_invalidated or str(getattr(error.orig, "sqlstate", "")).startswith(_ROLLED_BACK)


def printable(url: str) -> str:
    """Return the URL without its password, wherever that stands."""
    try:
        return parse_url(url).difference_update_query(_SECRET_PARAMETERS).render_as_string(hide_password=True)
    except ArgumentError:
        return "URL"  # a URL that can't be parsed can't be cleared of secrets


def describe(error: Exception) -> str:
    """Return the kind of an error, without its message: a database's message may quote the row."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    return f"{type(cause).__name__} ({code})" if code else type(cause).__name__

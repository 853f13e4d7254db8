"""Opening the database, the same way for all who do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ..errors import RecordingError
from .text import storable_json

# A server that is gone without a word must not keep a thread: in seconds, the last one in milliseconds.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_GIVE_UP_SOON = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def open_engine(url: str, *, lock_timeout: float = 5.0, foreign_keys: bool = True) -> Engine:
    """An engine for the URL; it connects when first used, and its transactions are for writing.

    SQLite runs in WAL mode, so that readers never wait for the writer, and with ``synchronous=FULL``, so that
    a commit survives a loss of power. ``lock_timeout`` is in seconds: how long to wait while another process
    holds the database.
    """
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    # Without an isolation level Python's driver leaves transactions to us; its own begin is late, and never for DDL.
    connect_args: dict[str, Any] = {"isolation_level": None, "timeout": lock_timeout} if is_sqlite else {}
    engine = create_engine(
        url,
        connect_args=connect_args,
        hide_parameters=True,  # an error must never quote a prompt
        json_serializer=storable_json,
    )
    if is_sqlite:
        _set_up_sqlite(engine, foreign_keys)
    return engine


def open_reader(url: str) -> Engine:
    """An engine to read with, now and then: between two queries it holds neither a connection nor a lock."""
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    connect_args = {} if is_sqlite else _GIVE_UP_SOON
    return create_engine(url, connect_args=connect_args, hide_parameters=True, poolclass=NullPool)


def _set_up_sqlite(engine: Engine, foreign_keys: bool) -> None:
    def connected(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    def begin(connection: Connection) -> None:
        # At once the writer: a transaction that reads first and writes later can fail in its midst.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begin)


@contextmanager
def plain_errors(url: str) -> Iterator[None]:
    """What keeps a database from being opened or migrated, as one `RecordingError` that names it.

    There the database's own words may be shown: no row is at stake yet.
    """
    try:
        yield
    except (SQLAlchemyError, ImportError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise RecordingError(f"database {printable(url)}: {cause}") from error


def printable(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "URL"  # what can't be read can't be cleared of secrets


def describe(error: Exception) -> str:
    """The kind of an error, without its message: a database's message may quote the row."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    return f"{type(cause).__name__} ({code})" if code else type(cause).__name__

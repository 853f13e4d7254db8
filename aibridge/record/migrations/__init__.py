"""Migrations: bring a database to the present schema. Alembic runs them without an ini file, from an installed wheel.

The gateway upgrades at its start, and ``aibridge db upgrade`` does so by hand. The state is kept in a table
of the gateway's own (``aibridge_alembic_version``), so that a host program can have its own migrations, and its own
tables, in the same database. Several processes may start at once: the first one holds the database while it
upgrades, the others then find nothing to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text

from ...errors import RecordingError
from ..database import open_engine, plain_errors, printable

VERSION_TABLE = "aibridge_alembic_version"

_LOCK = 0x61696272
"""The key of PostgreSQL's advisory lock ("aibr"): only migrations take it."""


def upgrade(url: str) -> None:
    """Bring the database to the present schema, and create it if there is none. RecordingError if that fails."""
    with _locked(url) as connection:
        command.upgrade(_config(connection), "head")


def downgrade(url: str, revision: str) -> None:
    """Go back to an older revision; ``base`` removes the gateway's tables and everything in them."""
    with _locked(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """Return the revision of the database; None if it has none."""
    with _locked(url) as connection:
        return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def check(url: str) -> None:
    """Raise `RecordingError` if the database's tables are not those of `schema`."""
    with _locked(url) as connection:
        command.check(_config(connection))


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    """A transaction beside which no other migration runs. SQLite locks the database when it begins.

    Foreign keys are off: SQLite alters a table by copying and dropping it, and dropping would cascade.
    """
    with plain_errors(url):
        engine = open_engine(url, lock_timeout=30.0, foreign_keys=False)
        try:
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                yield connection
        except CommandError as error:
            raise RecordingError(f"database {printable(url)}: {error}") from error
        finally:
            engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config(stdout=StringIO())  # standard output belongs to the program
    config.set_main_option("script_location", "aibridge.record:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config

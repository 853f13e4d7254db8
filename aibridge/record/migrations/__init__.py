"""Migrations: bring a database to the present schema. Alembic runs them without an ini file, from an installed wheel.

The gateway upgrades at its start, and ``aibridge db upgrade`` does so by hand. Reading never does. The state is kept in
a table of the gateway's own (``aibridge_alembic_version``), so that a host program can have its own migrations, and its
own tables, in the same database. Several processes may start at once: the first one holds the database while it
upgrades, the others then find nothing to do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, select, text

from ... import __version__
from ...errors import RecordingError
from ..database import VERSION_TABLE, open_engine, plain_errors, printable, single_reader
from ..schema import versions
from ..urls import exists, parse_url
from ..values import utc_now


class DatabaseNewer(RecordingError):
    """A later version of aibridge has upgraded the database."""


_LOCK = 0x61696272
"""The key of PostgreSQL's advisory lock ("aibr"): only migrations take it."""


def upgrade(url: str, *, on_step: Callable[[], None] = lambda: None) -> None:
    """Bring the database to the present schema, and create it if there is none. RecordingError if that fails.

    :param on_step: called after each step.
    """
    with _locked(url) as connection:
        before = _revision(connection)
        _refuse_newer(url, before)
        config = _config(connection)
        config.attributes["on_step"] = on_step
        command.upgrade(config, "head")
        if (revision := _revision(connection)) != before:
            connection.execute(versions.delete().where(versions.c.revision == revision))
            connection.execute(versions.insert().values(revision=revision, version=__version__, upgraded_at=utc_now()))


def count_steps(url: str) -> int:
    """Return the number of steps from the database's revision to the present one."""
    known, revision = revisions(), current(url)
    return len(known) - (known.index(revision) + 1 if revision in known else 0)


def revisions() -> list[str]:
    """Return all revisions that this version knows, the first one first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def downgrade(url: str, revision: str) -> None:
    """Go back to an older revision; ``base`` removes the gateway's tables and everything in them."""
    with _locked(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """Return the revision of the database; None if it has none. Nothing is made or changed."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        if exists(path.parent) and not exists(path):
            return None
    with single_reader(url) as connection:
        return _revision(connection)


def require_current(url: str) -> None:
    """Raise `RecordingError` if the database's tables are older or newer than this version's, or not there."""
    revision, present = current(url), ScriptDirectory.from_config(_config()).get_current_head()
    _refuse_newer(url, revision)
    if revision != present:
        state = f"its tables are of revision {revision}, {present} is needed" if revision else "it has no tables yet"
        raise RecordingError(f"database {printable(url)}: {state}: run aibridge db upgrade")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _refuse_newer(url: str, revision: str | None) -> None:
    """Raise `DatabaseNewer` if a later version of aibridge has upgraded the database."""
    known = revisions()
    if revision is None or revision in known:
        return
    version = _version_of(url, revision)
    other, needed = (f"aibridge {version}", version) if version else ("a later version of aibridge", "that version")
    raise DatabaseNewer(
        f"database {printable(url)}: {other} has upgraded it to revision {revision}; aibridge {__version__} knows"
        f" revisions up to {known[-1]}. Use {needed}, or a newer one"
    )


def _version_of(url: str, revision: str) -> str | None:
    """Return the version of aibridge that brought the database to that revision; None if it did not say."""
    with single_reader(url) as connection:
        if not inspect(connection).has_table(versions.name):
            return None
        return connection.scalar(select(versions.c.version).where(versions.c.revision == revision))


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
                else:
                    # Otherwise a table that a view reads can't be copied and renamed.
                    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
                yield connection
        except CommandError as error:
            raise RecordingError(f"database {printable(url)}: {error}") from error
        finally:
            engine.dispose()


def _config(connection: Connection | None = None) -> Config:
    config = Config(stdout=StringIO())  # standard output belongs to the program
    config.set_main_option("script_location", "aibridge.record:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config

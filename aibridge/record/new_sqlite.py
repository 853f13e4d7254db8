"""A new SQLite database, made at once, as all migrations after one another would make it.

Alembic and its steps take the better part of a second, and a new database is what a first start meets. The statements
are those of a database that was migrated (``python -m tests.record.new_sqlite`` writes them).
"""

from pathlib import Path

from sqlalchemy import inspect

from .. import __version__
from .database import single_transaction
from .schema import versions
from .urls import exists, sqlite_file
from .values import utc_now

STATEMENTS = Path(__file__).parent / "migrations" / "sqlite.sql"
"""The statements, with a semicolon and an empty line behind each. The last one notes their revision."""


def make_new(url: str) -> None:
    """Make the database of that URL with all its tables, if it is of SQLite and there is no file yet.

    RecordingError if the file can't be made. If the statements are older than the newest migration, that is left.
    """
    path = sqlite_file(url)
    if path is None or exists(path):
        return
    statements = STATEMENTS.read_text(encoding="utf-8").split(";\n\n")
    with single_transaction(url, lock_timeout=30.0) as connection:
        if inspect(connection).get_table_names():  # another process has been faster
            return
        for statement in statements:
            connection.exec_driver_sql(statement)
        revision = statements[-1].split("'")[1]
        connection.execute(versions.insert().values(revision=revision, version=__version__, upgraded_at=utc_now()))

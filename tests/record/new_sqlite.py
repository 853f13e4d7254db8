"""Writes the statements that make a new SQLite database: ``python -m tests.record.new_sqlite``.

To be run after each change of the migrations; a test compares.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from aibridge.record import migrations
from aibridge.record.new_sqlite import STATEMENTS
from aibridge.record.upgrade import VERSION_TABLE


def statements_of(path: Path) -> list[str]:
    """The statements that make the tables of a database, and the one that notes its revision."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    with closing(sqlite3.connect(path)) as connection:
        made = [sql for (sql,) in connection.execute(query)]
        (revision,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    made = [re.sub(r" +$", "", sql, flags=re.MULTILINE) for sql in made]
    return [*made, f"INSERT INTO {VERSION_TABLE} VALUES ('{revision}')"]


def migrated() -> list[str]:
    """The statements of a database that all migrations have made."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        path.touch()  # so that it is not made at once
        migrations.upgrade(f"sqlite:///{path}")
        return statements_of(path)


if __name__ == "__main__":
    STATEMENTS.write_text(";\n\n".join(migrated()), encoding="utf-8")

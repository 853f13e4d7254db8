"""The databases that the tests run on: a class for each, mixed into the tests that need it."""

from typing import Any

import attrs
from sqlalchemy import Table, select
from twisted.trial.unittest import TestCase

from aibridge.record import schema
from aibridge.record.database import open_engine
from aibridge.record.records import Record


class OnSQLite(TestCase):
    """A new SQLite database for each test."""

    def setUp(self) -> None:
        self.path = self.mktemp() + ".sqlite"
        self.url = f"sqlite:///{self.path}"


def rows(url: str, table: Table) -> list[dict[str, Any]]:
    """Return the rows of a table, as another process would see them."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]
    finally:
        engine.dispose()


def stored(url: str, kind: type[Record]) -> list[Record]:
    """Return the records that the rows of a table stand for."""
    names = [field.name for field in attrs.fields(kind)]
    found = rows(url, schema.metadata.tables[kind.storage.table])
    if kind.storage.updates:
        found = [row for row in found if row["ended_at"]]
    return [kind(**{name: row[name] for name in names}) for row in found]

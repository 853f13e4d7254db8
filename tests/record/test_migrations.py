"""Migrations: they lead to the schema, and back."""

import os
import sys
from pathlib import Path

from sqlalchemy import inspect, text
from twisted.internet.defer import gatherResults
from twisted.internet.utils import getProcessOutputAndValue

from aibridge.errors import RecordingError
from aibridge.record import migrations
from aibridge.record.database import open_engine
from aibridge.record.schema import PREFIX, metadata

from .databases import OnSQLite
from .postgresql import OnPostgreSQL


class MigrationTests:
    """Tests for every database. Give them ``self.url`` of an empty one."""

    url: str

    def run_sql(self, statement: str) -> None:
        engine = open_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def tables(self) -> set[str]:
        engine = open_engine(self.url)
        names = set(inspect(engine).get_table_names())
        engine.dispose()
        return names

    def test_there_and_back(self) -> None:
        """Upgrade gives the tables of the schema, downgrade takes them away, upgrade brings them again."""
        migrations.upgrade(self.url)
        migrations.check(self.url)
        assert self.tables() == {*metadata.tables, migrations.VERSION_TABLE}
        migrations.downgrade(self.url, "base")
        assert self.tables() == {migrations.VERSION_TABLE}
        migrations.upgrade(self.url)
        migrations.check(self.url)

    def test_again(self) -> None:
        """Upgrading a database that is up to date changes nothing."""
        migrations.upgrade(self.url)
        revision = migrations.current(self.url)
        migrations.upgrade(self.url)
        assert revision is not None
        assert migrations.current(self.url) == revision

    def test_none(self) -> None:
        """An empty database is at no revision."""
        assert migrations.current(self.url) is None

    def test_drift(self) -> None:
        """The check finds tables that were changed by hand."""
        migrations.upgrade(self.url)
        self.run_sql(f"DROP INDEX ix_{PREFIX}interceptions_started_at")
        with self.assertRaisesRegex(RecordingError, "ix_aibridge_interceptions_started_at"):
            migrations.check(self.url)

    def test_beside_others(self) -> None:
        """A host's tables and its own migrations in the same database are left alone."""
        self.run_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        self.run_sql("CREATE TABLE customers (id INTEGER)")
        migrations.upgrade(self.url)
        migrations.check(self.url)
        migrations.downgrade(self.url, "base")
        assert {"alembic_version", "customers"} <= self.tables()

    def test_newer(self) -> None:
        """A database from a later version is refused, plainly."""
        migrations.upgrade(self.url)
        self.run_sql(f"UPDATE {migrations.VERSION_TABLE} SET version_num = 'later'")
        with self.assertRaisesRegex(RecordingError, "later"):
            migrations.upgrade(self.url)

    async def test_at_once(self) -> None:
        """Several processes that start at the same moment all succeed."""
        script = "import sys; from aibridge.record import migrations; migrations.upgrade(sys.argv[1])"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        results = await gatherResults(
            getProcessOutputAndValue(sys.executable, ["-c", script, self.url], env=environment) for _ in range(3)
        )
        assert results == [(b"", b"", 0)] * 3, results
        migrations.check(self.url)


class SQLiteMigrationTests(MigrationTests, OnSQLite):
    """Migrations on SQLite."""

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.url = f"sqlite:///{Path(self.path).absolute()}"


class PostgreSQLMigrationTests(MigrationTests, OnPostgreSQL):
    """Migrations on PostgreSQL."""

    timeout = 60

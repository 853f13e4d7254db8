"""The SQL of the manual, on both databases."""

import re
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ProgrammingError
from twisted.trial.unittest import TestCase

import aibridge
from aibridge.errors import RecordingError
from aibridge.record import migrations
from aibridge.record.database import open_engine
from aibridge.record.store import Store

from .record.databases import OnSQLite
from .record.postgresql import OnPostgreSQL
from .record.samples import exchange, interception, token_usage

ROOT = Path(aibridge.__file__).parents[1]


def blocks(language: str, page: str = "**/*.md") -> list[tuple[str, str]]:
    """The blocks of a language in the manual, each with the name of its page."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob(page))]
    return [(path.name, block) for path in pages for block in pattern.findall(path.read_text(encoding="utf-8"))]


class QueryTests(TestCase):
    """Each statement, on a database of either kind with an exchange in it."""

    url: str

    def setUp(self) -> None:
        super().setUp()
        with closing(Store(self.url)) as store:
            store.open()
            unfinished = interception()
            usage = token_usage(unfinished.id, metadata={"complete": False})
            store.commit([store.encoder(None)(record) for record in (*exchange(), unfinished, usage)])

    def run_statement(self, connection: Connection, statement: str) -> list[Any]:
        """The rows of a statement."""
        result = connection.execute(text(statement))
        return [*result] if result.returns_rows else []

    def test_statements(self) -> None:
        """Each one runs as it is, but for SQLite's own PRAGMA."""
        found = blocks("sql")
        self.assertGreater(len(found), 8)
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        for page, block in found:
            for statement in filter(None, map(str.strip, re.sub("--.*", "", block).split(";"))):
                if statement.startswith("PRAGMA") and engine.dialect.name != "sqlite":
                    continue
                with self.subTest(page=page, statement=statement), engine.begin() as connection:
                    self.run_statement(connection, statement)

    def test_unfinished(self) -> None:
        """The query for figures that are not final finds the same on both."""
        [query] = [block for _, block in blocks("sql") if "'complete'" in block]
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            self.assertEqual(len(self.run_statement(connection, query.rstrip().rstrip(";"))), 1)


class SQLiteQueryTests(QueryTests, OnSQLite):
    """On SQLite."""


class PostgreSQLQueryTests(QueryTests, OnPostgreSQL):
    """On PostgreSQL."""


del QueryTests


class RoleTests(OnPostgreSQL, TestCase):
    """The roles of the page on PostgreSQL."""

    def sql(self, url: str, *statements: str) -> None:
        """Run statements as the user of that URL."""
        engine = open_engine(url)
        try:
            with engine.begin() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def as_user(self, name: str) -> str:
        """The URL for another user."""
        return make_url(self.url).set(username=name).render_as_string(hide_password=False)

    def test_roles(self) -> None:
        """The owner makes the tables; the gateway writes with no right to change them; readers see no content."""
        roles, readers = [block for _, block in blocks("postgresql", "postgresql.md")]
        users = ("aibridge_owner", "aibridge", "aibridge_reader")
        owned = [f"DROP OWNED BY {user}" for user in users]
        self.addCleanup(self.sql, self.url, "DROP SCHEMA aibridge CASCADE", *owned, f"DROP ROLE {', '.join(users)}")
        self.sql(self.url, roles, "ALTER ROLE aibridge_reader LOGIN")
        self.assertRaises(RecordingError, Store(self.as_user("aibridge")).open)
        migrations.upgrade(self.as_user("aibridge_owner"))
        with closing(Store(self.as_user("aibridge"))) as store:
            store.open()
            self.assertEqual(store.commit([store.encoder(None)(record) for record in exchange()]), {})
            with store.transaction() as connection:
                connection.execute(text("DELETE FROM aibridge_interceptions"))
        self.assertRaises(ProgrammingError, self.sql, self.as_user("aibridge"), "DROP TABLE aibridge.aibridge_turns")
        self.sql(self.url, readers)
        reader = self.as_user("aibridge_reader")
        self.sql(
            reader, "SELECT tool FROM aibridge.aibridge_tool_usages", "SELECT * FROM aibridge.aibridge_token_usages"
        )
        for forbidden in ("prompt FROM aibridge.aibridge_user_prompts", "input FROM aibridge.aibridge_tool_usages"):
            self.assertRaises(ProgrammingError, self.sql, reader, f"SELECT {forbidden}")

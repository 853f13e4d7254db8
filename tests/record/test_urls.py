"""URLs of databases: their forms, their parameters, and a driver that is missing."""

import sys
from typing import Any

from sqlalchemy.exc import ArgumentError
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import RecordingError
from aibridge.record.database import open_engine, open_reader, printable
from aibridge.record.settings import DatabaseSettings
from aibridge.record.store import Store
from aibridge.record.urls import parse_url

from .postgresql import OnPostgreSQL

FORMS = {
    "postgres://u:p@h/db": "postgresql+psycopg://u:p@h/db",
    "postgresql://u:p@h:6432/db?sslmode=require": "postgresql+psycopg://u:p@h:6432/db?sslmode=require",
    "postgresql+psycopg2://h/db": "postgresql+psycopg2://h/db",
    "postgresql://u:a,b@h1:1,h2/db": "postgresql+psycopg://u:a%2Cb@/db?host=h1%3A1&host=h2",
    "postgresql://u:a,b/c@h/db": "postgresql+psycopg://u:a%2Cb%2Fc@h/db",
    "postgres://h1,h2?sslmode=prefer": "postgresql+psycopg://?host=h1&host=h2&sslmode=prefer",
    "sqlite:///a,b.sqlite": "sqlite:///a%2Cb.sqlite",
}
TAKEN = (
    "postgresql://h/db?sslmode=require&sslrootcert=/ca.pem&connect_timeout=3&application_name=x&options=-csearch_path%3Dx",
    "postgresql://h1:1,h2:2/db?target_session_attrs=read-write",
    "postgresql:///db?host=h1:1&host=h2:2&prepare_threshold=5",
    "postgresql:///db?host=/var/run/postgresql",
    "sqlite:///x.sqlite?timeout=9&cached_statements=50",
    "sqlite:///file:x.sqlite?mode=ro&uri=true",
)
WRONG = {
    "postgresql://u:hunter2@h/db?pool_mode=hunter2": "has the parameter pool_mode, which psycopg does not take here",
    "postgresql://h/db?connect_timeout=hunter2": "has the parameter connect_timeout, which must be a whole number",
    "postgresql://h/db?sslmode=hunter2&sslmode=b": "has the parameter sslmode more than once",
    "sqlite:///x?timeout=hunter2": "has the parameter timeout, which must be a whole number",
    "sqlite:///x?isolation_level=hunter2": "has the parameter isolation_level, which pysqlite does not take here",
    "postgresql://h:1,[::1]:hunter2/db": "must be a database URL, such as sqlite:///aibridge.sqlite",
}


class UrlTests(SynchronousTestCase):
    """What is taken, and in which words another URL is refused."""

    def test_forms(self) -> None:
        """Other programs' forms are read as they mean it, with one host or several."""
        for text, form in FORMS.items():
            self.assertEqual(parse_url(text).render_as_string(hide_password=False), form)
        self.assertRaises(ArgumentError, parse_url, "nonsense")

    def test_printed(self) -> None:
        """No form of a URL shows its password."""
        for text in ("postgres://u:hunter2@h1,h2/db", "postgresql://u:a,hunter2/c@h/db?password=hunter2"):
            self.assertNotIn("hunter2", printable(text))

    def test_parameters(self) -> None:
        """Parameters that the driver takes reach it; one in the URL counts more than the gateway's own."""
        for text in TAKEN:
            self.assertEqual(DatabaseSettings(url=text).url, text)
        seen: list[dict[str, Any]] = []
        engine = open_engine(TAKEN[0])
        self.patch(engine.dialect, "connect", lambda *args, **parameters: seen.append(parameters) or sys.exit())
        self.assertRaises(SystemExit, engine.connect)
        expected = {"sslmode": "require", "connect_timeout": "3", "application_name": "x", "keepalives_idle": 5}
        self.assertEqual({name: seen[0][name] for name in expected}, expected)

    def test_wrong(self) -> None:
        """A parameter that the driver does not take is named, in a line without its value."""
        for text, words in WRONG.items():
            error = self.assertRaises(ValueError, DatabaseSettings, url=text)
            self.assertEqual(str(error), f"url: {words}")

    def test_no_driver(self) -> None:
        """Where psycopg is missing, a line says what to install."""
        self.addCleanup(sys.modules.update, {"psycopg": sys.modules["psycopg"]})
        sys.modules["psycopg"] = None  # type: ignore[assignment] # Python's own way to say that it is not installed
        url = "postgresql://u:hunter2@h/db"
        error = self.assertRaises(ValueError, DatabaseSettings, url=url)
        self.assertEqual(str(error), "url: needs the package psycopg: pip install 'aibridge[postgresql]'")
        for opened in (open_engine, open_reader, Store):
            failed = self.assertRaises(RecordingError, opened, url)
            self.assertIn("db: needs the package psycopg: pip install 'aibridge[postgresql]'", str(failed))
            self.assertNotIn("hunter2", str(failed))


class PostgreSQLUrlTests(OnPostgreSQL):
    """The forms, with a server."""

    def test_connects(self) -> None:
        """A server is reached by each form, also as one host of several."""
        _, _, rest = self.url.partition("://")
        user, _, place = rest.partition("@")
        for text in (f"postgres://{rest}", f"postgresql://{user}@127.0.0.1:9,{place}?connect_timeout=3"):
            with open_reader(text).connect() as connection:
                self.assertEqual(connection.exec_driver_sql("SELECT 1").scalar(), 1)

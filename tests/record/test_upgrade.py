"""The upgrade of a database at a start: seldom needed, and made by another process where Alembic is not loaded."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from sqlalchemy import text
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from aibridge.record import migrations, upgrade
from aibridge.record import new_sqlite as making
from aibridge.record.database import DatabaseAway, open_engine
from aibridge.record.migrations import DatabaseNewer

from . import new_sqlite
from .databases import OnSQLite
from .postgresql import OnPostgreSQL

_START = (
    "import sys; from aibridge.record.upgrade import upgrade, upgrade_apart;"
    " {call}(sys.stdin.read()); print('alembic' in sys.modules)"
)


def dump(path: Path) -> list[str]:
    """The statements that make a database with all its rows."""
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump()]


class UpgradeTests:
    """Tests for every database. Give them ``self.url``."""

    url: str

    def start(self, call: str) -> str:
        """Upgrade in a new process, which has not loaded Alembic; return whether it has afterwards."""
        script = _START.format(call=call)
        ran = subprocess.run(
            [sys.executable, "-c", script], input=self.url, text=True, capture_output=True, check=False
        )
        return ran.stdout.strip() or ran.stderr.strip().splitlines()[-1]

    def test_apart(self) -> None:
        """A new database gets its tables, and this process has not loaded Alembic."""
        assert self.start("upgrade_apart") == "False"
        migrations.check(self.url)

    def test_here(self) -> None:
        """A recorder of a host program upgrades the database itself."""
        migrations.upgrade(self.url)
        migrations.downgrade(self.url, "0007")
        assert self.start("upgrade") == "True"
        migrations.check(self.url)

    def test_current(self) -> None:
        """A database of the present schema is left as it is, without Alembic."""
        migrations.upgrade(self.url)
        assert self.start("upgrade") == "False"

    def test_older(self) -> None:
        """A database of an older schema is upgraded."""
        migrations.upgrade(self.url)
        migrations.downgrade(self.url, "0007")
        assert self.start("upgrade_apart") == "False"
        migrations.check(self.url)

    def test_newer(self) -> None:
        """A database of a later version is refused with the same words, wherever that is found out."""
        migrations.upgrade(self.url)
        engine = open_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE {upgrade.VERSION_TABLE} SET version_num = '9999'"))
        engine.dispose()
        with self.assertRaises(DatabaseNewer) as raised:  # type: ignore[attr-defined]
            upgrade.upgrade(self.url)
        assert self.start("upgrade_apart").endswith(str(raised.exception))


class SQLiteUpgradeTests(UpgradeTests, OnSQLite):
    """Upgrades of SQLite."""

    def test_new(self) -> None:
        """A new database is made at once, and is the one that all migrations lead to, row for row."""
        self.assertEqual(self.start("upgrade"), "False")
        path = Path(self.mktemp())
        path.touch()
        migrations.upgrade(f"sqlite:///{path}")
        hint = "run python -m tests.record.new_sqlite"
        self.assertEqual(new_sqlite.statements_of(Path(self.path)), new_sqlite.statements_of(path), hint)
        self.assertEqual(len(dump(Path(self.path))), len(dump(path)), hint)
        self.assertEqual(Path(self.path).stat().st_mode & 0o777, 0o600)
        upgrade.upgrade(self.url)  # once more: nothing to do

    def test_new_for_several(self) -> None:
        """Processes that start at the same time make one database."""
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(upgrade.upgrade, self.url) for _ in range(4)]:
                done.result()
        migrations.check(self.url)

    def test_old_statements(self) -> None:
        """If the statements for a new database lack the newest migrations, those follow."""
        older = Path(self.mktemp())
        migrations.upgrade(f"sqlite:///{older}")
        migrations.downgrade(f"sqlite:///{older}", "0014")
        statements = Path(self.mktemp())
        statements.write_text(";\n\n".join(new_sqlite.statements_of(older)))
        self.patch(making, "STATEMENTS", statements)
        upgrade.upgrade(self.url)
        migrations.check(self.url)

    def test_no_python(self) -> None:
        """Where no other process can be started, the upgrade is made in this one. The log announces it."""
        migrations.upgrade(self.url)
        migrations.downgrade(self.url, "0007")
        self.patch(sys, "executable", "/nowhere/python")
        self.patch(sys, "modules", {name: module for name, module in sys.modules.items() if name != "alembic"})
        with capturedLogs() as events:
            upgrade.upgrade_apart(self.url)
            upgrade.upgrade_apart(self.url)
        migrations.check(self.url)
        told = [formatEvent(event) for event in events]
        self.assertEqual(len([line for line in told if "are upgraded from revision 0007 to " in str(line)]), 1, told)


class PostgreSQLUpgradeTests(UpgradeTests, OnPostgreSQL):
    """Upgrades of PostgreSQL."""


class UnreachableTests(SynchronousTestCase):
    """Databases that are not there."""

    def test_away(self) -> None:
        """No other process is started for a database that can't be reached: it would wait as long again."""
        self.patch(subprocess, "run", lambda *_, **__: self.fail("a process was started"))
        self.patch(sys, "modules", {name: module for name, module in sys.modules.items() if name != "alembic"})
        with self.assertRaises(DatabaseAway):
            upgrade.upgrade_apart("postgresql://nobody@127.0.0.1:1/none")

    def test_nothing_made(self) -> None:
        """To look for a database makes no file."""
        path = Path(self.mktemp())
        self.assertIsNone(upgrade._revision(f"sqlite:///{path}"))
        self.assertFalse(path.exists())

"""The upgrade of a database at a start: seldom needed, and made by another process where Alembic is not loaded."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import text
from twisted.trial.unittest import SynchronousTestCase

from aibridge.record import migrations, upgrade
from aibridge.record.database import DatabaseAway, open_engine
from aibridge.record.migrations import DatabaseNewer

from .databases import OnSQLite
from .postgresql import OnPostgreSQL

_START = (
    "import sys; from aibridge.record.upgrade import upgrade, upgrade_apart;"
    " {call}(sys.stdin.read()); print('alembic' in sys.modules)"
)


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
        """A new database gets its tables from another process: this one has not loaded Alembic."""
        assert self.start("upgrade_apart") == "False"
        migrations.check(self.url)

    def test_here(self) -> None:
        """A recorder of a host program upgrades the database itself."""
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

    def test_no_python(self) -> None:
        """Where no other process can be started, the upgrade is made in this one."""
        self.patch(sys, "executable", "/nowhere/python")
        self.patch(sys, "modules", {name: module for name, module in sys.modules.items() if name != "alembic"})
        upgrade.upgrade_apart(self.url)
        migrations.check(self.url)


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
        self.assertFalse(upgrade._is_current(f"sqlite:///{path}"))
        self.assertFalse(path.exists())

"""The upgrade of a database at a start.

A start seldom finds anything to upgrade, and Alembic with what it imports takes 11 MB. So the database's revision is
read without it, and a gateway has the upgrade made by another process, which ends with it.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import column, inspect, select, table
from twisted.logger import Logger

from .database import VERSION_TABLE, single_reader
from .new_sqlite import make_new
from .urls import exists, parse_url

Upgrade = Callable[[str], None]
"""Brings the database with that URL to the present schema. RecordingError if that fails."""

_log = Logger()
_SCRIPTS = Path(__file__).parent / "migrations" / "versions"
_CHILD = "import sys; from aibridge.record.migrations import upgrade; upgrade(sys.stdin.read())"


def upgrade(url: str) -> None:
    """Bring the database to the present schema, in this process. RecordingError if that fails."""
    make_new(url)
    if _revision(url) != _newest_revision():
        from .migrations import upgrade

        upgrade(url)


def upgrade_apart(url: str) -> None:
    """Bring the database to the present schema, in a process that ends with it. RecordingError if that fails.

    The log says so, since that may take a while.
    """
    make_new(url)
    before, newest = _revision(url), _newest_revision()
    if before == newest:
        return
    if before is not None and before < newest:
        change = f"from revision {before} to {newest}"
        _log.info("The database's tables are upgraded {change}. That may take a while.", change=change)
    # Where Alembic is loaded already nothing is saved. If the other process fails, this one finds out why.
    if "alembic" in sys.modules or not _run_child(url):
        upgrade(url)


def _newest_revision() -> str:
    """Return the revision of the present schema."""
    return max(path.name[:4] for path in _SCRIPTS.glob("[0-9]*.py"))


def _run_child(url: str) -> bool:
    """Return True if another process has upgraded the database."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        # The URL may contain a password, which everyone could read among the arguments.
        ended = subprocess.run(  # noqa: S603 - this Python
            [sys.executable, "-c", _CHILD], input=url.encode(), env=environment, capture_output=True, check=False
        )
    except OSError:
        return False
    return ended.returncode == 0


def _revision(url: str) -> str | None:
    """Return the revision of the database; None if it has none. Nothing is made or changed."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not exists(Path(parsed.database or "")):
        return None
    with single_reader(url) as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))

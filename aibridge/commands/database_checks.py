"""The checks of ``aibridge doctor`` on the database and the spool. They change nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, text

from ..config.checks import config_warnings
from ..config.model import Config
from ..errors import RecordingError
from ..record import migrations
from ..record.database import DatabaseRefused, printable, single_reader
from ..record.recovery import report_spools
from ..record.spool import SpoolFailed
from ..record.urls import exists, parse_url, sqlite_file
from .findings import BROKEN, OK, WARNING, Finding

_LEAST_SPACE = 100 * 2**20
"""Bytes; with less free space a disk counts as full."""
_QUICKLY_READ = 256 * 2**20
"""Bytes of a SQLite database that is read to its end, within a second or two."""
_MEND_FILE = "restore it from a backup, or move it away and start with a new one"


def check_database(config: Config) -> Iterator[Finding]:
    """Look whether the database can be reached and written, and has the tables of this version."""
    url, name = config.database.url, f"database {printable(config.database.url)}"
    if refused := [warning for warning in config_warnings(config) if warning.startswith("database.url:")]:
        mend = "make its folder, and let this user write there" if sqlite_file(url) else "install it"
        yield from (Finding(BROKEN, warning, mend) for warning in refused)
        return
    file = sqlite_file(url)
    if file is not None:
        yield from _check_space("database.url", file.absolute().parent)
    if file is not None and not exists(file):
        yield Finding(OK, f"{name}: not there yet; the gateway makes it when it starts")
        return
    try:
        if migrations.current(url) is None:
            yield Finding(OK, f"{name}: no tables yet; the gateway makes them when it starts")
            return
        _require_write_access(url)
        if file is not None and file.stat().st_size <= _QUICKLY_READ:
            _require_health(url)
        yield _judge_tables(name, url)
    except DatabaseRefused as error:
        mend = "correct user, password and name of the database in database.url, or let this user in at the server"
        yield Finding(BROKEN, str(error), mend)
    except RecordingError as error:
        mend = "correct database.url, or start the server and open the way to it" if file is None else _MEND_FILE
        yield Finding(BROKEN, str(error), mend)


def _require_health(url: str) -> None:
    """Raise RecordingError if pages of a SQLite database are damaged."""
    with single_reader(url) as connection:
        found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    if found != "ok":
        raise RecordingError(f"database {printable(url)}: damaged: {' '.join(found.split())}")


def _judge_tables(name: str, url: str) -> Finding:
    """Compare a database's tables with this version's. The gateway upgrades older ones when it starts."""
    try:
        migrations.require_current(url)
    except migrations.DatabaseNewer as error:
        return Finding(BROKEN, str(error), "install that version of aibridge, or a newer one")
    except RecordingError as error:
        return Finding(WARNING, str(error), "aibridge db upgrade, or start this version of the gateway")
    return Finding(OK, f"{name}: its tables are those of this version")


def _require_write_access(url: str) -> None:
    """Raise RecordingError if the user may not add rows to a server's database."""
    if parse_url(url).get_backend_name() != "postgresql":
        return
    with single_reader(url) as connection:
        why = _refusal(connection)
    if why:
        raise RecordingError(f"database {printable(url)}: {why}")


def _refusal(connection: Connection) -> str:
    """Return the reason for which rows can't be added; empty if they can."""
    if connection.execute(text("SHOW transaction_read_only")).scalar() == "on":
        return "it is read-only, such as a standby"
    may = "SELECT has_table_privilege('aibridge_interceptions', 'INSERT')"
    return "" if connection.execute(text(may)).scalar() else "this user may not add rows to aibridge_interceptions"


def check_spool(config: Config) -> Iterator[Finding]:
    """Look at the folder of the spool, the space on its disk, and the rows that wait there."""
    if not config.database.spool_dir:
        return
    if refused := [warning for warning in config_warnings(config) if warning.startswith("database.spool_dir:")]:
        yield from (Finding(BROKEN, warning, "set it to a folder that this user can write") for warning in refused)
        return
    folder = Path(config.database.spool_dir).absolute()
    yield from _check_space("database.spool_dir", folder, config.database.spool_max_bytes)
    if exists(folder):
        yield from _check_spooled_rows(folder)


def _check_space(key: str, folder: Path, wanted: int = 0) -> Iterator[Finding]:
    """Look at the free space of a folder's disk."""
    there = next(path for path in (folder, *folder.parents) if exists(path))
    free = shutil.disk_usage(there).free
    size = f"{key}: {free // 2**20} MiB are free on the disk of {there}"
    if free < _LEAST_SPACE:
        yield Finding(BROKEN, size, "make room, or move it to another disk")
    elif free < wanted:
        yield Finding(
            WARNING, f"{size}, less than database.spool_max_bytes", "make room, or lower database.spool_max_bytes"
        )
    elif wanted:
        yield Finding(OK, size)


def _check_spooled_rows(folder: Path) -> Iterator[Finding]:
    try:
        reports = [*report_spools(folder)]
    except SpoolFailed as error:
        yield Finding(BROKEN, f"{error}; its rows can't be counted", "look at its disk: it may be full or damaged")
        return
    if left := sum(report.rows for report in reports if not report.is_alive):
        mend = "start the gateway, or aibridge db spool --flush"
        yield Finding(WARNING, f"{folder}: {left} rows of processes that ended wait for the database", mend)
    if refused := sum(report.refused for report in reports):
        mend = "aibridge db spool shows where; the manual's page Durability says what to do"
        yield Finding(WARNING, f"{folder}: the database refused {refused} rows", mend)

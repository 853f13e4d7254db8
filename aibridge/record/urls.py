"""URLs of databases, as SQLAlchemy and as PostgreSQL's own programs write them."""

import re
from importlib import import_module
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

POSTGRESQL = "postgresql+psycopg"
DRIVERS = ("sqlite", POSTGRESQL)
"""The drivers that are installed with the gateway, as a database's URL names them. Hosts may have others."""

_SHORT_SCHEMES = ("postgres", "postgresql")
# User and password end where SQLAlchemy ends them; a comma in a password separates nothing.
_SEVERAL_HOSTS = re.compile(r"((?>[^:/?#]+://(?:[^:/]*(?::[^@]*)?@)?))([^@/?#\[]*,[^@/?#\[]*)([/?#].*)?", re.DOTALL)
_REPEATED = ("host", "port")
"""The parameters that may come several times."""
_NUMBERS = (
    *("connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
    *("tcp_user_timeout", "prepare_threshold", "timeout", "cached_statements"),
)
_SQLITE_PARAMETERS = ("timeout", "cached_statements", "uri")
"""Parameters of Python's driver that leave transactions and threads to the gateway; ``uri`` brings in SQLite's own."""


def parse_url(text: str) -> URL:
    """Return the URL of a database. Raise ArgumentError if it is none.

    ``postgres://`` and ``postgresql://`` mean the driver psycopg. Several hosts may stand where one does, as in
    https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING
    """
    hosts: list[str] = []
    if several := _SEVERAL_HOSTS.fullmatch(text):
        text, hosts = several[1] + (several[3] or ""), several[2].split(",")
    try:
        url = make_url(text)
    except ValueError as error:  # of its port
        raise ArgumentError("a port is not a number") from error
    if url.drivername in _SHORT_SCHEMES:
        url = url.set(drivername=POSTGRESQL)
    return url.update_query_pairs([("host", host) for host in hosts], append=True)


def parameter_fault(url: URL) -> str | None:
    """Return the reason why the driver can't take the URL's parameters; None if it can. No value is in the words."""
    if url.drivername not in DRIVERS:
        return None
    names = _SQLITE_PARAMETERS if url.drivername == "sqlite" else _postgresql_parameters()
    for name, value in url.query.items():
        if name not in names and "uri" not in url.query:
            return f"has the parameter {name}, which {url.get_driver_name()} does not take here"
        if not isinstance(value, str):
            if name not in _REPEATED:
                return f"has the parameter {name} more than once"
        elif name in _NUMBERS and not value.isdecimal():
            return f"has the parameter {name}, which must be a whole number"
    return None


def _postgresql_parameters() -> set[str]:
    """Return the parameters of the installed libpq, and the one of psycopg that makes sense in a URL."""
    keywords = import_module("psycopg.pq").Conninfo.get_defaults()
    return {*(keyword.keyword.decode() for keyword in keywords), "prepare_threshold"}


def driver_fault(url: URL) -> str | None:
    """Return the reason why the database's driver can't be used, and what to do; None if it can."""
    if url.drivername != POSTGRESQL:
        return None
    try:
        import_module("psycopg")
    except ImportError:  # it is not installed, or has no libpq
        return "needs the package psycopg: pip install 'aibridge[postgresql]'"
    return None


def exists(path: Path) -> bool:
    """Return True if there is such a file or folder, and this user may enter the folders above it."""
    try:
        return path.exists()
    except PermissionError:
        return False


def sqlite_file(text: str) -> Path | None:
    """Return the file of a SQLite database; None for another database, and for one in memory."""
    url = parse_url(text)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if is_file else None

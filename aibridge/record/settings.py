"""The settings of the database of records."""

from typing import Any

from attrs import frozen
from sqlalchemy.exc import ArgumentError

from .. import settings
from .urls import DRIVERS, driver_fault, parameter_fault, parse_url

_DATABASES = ("sqlite", "postgresql")


def database_url() -> Any:
    """A URL in SQLAlchemy's form. It may contain a password, so it is not shown."""

    def check(value: str) -> str | None:
        try:
            url = parse_url(value)
        except ArgumentError:
            # SQLAlchemy's own message quotes the URL, with the password that may be in it.
            return "must be a database URL, such as sqlite:///aibridge.sqlite"
        if url.get_backend_name() not in _DATABASES:
            return f"must begin with {' or '.join(DRIVERS)}"
        return driver_fault(url) or parameter_fault(url)

    return settings.setting(str, check, repr=False)


@frozen(kw_only=True)
class DatabaseSettings:
    """The database of the records, and the spool that holds them while it is away. Raises `InvalidSetting`.

    Configuration files have ``retention_days`` in their table ``[record]``.
    """

    url: str = database_url()
    spool_dir: str | None = settings.text()
    """A folder; without one, nothing can be recorded while the database is away."""
    spool_max_bytes: int = settings.count(2**30)
    commit_timeout: float = settings.seconds(5.0)
    """Seconds; a database that takes longer counts as away."""
    wait: bool = settings.switch(False)
    """True to start although the server refuses the user, the password or the database's name, and to wait for it."""
    retention_days: int = settings.count(0, least=0, most=36_500)
    """The age at which records are deleted; 0 keeps them for ever."""

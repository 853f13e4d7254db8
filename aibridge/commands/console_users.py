"""The commands on users of the console."""

import sys
from collections.abc import Iterator
from getpass import getpass

from ..config.model import Config
from ..console.accounts import Accounts
from ..errors import ConfigError
from ..record import migrations
from ..record.audit import operator_entry
from ..record.values import utc_now
from .output import align_columns


def add_user(config: Config, name: str, role: str) -> Iterator[str]:
    """Add a user of the console. The password is asked for, or read from a pipe."""
    accounts = _accounts(config)
    if sys.stdin.isatty():
        password = getpass(f"Password for {name}: ")
        if getpass("The same again: ") != password:
            raise ConfigError("command line", "", "the two passwords differ; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    accounts.add(name, role, password, utc_now())
    accounts.record(operator_entry("add console user", name, role=role))
    yield f"{name} may sign in as {role}"


def list_users(config: Config) -> Iterator[str]:
    """List the users of the console."""
    accounts = _accounts(config).all()
    lines = [("NAME", "ROLE", "CREATED")]
    lines += [(each.name, each.role, each.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")) for each in accounts]
    yield from align_columns(lines)


def remove_user(config: Config, name: str) -> Iterator[str]:
    """Remove a user of the console, and end their sessions."""
    accounts = _accounts(config)
    if not accounts.remove(name):
        raise ConfigError("command line", "NAME", f"there is no user {name}")
    accounts.record(operator_entry("remove console user", name))
    yield f"{name} is removed"


def _accounts(config: Config) -> Accounts:
    migrations.require_current(config.database.url)
    return Accounts(config.database.url)

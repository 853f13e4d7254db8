"""The commands on the gateway's own keys."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from ..config.model import Config
from ..errors import ConfigError
from ..identity.key_store import KeyStore
from ..record import migrations
from ..record.audit import operator_entry
from ..record.urls import exists, sqlite_file
from .output import align_columns, write_note


def create_key(
    config: Config, actor: str | None, meta: Sequence[tuple[str, str]], expires: timedelta | None, console: str | None
) -> Iterator[str]:
    """Create a gateway key for an actor, or a key for the console's API, and print it. It can't be shown again."""
    if actor is None and console is None:
        raise ConfigError("command line", "--actor", "missing; give the key's owner")
    if migrations.current(config.database.url) is None:  # the first key may be older than the first gateway
        file = sqlite_file(config.database.url)
        if file is not None and not exists(file):
            write_note(f"a new database is made: {file.absolute()}")
        migrations.upgrade(config.database.url)
    yield _key_store(config).create(actor or "console", dict(meta), expires, console, operator_entry)


def list_keys(config: Config) -> Iterator[str]:
    """List all keys by their ids, each with its last two characters as a hint."""
    lines = [("ID", "ACTOR", "HINT", "CREATED", "EXPIRES", "REVOKED", "METADATA")]
    for key in _key_store(config).all():
        moments = (key.created_at, key.expires_at, key.revoked_at)
        times = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else "-" for moment in moments]
        console = {"console": key.console_role} if key.console_role is not None else {}
        metadata = " ".join(f"{name}={value}" for name, value in {**console, **key.metadata}.items())
        lines.append((str(key.id), key.actor, key.hint, times[0], times[1], times[2], metadata))
    yield from align_columns(lines)


def revoke_key(config: Config, key_id: UUID) -> Iterator[str]:
    """Revoke a key. Every gateway process refuses it within five seconds."""
    if not _key_store(config).revoke(key_id, operator_entry):
        raise ConfigError("command line", "ID", f"there is no key {key_id}")
    yield f"{key_id} is revoked"


def _key_store(config: Config) -> KeyStore:
    migrations.require_current(config.database.url)
    return KeyStore(config.database.url)

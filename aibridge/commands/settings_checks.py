"""The checks of ``aibridge doctor`` on the configuration and on the permissions of files."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from attrs import frozen

from ..config.checks import config_warnings
from ..config.model import Config
from ..record.urls import sqlite_file
from .findings import OK, WARNING, Finding

Table: TypeAlias = Mapping[str, object]

_SECRET_KEYS = {"api_key", "api_keys", "headers", "extra_headers", "env"}
_SECRET_FILES = ("api_key_file", "api_key_files", "url_file", "headers_file", "env_file", "tls_key", "client_cert")


@frozen
class ConfigFile:
    """The configuration file, as far as it can be read."""

    path: Path | None
    table: Table


def check_settings(file: ConfigFile, config: Config) -> Iterator[Finding]:
    """Look for settings that look wrong, and for a file that is not used."""
    unused = Path("aibridge.toml")
    if file.path is None and unused.is_file():
        yield Finding(WARNING, f"{unused}: in this folder, but not used", f"aibridge doctor --config {unused}")
    yield Finding(OK, f"configuration: {file.path or 'no file; the defaults and the environment'}")
    for warning in config_warnings(config):
        if not warning.startswith("database."):  # the checks of the database tell these
            is_unset = warning.endswith("is not set")
            yield Finding(WARNING, warning, "set it where the gateway starts" if is_unset else "correct this setting")


def check_permissions(file: ConfigFile, config: Config) -> Iterator[Finding]:
    """Look for files with secrets or prompts that other users of this machine can read."""
    private: dict[Path, str] = {}
    if file.path is not None:
        if _holds_secrets(file.table):
            private[file.path] = "contains secrets"
        for name in _secret_files(file.table):
            private[file.path.parent / name] = "contains a secret"
    if database := sqlite_file(config.database.url):
        private[database] = "contains prompts"
    if config.database.spool_dir:
        private[Path(config.database.spool_dir)] = "contains prompts while the database is away"
    for path, why in private.items():
        with suppress(OSError):
            if path.stat().st_mode & 0o077:
                mode = "700" if path.is_dir() else "600"
                yield Finding(WARNING, f"{path}: other users can reach it, and it {why}", f"chmod {mode} {path}")


def _holds_secrets(table: Table) -> bool:
    """Return True if a key, a password or a header for a provider is in the file itself."""
    for key, value in table.items():
        if key in _SECRET_KEYS and value:
            return True
        if isinstance(value, Mapping) and _holds_secrets(value):
            return True
        if key == "url" and isinstance(value, str) and urlsplit(value).password:
            return True
    return False


def _secret_files(table: Table) -> Iterator[str]:
    """Yield the names of the files that hold secrets."""
    for key, value in table.items():
        if key in _SECRET_FILES:
            yield from (name for name in _values(value) if isinstance(name, str))
        elif isinstance(value, Mapping):
            yield from _secret_files(value)


def _values(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else (value,)

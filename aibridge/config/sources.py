"""Settings as they lie over each other: environment, file, command line; and where each of them came from."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from attrs import Factory, define

from ..errors import ConfigError
from ..settings import InvalidSetting, kind_of

T = TypeVar("T")

KeyPath = tuple[str, ...]
"""A dotted key in its parts."""


def read_toml(path: str) -> dict[str, Any]:
    """What the file says, unchecked."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, "", f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "", "is not UTF-8") from error
    except ValueError as error:  # such as a number of more digits than Python reads
        raise ConfigError(path, "", f"is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(path, "", "is nested too deeply") from error


@define
class ConfigSources:
    """A file's table with the environment below it and the command line above it."""

    table: Mapping[str, Any]
    source: str
    """What the table was read from."""
    environ: Mapping[str, str] = Factory(dict)
    options: Mapping[str, tuple[KeyPath, str]] = Factory(dict)
    """For each option of the command line the key that it sets, and the value."""
    origins: dict[KeyPath, tuple[str, str]] = Factory(dict)
    """Source and key of each setting that is not the table's."""

    def error(self, path: KeyPath, why: str) -> ConfigError:
        """What is wrong with that setting, told where it was made."""
        source, key = self.origins.get(path, (self.source, ".".join(map(_as_key, path))))
        return ConfigError(source, key, why)

    def in_file(self, path: KeyPath, known: Iterable[str] | None = None) -> dict[str, Any]:
        """The table at that path, empty where there is none. Other keys than the known ones are errors."""
        value: Any = self.table
        for key in path:
            value = value.get(key, {})
        if type(value) is not dict:
            raise self.error(path, f"must be a table, not {kind_of(value)}")
        if known is not None:
            self._refuse_unknown(path, value, sorted(known))
        return value

    def in_environment(self, path: KeyPath, variable: str) -> dict[str, str]:
        """That variable as the setting at the path; nothing where it is unset or empty."""
        if value := self.environ.get(variable, "").strip():
            self.origins[path] = ("environment", variable)
            return {path[-1]: value}
        return {}

    def on_command_line(self, path: KeyPath) -> dict[str, str]:
        """What the options set in the table at that path."""
        found = {}
        for option, (key, value) in self.options.items():
            if key[:-1] == path:
                self.origins[key] = ("command line", option)
                found[key[-1]] = value
        return found

    def in_text_file(self, path: KeyPath, key: KeyPath, name: str) -> dict[str, str]:
        """The content, as the setting at the path, of the file that ``key`` names, relative to the table's own file."""
        self.origins[path] = (self.source, ".".join(key))
        try:
            return {path[-1]: (Path(self.source).parent / name).read_text(encoding="utf-8").strip()}
        except OSError as error:
            raise self.error(path, f"{name} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise self.error(path, "is not the name of a text file") from error

    def make(self, cls: type[T], path: KeyPath, values: Mapping[str, Any]) -> T:
        """The value of that class, or what is wrong with its settings."""
        try:
            return cls(**values)
        except InvalidSetting as error:
            raise self.error((*path, error.name), error.why) from error

    def _refuse_unknown(self, path: KeyPath, keys: Iterable[str], known: list[str]) -> None:
        for key in keys:
            if key not in known:
                nearest = get_close_matches(key, known, n=1, cutoff=0)[0]
                raise self.error((*path, key), f"unknown; the nearest known name is {nearest}")


def _as_key(part: str) -> str:
    """As TOML writes it, so that it stays on one line."""
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part)

"""The sources of settings: environment, file and command line, and which of them a setting came from."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from attrs import AttrsInstance, Factory, define, fields, fields_dict

from ..errors import ConfigError
from ..settings import KIND, InvalidSetting, kind_of

T = TypeVar("T", bound=AttrsInstance)

KeyPath = tuple[str, ...]
"""A dotted key, in its parts."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")  # https://toml.io/en/v1.0.0#keys


def read_toml(path: str) -> dict[str, Any]:
    """Return the content of a TOML file, unchecked. Raise ConfigError if there is none."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, "", f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "", "must be a text file in UTF-8") from error
    except ValueError as error:  # such as a number of more digits than Python reads
        raise ConfigError(path, "", f"must be TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(path, "", "is nested too deeply") from error


def keys_of(cls: type[AttrsInstance]) -> list[str]:
    """Return the keys that a table may have: the attributes of its class."""
    return [key.name for key in fields(cls)]


@define
class ConfigSources:
    """A file's table with the environment below it and the command line above it."""

    table: Mapping[str, Any]
    source: str
    """The name of the file that the table was read from."""
    environ: Mapping[str, str] = Factory(dict)
    options: Mapping[str, tuple[KeyPath, Any]] = Factory(dict)
    """For each option of the command line the key that it sets, and the value."""
    origins: dict[KeyPath, tuple[str, str]] = Factory(dict)
    """Source and key of each setting that did not come from the file."""
    texts: Mapping[KeyPath, str] = Factory(dict)
    """The text of each setting that a variable ``AIBRIDGE_…`` has put into the table."""
    warnings: list[str] = Factory(list)
    """Lines about settings that will not work, each with its key."""

    def error(self, path: KeyPath, why: str) -> ConfigError:
        """Return an error about the setting at that path, which names the setting's source."""
        # Keys are written as in TOML, which also keeps them on one line.
        written = ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in path)
        source, key = self.origins.get(path, (self.source, written))
        return ConfigError(source, key, why)

    def in_file(self, path: KeyPath, known: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the table at that path, empty if there is none. Raise ConfigError for a key that is not known."""
        value: Any = self.table
        for key in path:
            value = value.get(key, {})
        if type(value) is not dict:
            raise self.error(path, f"must be a table, not {kind_of(value)}")
        if known is not None:
            names = sorted(known)
            for key in value:
                if key not in names:
                    nearest = get_close_matches(key, names, n=1, cutoff=0)[0]
                    raise self.error((*path, key), f"unknown; the nearest known name is {nearest}")
        return value

    def in_environment(self, path: KeyPath, variable: str) -> dict[str, str]:
        """Return a variable as the setting at that path; nothing if the variable is unset or empty."""
        if value := self.environ.get(variable, "").strip():
            self.origins[path] = ("environment", variable)
            return {path[-1]: value}
        return {}

    def on_command_line(self, path: KeyPath) -> dict[str, Any]:
        """Return the settings that options make in the table at that path."""
        found = {}
        for option, (key, value) in self.options.items():
            if key[:-1] == path:
                self.origins[key] = ("command line", option)
                found[key[-1]] = value
        return found

    def in_text_file(self, path: KeyPath, key: KeyPath, name: str) -> dict[str, str]:
        """Return a file's content as the setting at that path. ``key`` named the file, relative to the table's own."""
        self.origins[path] = (self.source, ".".join(key))
        try:
            return {path[-1]: (Path(self.source).parent / name).read_text(encoding="utf-8").strip()}
        except OSError as error:
            raise self.error(path, f"{name} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise self.error(path, "must be the name of a text file") from error

    def make(self, cls: type[T], path: KeyPath, values: Mapping[str, Any]) -> T:
        """Return an object of a settings class. Raise ConfigError for the setting that it refuses."""
        texts = {
            key.name: text
            for key in fields_dict(cls).values()
            if key.metadata.get(KIND) is str
            and (text := self.texts.get((*path, key.name))) is not None
            and self.origins[(*path, key.name)][0] == "environment"  # and not the command line, which is above it
        }
        try:
            return cls(**{**values, **texts})
        except InvalidSetting as error:
            # An attribute that would be called as a word of Python has an underscore behind its name.
            raise self.error((*path, error.name.rstrip("_")), error.why) from error

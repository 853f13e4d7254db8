"""Settings by environment: ``AIBRIDGE_SECTION__KEY`` sets a key, above the file and below the command line.

The names are in capital letters, with two underscores between the parts of a key: ``AIBRIDGE_SERVER__LISTEN``. The name
of a provider or an MCP server has hyphens where the variable has single underscores. Lists and tables are written as in
TOML; so may be everything else.
"""

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Factory, define

from ..providers import USUAL_TYPES
from .sources import KeyPath

CONFIG_VARIABLE = "AIBRIDGE_CONFIG"
"""Names the configuration file where ``--config`` does not."""

VARIABLE_PREFIX = "AIBRIDGE_"
"""The beginning of the names of the gateway's own variables."""
_NAMED_SECTIONS = ("providers", "mcp")
_ALTERNATIVES = tuple({base, f"{base}_env", f"{base}_file"} for base in ("url", "api_key"))
"""Keys of which one table can have only one. That of the environment takes the place of the file's."""


@define
class EnvironmentSettings:
    """A file's table with the environment's settings in it."""

    table: dict[str, Any]
    origins: dict[KeyPath, tuple[str, str]] = Factory(dict)
    """Source and key of each setting of the environment."""
    texts: dict[KeyPath, str] = Factory(dict)
    """The text of each of them, for keys that hold text: ``5432`` may be a password."""

    def set(self, variable: str, path: KeyPath, text: str) -> None:
        """Set the key at that path. A table that is none in the file is left to be refused there."""
        table: Any = self.table
        for depth, part in enumerate(path[:-1], 1):
            if part not in table:  # an error about this table names the variable
                self.origins[path[:depth]] = ("environment", variable)
            table = table.setdefault(part, {})
            if type(table) is not dict:
                return
        for keys in _ALTERNATIVES:
            if path[-1] in keys:
                for key in keys & table.keys():
                    del table[key]
        table[path[-1]] = _parse(text)
        self.origins[path] = ("environment", variable)
        self.texts[path] = text


def apply_environment(table: dict[str, Any], environ: Mapping[str, str]) -> EnvironmentSettings:
    """Return the table with the settings of these variables in it. An empty variable counts as unset."""
    applied = EnvironmentSettings(table)
    for variable, value in sorted(environ.items()):
        path = _path(variable)
        if path and (text := value.strip()):
            if path[0] == "providers":
                table.setdefault("providers", {name: {} for name in USUAL_TYPES})
            applied.set(variable, path, text)
    return applied


def find_short_names(environ: Mapping[str, str], keys: Iterable[KeyPath]) -> dict[str, str]:
    """Return the variables that have one underscore between section and key, each with the name that it should have."""
    names = {VARIABLE_PREFIX + "_".join(path).upper(): VARIABLE_PREFIX + "__".join(path).upper() for path in keys}
    return {name: names[name] for name in sorted(names.keys() & environ.keys())}


def _path(variable: str) -> KeyPath:
    """Return the key that a variable sets; empty if the variable is none of these."""
    parts = variable.removeprefix(VARIABLE_PREFIX).lower().split("__")
    if not variable.startswith(VARIABLE_PREFIX) or len(parts) < 2 or not all(parts):
        return ()
    if parts[0] in _NAMED_SECTIONS and len(parts) > 2:
        parts[1] = parts[1].replace("_", "-")
    return tuple(parts)


def _parse(text: str) -> Any:
    """Return a value in TOML's form, or else the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text

"""The table of a provider's model names: patterns of the names that clients ask for, and the provider's own."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .. import settings
from ..errors import BadRequest

_GROUP = re.compile(r"\{(\d+)\}")


def model_table(usual: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Patterns over the asked name, each with the provider's name; ``{1}`` stands for the pattern's first group."""

    def check(value: dict[Any, Any]) -> str | None:
        for pattern, name in value.items():
            if type(pattern) is not str or type(name) is not str or not name:
                return "must have patterns, each with the name of a model"
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                return f"{pattern!r} must be a regular expression: {settings.on_one_line(error)}"
            if any(int(number) > groups for number in _GROUP.findall(name)):
                return f"{name!r} names a group that {pattern!r} does not have"
        return None

    return settings.setting(dict, check, factory=lambda: {**usual})


class ModelNames:
    """The provider's names for models, looked up in its table."""

    def __init__(self, table: Mapping[str, str], key: str) -> None:
        self._patterns = [(re.compile(pattern), name) for pattern, name in table.items()]
        self._key = key

    def find(self, asked: str) -> str:
        """Return the provider's name for a model: by the first pattern that matches. Raise BadRequest if none does."""
        if not self._patterns:
            return asked
        for pattern, name in self._patterns:
            if match := pattern.search(asked):
                return _GROUP.sub(lambda group: match[int(group[1])] or "", name)
        raise BadRequest(
            f"model: {asked[:100]!r} matches no pattern of {self._key}, the table of this gateway's models."
        )

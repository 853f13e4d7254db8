"""Fields anywhere in a JSON object, named by paths such as ``tools.*.defer_loading``, and their removal from its text.

A path has the names of members and, for elements of a list, a number or ``*``. APIs that name a field in an error put
the type of an object into its path as well (``tools.0.custom.defer_loading``): such a part is a path's own, too. Every
byte outside of what is removed stays.
"""

import re
from collections.abc import Mapping, Sequence

from . import json_splice, jsontext

Path = tuple[str, ...]
"""The parts of a path."""

_ANY = "*"


def parse_path(text: str) -> Path:
    """Return the parts of a path as it is written, with dots between them."""
    return tuple(text.split("."))


def generalized(path: Path) -> Path:
    """Return the path with every number in it replaced by ``*``."""
    return tuple(re.sub(r"^\d+$", _ANY, part) for part in path)


def is_present(value: object, path: Path) -> bool:
    """Return True if a JSON value has a field at this path."""
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        if first != _ANY:
            return first.isdigit() and int(first) < len(value) and bool(rest) and is_present(value[int(first)], rest)
        return bool(rest) and any(is_present(element, rest) for element in value)
    if not isinstance(value, Mapping):
        return False
    if not rest:
        return first in value
    if isinstance(value.get(first), dict | list):
        return is_present(value[first], rest)
    return _is_type(first, value.get("type")) and is_present(value, rest)


def remove_fields(body: bytes, paths: Sequence[Path]) -> bytes:
    """Return the JSON object `body` without the fields at these paths. Raise ValueError if it is no object."""
    return _without(body.decode(), paths).encode()


def _without(text: str, paths: Sequence[Path]) -> str:
    """Return the text of a JSON value without the fields at these paths within it."""
    if not paths:
        return text
    if text.startswith("["):
        return _elements_without(text, paths)
    return _members_without(text, paths) if text.startswith(("{", "\ufeff", " ", "\t", "\n", "\r")) else text


def _members_without(text: str, paths: Sequence[Path]) -> str:
    own = {member.key: text[member.value_start : member.end] for member in json_splice.members(text)}
    kind = jsontext.load(own.get("type", "null").encode())
    paths = [*paths]
    for path in paths:  # which grows: parts that are the object's type lead to the object itself
        if len(path) > 1 and not own.get(path[0], "").startswith(("{", "[")) and _is_type(path[0], kind):
            paths.append(path[1:])
    changes: dict[str, str | None] = {}
    for key, value in own.items():
        if (key,) in paths:
            changes[key] = None
            continue
        shorter = _without(value, [path[1:] for path in paths if len(path) > 1 and path[0] == key])
        if shorter is not value:
            changes[key] = shorter
    return json_splice.change_text(text, changes) if changes else text


def _elements_without(text: str, paths: Sequence[Path]) -> str:
    parts: list[str] = []
    at = 0
    for number, (start, end) in enumerate(json_splice.element_places(text)):
        deeper = [path[1:] for path in paths if len(path) > 1 and path[0] in (_ANY, str(number))]
        element = text[start:end]
        shorter = _without(element, deeper)
        if shorter is not element:
            parts += [text[at:start], shorter]
            at = end
    return "".join([*parts, text[at:]]) if parts else text


def _is_type(part: str, kind: object) -> bool:
    """Return True if a part of a path is an object's type, which a tool of the client's own need not have."""
    return part == kind or (part == "custom" and kind is None)

"""JSON as a client or a provider sends it: read, written, and searched without trust in its shape.

orjson is fast, but it refuses JSON that it can't represent (escapes of lone surrogates, deep nesting). The standard
library reads that more slowly. https://www.rfc-editor.org/rfc/rfc8259#section-8.2
"""

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import NoReturn

import msgspec
import orjson

from .sse import BOM

_MAX_WITH_CONSTANTS = 8 * 1024 * 1024
_MAX_DIGITS = 300  # a float has up to 309 before its point

JsonObject = Mapping[str, object]
"""A JSON object that was sent by somebody else: each member may have any type."""


def load(data: bytes) -> object:
    """Return the value of a JSON text in UTF-8, with or without a byte order mark. ValueError if it is invalid."""
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = _load_slowly(data, _refuse_constant)
    return value


def load_exactly(data: bytes) -> object:
    """Return the value as `load` does, but with whole numbers of more than 64 bits, which `load` makes floats."""
    try:
        value: object = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        value = load(data)
    return value


def load_object(data: bytes) -> dict[str, object] | None:
    """Return the JSON object in `data`, or None if it holds anything else.

    Some providers write NaN and Infinity, which are not JSON. Such a value is None, in a text of at most 8 MiB: only a
    slow parser reads them.
    """
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            value = _load_slowly(data, _refuse_constant if len(data) > _MAX_WITH_CONSTANTS else lambda name: None)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _load_slowly(data: bytes, parse_constant: Callable[[str], object]) -> object:
    """Return the value of a JSON text that the fast parser refuses."""
    text = data.removeprefix(BOM).decode()
    try:
        value: object = json.loads(text, parse_constant=parse_constant, parse_float=_finite, parse_int=_short)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _finite(text: str) -> float | None:
    """Return a number; None for one that is too large for a float."""
    number = float(text)
    return number if isfinite(number) else None


def _short(text: str) -> int | None:
    """Return an integer; None for one of so many digits that it takes long to read, and no figure has them."""
    return int(text) if len(text) <= _MAX_DIGITS else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def dump(value: object) -> bytes:
    """Return the JSON text of any value that `load` can return."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


# Parts of a document whose shape is not known


def objects(value: object) -> list[dict[str, object]]:
    """Return the objects in a list; an empty list if `value` is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def nonempty_str(value: object) -> str | None:
    """Return a string that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def int_or_none(value: object) -> int | None:
    """Return an integer, or None for any other type."""
    return value if isinstance(value, int) else None

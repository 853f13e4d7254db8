"""Reading and writing JSON: fast where it is plain, tolerant where the wire is.

orjson refuses what it can't represent (escapes of lone surrogates, deep nesting) although it is JSON; the standard
library, slower, reads it. https://www.rfc-editor.org/rfc/rfc8259#section-8.2
"""

import json
from typing import Any, NoReturn

import orjson

from .sse import BOM


def load(data: bytes) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark. ValueError where it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _load_slowly(data)


def load_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object, or None where the bytes are none: what a provider sends is read along, never relied on."""
    try:
        value = load(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def dump(value: Any) -> bytes:
    """The JSON text of a value, of whatever `load` may have given."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _load_slowly(data: bytes) -> Any:
    try:
        return json.loads(data.removeprefix(BOM).decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

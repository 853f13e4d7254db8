"""Text that every database takes.

PostgreSQL refuses NUL in text, and neither database nor UTF-8 knows a lone surrogate. Both are legal in JSON,
so a client can send them. They are kept, visibly: as the six characters of their JSON escape.
"""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import orjson

LONGEST_INDEXED = 512
"""Characters, of up to 4 bytes each."""
LONGEST_KEPT = 400

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text, with what can't be stored escaped."""
    # Nearly all text is clean, and an encoder finds that out faster than a pattern does.
    if "\0" not in text and (text.isascii() or _is_utf8(text)):
        return text
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def are_plain(texts: Iterable[str | None]) -> bool:
    """Whether all of them are stored just as they are, indexed ones too: so it is with nearly all that are short."""
    joined = "".join(filter(None, texts))
    return len(joined) <= LONGEST_INDEXED and joined.isascii() and "\0" not in joined


def bounded(text: str) -> str:
    """The text as an index can hold it: a longer one is cut, and ends with an ellipsis and a hash of the whole.

    So it stays distinct, and equal to the same text elsewhere. PostgreSQL takes no entry over 2,704 bytes into a
    B-tree, and with the entry refuses the row: https://www.postgresql.org/docs/15/btree-implementation.html
    """
    text = storable(text)
    if len(text) <= LONGEST_INDEXED:
        return text
    return f"{text[:LONGEST_KEPT]}…{sha256(text.encode()).hexdigest()[:32]}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable_json(value: Any) -> str:
    """The value as JSON, with what can't be stored escaped. ValueError or TypeError for what JSON can't say."""
    if value == {}:
        return "{}"
    try:
        encoded = orjson.dumps(value)
    except TypeError:  # a lone surrogate, an integer of more than 64 bits, a mapping that is no dict
        return _escaped_json(value)
    text = encoded.decode()
    return _escaped_json(value) if r"\u0000" in text else text


def _escaped_json(value: Any) -> str:
    return json.dumps(_escaped(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(name): _escaped(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value

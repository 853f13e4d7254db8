"""Ids of rows: version 7 UUIDs, whose order is that of time, so that indexes grow at their end.

https://www.rfc-editor.org/rfc/rfc9562#section-5.7
"""

import json
import os
import random
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from time import time_ns
from typing import Any
from uuid import UUID, SafeUUID

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


_VERSION_7_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_LOW_62 = (1 << 62) - 1
_new, _set, _UNKNOWN = object.__new__, object.__setattr__, SafeUUID.unknown

# os.urandom would give up the interpreter's lock each time. Our own, for a host may seed the shared one as it likes.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)


def text_of(id_: UUID) -> str:
    """The same as `str`."""
    return text_of_int(id_.int)


def new_id() -> UUID:
    """An id that nobody has used. It is no secret."""
    noise = _random.getrandbits(74)
    return _uuid((time_ns() // 1_000_000) << 80 | (noise >> 62) << 64 | noise & _LOW_62 | _VERSION_7_AND_VARIANT)


def _uuid(number: int) -> UUID:
    """The same as ``UUID(int=number)``, without its checks, which take most of the time: an exchange has three."""
    id_ = _new(UUID)
    _set(id_, "int", number)
    _set(id_, "is_safe", _UNKNOWN)
    return id_


@lru_cache(maxsize=1024)
def text_of_int(number: int) -> str:
    """The text of the id that is this number. An exchange's own is in each of its rows, in a header and in the log."""
    digits = number.to_bytes(16, "big").hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

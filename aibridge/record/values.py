"""Values of columns: ids, times, and text and JSON in a form that every database can hold."""

import json
import os
import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from hashlib import sha256
from time import time_ns
from uuid import UUID, SafeUUID

import orjson

# Times


utc_now: Callable[[], datetime] = partial(datetime.now, UTC)
"""Returns the present time, as it goes into records."""


# Ids: UUIDs of version 7, whose order is that of time, so that indexes grow at their end.
# https://www.rfc-editor.org/rfc/rfc9562#section-5.7

_VERSION_7_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_LOW_62 = (1 << 62) - 1
_new, _set, _UNKNOWN = object.__new__, object.__setattr__, SafeUUID.unknown

# os.urandom would give up the interpreter's lock each time. Our own, for a host may seed the shared one as it likes.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> UUID:
    """Return a new unique id. It is no secret."""
    noise = _random.getrandbits(74)
    number = (time_ns() // 1_000_000) << 80 | (noise >> 62) << 64 | noise & _LOW_62 | _VERSION_7_AND_VARIANT
    # UUID(int=number) without its checks, which take most of the time: an exchange has three ids.
    id_ = _new(UUID)
    _set(id_, "int", number)
    _set(id_, "is_safe", _UNKNOWN)
    return id_


def text_of(id_: UUID) -> str:
    """Return the same as `str`, faster for an id that is asked for again. `text_of_int` saves a call."""
    return text_of_int(id_.int)


@lru_cache(maxsize=1024)
def text_of_int(number: int) -> str:
    """Return the text of the id with that number. An exchange's own is in each of its rows, in a header and the log."""
    digits = number.to_bytes(16, "big").hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# Text

LONGEST_INDEXED = 512
"""Characters of a text that an index holds as it is, of up to 4 bytes each."""
LONGEST_KEPT = 400
"""Characters that are kept of a longer one."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates escaped: not every database can store them."""
    # Nearly all text is clean, and an encoder finds that out faster than a pattern does.
    if "\0" not in text and (text.isascii() or _is_utf8(text)):
        return text
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def bounded(text: str) -> str:
    """Return the text as an index can hold it: a long one is cut, and ends with an ellipsis and a hash of the whole.

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


# JSON


def storable_json(value: object) -> str:
    """Return the value as JSON, with NUL and lone surrogates escaped.

    ValueError or TypeError if the value has no form in JSON.
    """
    try:
        encoded = orjson.dumps(value)
    except TypeError:  # a lone surrogate, an integer of more than 64 bits, a mapping that is no dict
        return _escaped_json(value)
    text = encoded.decode()
    return _escaped_json(value) if r"\u0000" in text else text


def _escaped_json(value: object) -> str:
    return json.dumps(_escaped(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(name): _escaped(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value

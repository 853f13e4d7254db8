"""Ids of rows: version 7 UUIDs, whose order is that of time, so that indexes grow at their end.

https://www.rfc-editor.org/rfc/rfc9562#section-5.7
"""

import os
import random
from functools import lru_cache
from time import time_ns
from uuid import UUID, SafeUUID

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

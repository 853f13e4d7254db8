"""Ids of rows: version 7 UUIDs, whose order is that of time, so that indexes grow at their end.

https://www.rfc-editor.org/rfc/rfc9562#section-5.7
"""

import os
import random
import time
from functools import lru_cache
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62

# os.urandom would give up the interpreter's lock each time. Our own, for a host may seed the shared one as it likes.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)


def text_of(id_: UUID) -> str:
    """The same as `str`."""
    return text_of_int(id_.int)


def new_id() -> UUID:
    """An id that nobody has used. It is no secret."""
    milliseconds = time.time_ns() // 1_000_000
    noise = _random.getrandbits(74)
    rand_a, rand_b = noise >> 62, noise & (1 << 62) - 1
    return UUID(int=milliseconds << 80 | _VERSION_7 | rand_a << 64 | _VARIANT | rand_b)


@lru_cache(maxsize=1024)
def text_of_int(number: int) -> str:
    """The text of the id that is this number. An exchange's own is in each of its rows, in a header and in the log."""
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

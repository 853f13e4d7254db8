"""Ids of rows: version 7 UUIDs, whose order is that of time, so that indexes grow at their end.

https://www.rfc-editor.org/rfc/rfc9562#section-5.7
"""

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def new_id() -> UUID:
    """An id that nobody has used."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    high = (milliseconds & (1 << 48) - 1) << 80
    rand_a = (noise >> 62 & 0xFFF) << 64
    rand_b = noise & (1 << 62) - 1
    return UUID(int=high | _VERSION_7 | rand_a | _VARIANT | rand_b)

"""Amazon's event streams: messages in a binary frame, each with two checksums. Bytes alone, no I/O.

A message is a prelude (its length, the length of its headers, and the CRC of both), headers, a payload, and the CRC of
all that. https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from zlib import crc32

from attrs import Factory, frozen

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
MAX_MESSAGE = 24 * 1024 * 1024
"""Bytes of the longest message that is accepted; the format itself allows no longer ones."""
_MAX_HEADERS = 128 * 1024
_USUAL_HEADERS = 256
_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_LEAST = _PRELUDE.size + _CRC.size
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: true, false, byte, short, integer, long, timestamp and UUID."""
_TEXT = 7
_WITH_LENGTH = (6, _TEXT)
"""The types whose values are preceded by their length: bytes and text."""


class EventStreamError(ValueError):
    """The bytes are no event stream. The message says why, in words for the client."""


@frozen
class Message:
    """A message's headers and its payload."""

    headers: Mapping[str, str] = Factory(dict)
    """The headers that hold text, by name. All that Bedrock sends do."""
    payload: bytes = b""


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return the bytes of a message."""
    block = b"".join(
        b"%c%b%c%b%b" % (len(name), name.encode(), _TEXT, _LENGTH.pack(len(text.encode())), text.encode())
        for name, text in headers.items()
    )
    lengths = struct.pack(">II", _LEAST + len(block) + len(payload), len(block))
    begun = lengths + _CRC.pack(crc32(lengths)) + block + payload
    return begun + _CRC.pack(crc32(begun))


class MessageSplitter:
    """Splits an event stream that arrives in pieces into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = _PRELUDE.size
        """Bytes that must be there before there is anything more to read."""

    @property
    def is_between_messages(self) -> bool:
        """True if no message has begun that is not whole."""
        return not self._rest

    def add(self, data: bytes) -> None:
        """Take bytes of the stream."""
        self._rest += data

    def next(self) -> Message | None:
        """Remove the first message and return it; None if it is not whole yet. Raise EventStreamError if it is none."""
        rest = self._rest
        if len(rest) < self._needed:
            return None
        total, header_size, crc = _PRELUDE.unpack_from(rest)
        if self._needed == _PRELUDE.size:  # a new message
            if crc32(rest[:8]) != crc:
                raise EventStreamError("the checksum of a message's prelude is wrong")
            if not _LEAST <= total <= MAX_MESSAGE or header_size > min(total - _LEAST, _MAX_HEADERS):
                raise EventStreamError("a message's length is impossible")
            self._needed = total
            if len(rest) < total:
                return None
        raw = bytes(rest[:total])
        if crc32(raw[:-4]) != _CRC.unpack_from(raw, total - 4)[0]:
            raise EventStreamError("the checksum of a message is wrong")
        del rest[:total]
        self._needed = _PRELUDE.size
        start = _PRELUDE.size + header_size
        headers = raw[_PRELUDE.size : start]
        # The messages of a stream mostly have the same headers.
        read = _read_known_headers if len(headers) <= _USUAL_HEADERS else _read_headers
        return Message(read(headers), raw[start:-4])


def _read_headers(raw: bytes) -> Mapping[str, str]:
    """Return the headers that hold text. Raise EventStreamError if the bytes are no headers."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(raw):
            name_end = at + 1 + raw[at]
            name, kind = raw[at + 1 : name_end], raw[name_end]
            at = name_end + 1
            if kind in _WITH_LENGTH:
                size = _LENGTH.unpack_from(raw, at)[0]
                at += _LENGTH.size
            else:
                size = _FIXED_SIZES[kind]
            value = raw[at : at + size]
            at += size
            if kind == _TEXT:
                found[name.decode()] = value.decode()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise EventStreamError("a message's headers can't be read") from error
    if at != len(raw):
        raise EventStreamError("a message's headers are cut off")
    return found


_read_known_headers = lru_cache(maxsize=64)(_read_headers)

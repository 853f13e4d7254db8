"""The body of a request as it arrives: of a length that its head tells, or in chunks. Both are bounded.

https://www.rfc-editor.org/rfc/rfc9112#section-7.1
"""

import re
from enum import Enum
from typing import Protocol

from ..errors import BadRequest, BodyTooLarge
from .head import read_header

MAX_SIZE_LINE = 1024
"""Bytes of the line before a chunk: its size, and extensions, which nobody reads."""
MAX_TRAILERS = 64 * 1024
"""Bytes of the headers behind the last chunk, which nobody reads either."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]*)(?:;[\t\x20-\x7e\x80-\xff]*)?")


class BodyReader(Protocol):
    """Gathers the body of one request."""

    complete: bool

    def feed(self, data: bytes) -> bytes:
        """Read on, and return what follows the body; nothing unless the body is complete. A GatewayError refuses it."""

    def content(self) -> bytes:
        """Return the whole body."""


class SizedBody:
    """A body whose length is known."""

    def __init__(self, length: int) -> None:
        self.complete = length == 0
        self._missing = length
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        piece = data[: self._missing]
        self._pieces.append(piece)
        self._missing -= len(piece)
        self.complete = not self._missing
        return data[len(piece) :]

    def content(self) -> bytes:
        return b"".join(self._pieces)


class _Part(Enum):
    """The next line of a body in chunks."""

    SIZE = "the line before a chunk"
    END = "the empty line behind a chunk"
    TRAILER = "a header behind the last chunk, or the empty line at the end"


class ChunkedBody:
    """A body in chunks, of at most `limit` bytes.

    ::

        SIZE ──> the chunk ──> END ──> SIZE …
          │
          └── of a chunk of 0 bytes ──> TRAILER ──> TRAILER … ──> complete
    """

    def __init__(self, limit: int) -> None:
        self.complete = False
        self._limit = limit
        self._size = 0
        self._missing = 0
        """Bytes of the chunk that are still to come."""
        self._part = _Part.SIZE
        self._line = b""
        """The beginning of a line whose end has not come yet."""
        self._trailers_left = MAX_TRAILERS
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        data, at = self._line + data, 0
        self._line = b""
        while not self.complete:
            if self._missing:
                piece = data[at : at + self._missing]
                self._pieces.append(piece)
                self._missing -= len(piece)
                at += len(piece)
                if self._missing:
                    return b""
            end = data.find(b"\r\n", at)
            if end < 0:
                self._line = data[at:]
                self._check_beginning(self._line.removesuffix(b"\r"))
                return b""
            self._read_line(data[at:end])
            at = end + 2
        return data[at:]

    def content(self) -> bytes:
        return b"".join(self._pieces)

    def _read_line(self, line: bytes) -> None:
        if self._part is _Part.SIZE:
            size = self._read_size(line)
            if size is None:
                raise _malformed()
            self._size += size
            self._missing = size
            self._part = _Part.END if size else _Part.TRAILER
        elif self._part is _Part.END:
            if line:
                raise _malformed()
            self._part = _Part.SIZE
        elif line:
            self._trailers_left -= len(line) + 2
            if self._trailers_left < 0:
                raise _malformed()
            read_header(line)  # nobody reads it, but it must be what it seems
        else:
            self.complete = True

    def _check_beginning(self, line: bytes) -> None:
        """Refuse at once what can't become the next line, or a body within the limits, whatever follows."""
        if self._part is _Part.SIZE:
            self._read_size(line)
        elif len(line) > (self._trailers_left if self._part is _Part.TRAILER else 0):
            raise _malformed()

    def _read_size(self, line: bytes) -> int | None:
        """The size of a chunk, None if the line has no digit."""
        match = _SIZE_LINE.fullmatch(line)
        if match is None or len(line) > MAX_SIZE_LINE:
            raise _malformed()
        size = int(match[1], 16) if match[1] else None
        if size is not None and self._size + size > self._limit:
            raise too_large(self._limit)
        return size


def reader_for(length: int | None, limit: int) -> BodyReader:
    """A reader for a body of this length, None for one in chunks. BodyTooLarge if the length is over the limit."""
    if length is None:
        return ChunkedBody(limit)
    if length > limit:
        raise too_large(limit)
    return SizedBody(length)


def too_large(limit: int) -> BodyTooLarge:
    """The refusal of a larger body."""
    return BodyTooLarge(f"Request body too large: at most {limit} bytes.")


def _malformed() -> BadRequest:
    return BadRequest("Invalid chunked body: it is not framed as HTTP/1.1 demands.")

"""The body of a request as it arrives, of a length that is told before or in chunks, and bounded in either case."""

from typing import Protocol

# Private, but the one decoder that Twisted has; what it is used for here is pinned by tests.
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from ..errors import BadRequest, BodyTooLarge
from .head import read_field


class BodyReader(Protocol):
    """What a connection needs of a body."""

    whole: bool

    def feed(self, data: bytes) -> bytes:
        """Takes what belongs to the body, and returns what comes behind it."""

    def content(self) -> bytes:
        """All of it."""


class SizedBody:
    """A body of so many bytes."""

    def __init__(self, length: int) -> None:
        self.whole = length == 0
        self._missing = length
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        piece, rest = data[: self._missing], data[self._missing :]
        self._pieces.append(piece)
        self._missing -= len(piece)
        self.whole = not self._missing
        return rest

    def content(self) -> bytes:
        return b"".join(self._pieces)


class ChunkedBody:
    """A body in chunks, of up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.whole = False
        self._limit = limit
        self._size = 0
        self._pieces: list[bytes] = []
        self._rest = b""
        self._decoder = _ChunkedTransferDecoder(self._add, self._finish)

    def feed(self, data: bytes) -> bytes:
        try:
            self._decoder.dataReceived(data)
        except _MalformedChunkedDataError:
            raise BadRequest("The chunks of the body are not written as HTTP demands.") from None
        return self._rest

    def content(self) -> bytes:
        return b"".join(self._pieces)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise too_large(self._limit)
        self._pieces.append(piece)

    def _finish(self, rest: bytes) -> None:
        # Nobody reads what follows the last chunk, but it must be what it seems.
        for line in self._decoder._trailerHeaders:
            read_field(bytes(line))
        self._rest = rest
        self.whole = True


def reader_for(length: int | None, limit: int) -> BodyReader:
    """The body of a request whose head says that it has this length, None for chunks. BodyTooLarge over the limit."""
    if length is None:
        return ChunkedBody(limit)
    if length > limit:
        raise too_large(limit)
    return SizedBody(length)


def too_large(limit: int) -> BodyTooLarge:
    """What a client is told whose body is larger than that."""
    return BodyTooLarge(f"The body is over the {limit} bytes that are allowed here.")

"""Responses without their content codings. They are unpacked as they come, in small pieces.

A response has to be read to be recorded, so the gateway asks for none of these; some servers and proxies use them
nevertheless. https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Protocol, cast

import zstandard
from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from ..errors import UpstreamBroke

_PIECE = 64 * 1024
"""Bytes that a decoder returns at once."""
_ZSTD_INPUT = 128
"""Bytes that go into zstd at once: 4 of them may unpack to 128 KiB, and zstd returns all of that together."""
_ZSTD_WINDOW = 8 * 1024 * 1024  # what RFC 8878 asks every decoder to support
_MAX_CODINGS = 3


class Decoder(Protocol):
    """Unpacks one content coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what this piece unpacks to. Raise ValueError if it is not packed in that way."""

    @property
    def finished(self) -> bool:
        """True if nothing is missing at the end of the pieces so far."""


def decoded(response: IResponse) -> IResponse | None:
    """Return a response without its content codings, or None if one of them can't be unpacked here."""
    given = response.headers.getRawHeaders(b"content-encoding")
    if not given:
        return response
    named = map(str.strip, b",".join(given).decode("latin-1").lower().split(","))
    names = [name for name in named if name not in ("", "identity")]
    if len(names) > _MAX_CODINGS or not all(name in _DECODERS for name in names):
        return None
    try:
        decoders = [_DECODERS[name]() for name in reversed(names)]
    except ImportError:
        return None
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"content-length")
    return DecodedResponse(response, decoders)


class DecodedResponse(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body is unpacked by these decoders, one after another."""

    original: IResponse

    def __init__(self, original: IResponse, decoders: Iterable[Decoder]) -> None:
        super().__init__(original)
        self.length = UNKNOWN_LENGTH
        self._decoders = decoders

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body to a protocol, as the response itself does.

        If the packed data is cut off, the reason of its end is `PotentialDataLoss`: only what was unpacked can tell
        whether something is missing.
        """
        self.original.deliverBody(_BodyDecoder(self._decoders, protocol))


@implementer(IProtocol, IPushProducer)
class _BodyDecoder:
    """The receiver of a packed body, and the transport of its reader. What the reader can't take yet stays packed."""

    def __init__(self, decoders: Iterable[Decoder], reader: IProtocol) -> None:
        self._decoders = decoders
        self._reader = reader
        self._packed: deque[bytes] = deque()
        self._is_empty = True
        self._unpacking: Iterator[bytes] = iter(())
        self._end: Failure | None = None
        self._told = False
        self._paused = False
        self._delivering = False

    # The receiver of the packed body

    def makeConnection(self, transport: ITransport) -> None:
        """Connect the reader."""
        self.transport = cast(IPushProducer, transport)
        self._reader.makeConnection(cast(ITransport, self))

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` has connected the reader."""

    def dataReceived(self, data: bytes) -> None:
        """Unpack a piece, now or when the reader goes on."""
        self._is_empty = False
        self._packed.append(data)
        self._deliver()

    def connectionLost(self, reason: Failure) -> None:
        """Tell the reader once it has everything."""
        if self._end is None:
            self._end = reason
            self._deliver()

    # The transport of the reader

    def pauseProducing(self) -> None:
        """The reader takes no more for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The reader goes on: first with what is here."""
        self._paused = False
        self._deliver()
        if not self._paused and self._end is None:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The reader wants nothing more but the end."""
        self._packed.clear()
        self._unpacking = iter(())
        self._paused = False
        self.transport.stopProducing()
        if self._end is not None:
            self._deliver()

    loseConnection = abortConnection = stopProducing

    def _deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        try:
            while not self._paused:
                piece = next(self._unpacking, None)
                if piece is not None:
                    self._reader.dataReceived(piece)
                elif self._packed:
                    self._unpacking = iter((self._packed.popleft(),))
                    for decoder in self._decoders:
                        self._unpacking = _through(decoder, self._unpacking)
                else:
                    break
        except ValueError as error:  # the rest can't be unpacked: the body is broken off
            self._end = Failure(UpstreamBroke(f"The body is not packed as its Content-Encoding says: {error}"))
            self.stopProducing()
        finally:
            self._delivering = False
        if self._end is not None and not self._paused and not self._told:
            self._told = True
            if self._end.check(ResponseDone) and not (self._is_empty or all(each.finished for each in self._decoders)):
                self._end = Failure(PotentialDataLoss("the packed data ended before its end"))
            self._reader.connectionLost(self._end)


def _through(decoder: Decoder, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from decoder.decode(piece)


class _Marked:
    """Passes a body on as it is if it does not begin with the mark of its coding: some servers only name a coding."""

    def __init__(self, marks: tuple[bytes, ...], decoder: Decoder) -> None:
        self._marks = marks
        self._decoder = decoder
        self._head: bytes | None = b""
        """The beginning of the body, until it is long enough to be judged; None from then on."""
        self._is_packed = True

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._head is not None:
            data = self._head + data
            if any(mark != data and mark.startswith(data) for mark in self._marks):
                self._head = data
                return
            self._head = None
            self._is_packed = data.startswith(self._marks)
        if self._is_packed:
            yield from self._decoder.decode(data)
        else:
            yield data

    @property
    def finished(self) -> bool:
        return self._head is None and (not self._is_packed or self._decoder.finished)


class _Inflater:
    """gzip, or zlib: whatever follows the end of one packed stream is the next."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._inflate = zlib.decompressobj(window)

    def decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._inflate.eof and data:
                self._inflate = zlib.decompressobj(self._window)
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise ValueError(str(error)) from error
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            if not data and len(piece) < _PIECE:
                return

    @property
    def finished(self) -> bool:
        return self._inflate.eof


class _Deflate:
    """``deflate``: zlib by the book, and its content without a frame from servers that know it by its name only."""

    def __init__(self) -> None:
        self._head = b""
        self._inflater: _Inflater | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._head = self._head, b""
            framed = data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._inflater = _Inflater(zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)
        yield from self._inflater.decode(data)

    @property
    def finished(self) -> bool:
        return self._inflater is not None and self._inflater.finished


class _Zstd:
    """zstd, of one frame or several."""

    def __init__(self) -> None:
        self._decompress = self._new_frame()

    def _new_frame(self) -> "zstandard.ZstdDecompressionObj":
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_INPUT):
            rest = data[at : at + _ZSTD_INPUT]
            while rest:
                if self._decompress.eof:
                    self._decompress = self._new_frame()
                try:
                    piece = self._decompress.decompress(rest)
                except zstandard.ZstdError as error:
                    raise ValueError(str(error)) from error
                if piece:
                    yield piece
                rest = self._decompress.unused_data

    @property
    def finished(self) -> bool:
        return self._decompress.eof


class _Brotli:
    """br, by the package of the extra ``aibridge[brotli]``."""

    def __init__(self) -> None:
        self._package = import_module("brotli")
        self._brotli = self._package.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        while not self._brotli.is_finished():
            try:
                piece: bytes = self._brotli.process(data, output_buffer_limit=_PIECE)
            except self._package.error as error:
                raise ValueError(str(error)) from error
            if not piece and self._brotli.can_accept_more_data():
                return
            yield piece
            data = b""

    @property
    def finished(self) -> bool:
        return bool(self._brotli.is_finished())


def _gzip() -> Decoder:
    return _Marked((b"\x1f\x8b",), _Inflater(zlib.MAX_WBITS | 16))


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _Deflate,
    "zstd": lambda: _Marked((b"\x28\xb5\x2f\xfd",), _Zstd()),
    "br": _Brotli,
}

"""Reading through compressed bodies, with a bound on what they may unpack to.

Content codings: https://www.rfc-editor.org/rfc/rfc9110#section-8.4
"""

import zlib

import zstandard

from ..errors import BadRequest, BodyTooLarge

_EITHER_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_LARGEST_WINDOW = 128 * 1024 * 1024
_MOST_CODINGS = 3  # each unpacks up to the whole limit, so a long list of them would be a bomb too


def decode_body(body: bytes, codings: str, limit: int) -> bytes:
    """A request's body without its codings. BodyTooLarge as soon as it would unpack to more than `limit` bytes."""
    names = [name.strip().lower() for name in codings.split(",")]
    applied = [name for name in names if name not in ("", "identity")]
    if len(applied) > _MOST_CODINGS:
        raise BadRequest(f"The body has more than {_MOST_CODINGS} content codings.")
    for coding in reversed(applied):
        body = _decode(body, coding, limit)
    return body


def _decode(body: bytes, coding: str, limit: int) -> bytes:
    if coding in ("gzip", "x-gzip", "deflate"):
        return _inflate(body, limit)
    if coding == "zstd":
        return _unpack_zstd(body, limit)
    raise BadRequest(f"Content-Encoding {coding[:32]!r} is not known here: send gzip, zstd or none.")


def _inflate(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(_EITHER_GZIP_OR_ZLIB)
    try:
        unpacked = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest("The body is not what its Content-Encoding says.") from error
    if inflater.unused_data:
        raise BadRequest("The body goes on behind the end of its compressed data.")
    return _checked(unpacked, limit, whole=inflater.eof)


def _unpack_zstd(body: bytes, limit: int) -> bytes:
    try:
        with zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(
            body, read_across_frames=True
        ) as reader:
            return _checked(reader.read(limit + 1), limit, whole=True)
    except zstandard.ZstdError as error:
        raise BadRequest("The body is not what its Content-Encoding says.") from error


def _checked(unpacked: bytes, limit: int, whole: bool) -> bytes:
    if len(unpacked) > limit:
        raise BodyTooLarge(f"The body unpacks to more than the {limit} bytes that are allowed here.")
    if not whole:
        raise BadRequest("The compressed body ends before its end.")
    return unpacked

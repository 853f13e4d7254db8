"""A request's body: decompressed with a size limit, parsed once, and checked.

Content codings: https://www.rfc-editor.org/rfc/rfc9110#section-8.4
"""

import zlib

import zstandard
from attrs import define

from ..errors import BadRequest, BodyTooLarge
from . import jsontext
from .history import Inputs
from .jsontext import JsonObject
from .lazy_document import LazyDocument, load_document

_MAX_MODEL_LENGTH = 512  # in characters; metrics keep the model's name, so a client must not make it grow
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_MAX_ZSTD_WINDOW = 128 * 1024 * 1024
_LARGE = 4 * 1024  # bytes; of a smaller body, look-ups of single members take more time than skipping the rest saves
_MOST_TOKENS = 2**31  # no model writes so many, and the database has room for their price
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "thread", "container")
_MAX_CODINGS = 3  # each may unpack up to the whole limit, so a long list would take long


@define(eq=False)
class RequestBody:
    """A request's body in its three forms, and the members that the gateway needs."""

    encoded: bytes
    """The bytes that the client sent."""
    decoded: bytes
    """The bytes without their content codings."""
    document: JsonObject
    model: str
    streaming: bool
    """True if the client asks for a stream."""
    follows: Inputs | None = None
    """The inputs that the provider has already, if the request sends only what is new."""

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens that the model may write, as the client says; None if it does not, or not for sure."""
        names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
        given = [
            value for name in names if type(value := self.document.get(name)) is int and 0 <= value <= _MOST_TOKENS
        ]
        return max(given) if given and self.document.get("n", 1) == 1 else None

    @property
    def is_whole(self) -> bool:
        """True if the model reads nothing but this body: no earlier messages that the provider keeps."""
        return not any(self.document.get(name) for name in _KEPT_ELSEWHERE)


def read_request(encoded: bytes, codings: str, limit: int) -> RequestBody:
    """Decompress and parse a request's body. `codings` is its Content-Encoding, `limit` the maximum size in bytes.

    Raise BadRequest if the body is no JSON object that names a model, BodyTooLarge if it unpacks to more than `limit`.
    """
    decoded = decode_body(encoded, codings, limit) if codings else encoded
    try:
        document = load_document(decoded) if len(decoded) >= _LARGE else jsontext.load(decoded)
    except ValueError:
        raise BadRequest("The request body is not valid JSON.") from None
    if not isinstance(document, LazyDocument | dict):
        raise BadRequest("The request body must be a JSON object.")
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model: Field required: the name of a model.")
    if len(model) > _MAX_MODEL_LENGTH:
        raise BadRequest(f"model: The name is too long: at most {_MAX_MODEL_LENGTH} characters.")
    return RequestBody(encoded, decoded, document, model, document.get("stream") is True)


def decode_body(body: bytes, codings: str, limit: int) -> bytes:
    """Return a body without its content codings. Raise BodyTooLarge once it unpacks to more than `limit` bytes."""
    names = [name.strip().lower() for name in codings.split(",")]
    applied = [name for name in names if name not in ("", "identity")]
    if len(applied) > _MAX_CODINGS:
        raise BadRequest(f"Too many content codings: at most {_MAX_CODINGS}.")
    for coding in reversed(applied):
        if coding in ("gzip", "x-gzip", "deflate"):
            body = _decode_zlib(body, limit)
        elif coding == "zstd":
            body = _decode_zstd(body, limit)
        else:
            raise BadRequest(f"Unknown Content-Encoding {coding[:32]!r}: send gzip, zstd or none.")
        if len(body) > limit:
            raise BodyTooLarge(f"The body is too large: it unpacks to more than {limit} bytes.")
    return body


def _decode_zlib(body: bytes, limit: int) -> bytes:
    """Unpack gzip or zlib, up to one byte more than `limit`."""
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        unpacked = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest("The body is not compressed as its Content-Encoding says.") from error
    if inflater.unused_data:
        raise BadRequest("The body has more bytes after the end of its compressed data.")
    if not inflater.eof and len(unpacked) <= limit:
        raise BadRequest("The compressed body is cut off.")
    return unpacked


def _decode_zstd(body: bytes, limit: int) -> bytes:
    """Unpack zstd, up to one byte more than `limit`."""
    try:
        with zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).stream_reader(
            body, read_across_frames=True
        ) as reader:
            return reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise BadRequest("The body is not compressed as its Content-Encoding says.") from error

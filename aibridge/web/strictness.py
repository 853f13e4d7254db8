"""What the head of a request must look like. What two readers could read in two ways is not a request here.

Smuggling lives on servers that forgive differently: a proxy in front takes for one request what the server behind it
takes for two. So nothing is forgiven that RFC 9112 leaves to a server's choice. Each check raises the error that the
client is answered. https://www.rfc-editor.org/rfc/rfc9112
"""

import re
from collections.abc import Iterable

from attrs import define, field

from ..errors import BadRequest, ExpectationFailed, HeadersTooLarge

MOST_HEAD_BYTES = 16 * 1024
MOST_FIELDS = 200

Field = tuple[bytes, bytes]
"""A header's name, lower-cased, and its value."""

_REQUEST_LINE = re.compile(rb"[A-Z][A-Z0-9_-]{0,31} (?:/|https?://)[\x21-\x7e]* (HTTP/1\.[01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
# More digits than any body has, and fewer than Python refuses to read.
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"[0-9A-Za-z._~%!$&'()*+;=:\[\]-]*")


def read_request_line(line: bytes) -> bytes:
    """Its version of HTTP: one space between its three words, a method in capitals, a path or URL in ASCII."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest("The request does not begin as HTTP/1.1 does.")
    return match[1]


def read_field(line: bytes) -> Field:
    """A header of one line: no line is the continuation of another, and nothing stands between name and colon."""
    match = _FIELD.fullmatch(line)
    if match is None:
        raise BadRequest("A header of the request is not written as HTTP demands.")
    return match[1].lower(), match[2].strip(b" \t")


def check_framing(version: bytes, fields: Iterable[Field]) -> None:
    """Whether there is one way to tell where the request ends, and one host that it is for."""
    named: dict[bytes, list[bytes]] = {b"content-length": [], b"transfer-encoding": [], b"host": [], b"expect": []}
    for name, value in fields:
        if name in named:
            named[name].append(value)
    lengths, codings, hosts, expected = named.values()
    if len(lengths) + len(codings) > 1:
        raise BadRequest("The request says more than once how long its body is.")
    if not all(map(_LENGTH.fullmatch, lengths)):
        raise BadRequest("The length of the body is not a number.")
    if codings and (codings[0].lower() != b"chunked" or version == b"HTTP/1.0"):
        raise BadRequest("The only transfer coding of a body is chunked, in HTTP/1.1.")
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1") or not all(map(_HOST.fullmatch, hosts)):
        raise BadRequest("The request must name one host.")
    if any(value.lower() != b"100-continue" for value in expected):
        raise ExpectationFailed("The only thing to be expected is 100-continue.")


@define
class HeadReader:
    """Reads the head of one request, line by line as it arrives."""

    _bytes: int = 0
    _blank: bool = False
    """One empty line before it is forgiven: older clients end their bodies with that."""
    _version: bytes | None = None
    _fields: list[Field] = field(factory=list)

    def read(self, line: bytes) -> None:
        """A line without its end; an empty one ends the head. BadRequest, ExpectationFailed or HeadersTooLarge."""
        self._bytes += len(line) + len(b"\r\n")
        if self._bytes > MOST_HEAD_BYTES or len(self._fields) > MOST_FIELDS:
            raise HeadersTooLarge(f"The head of a request has {MOST_HEAD_BYTES} bytes at most, {MOST_FIELDS} headers.")
        if self._version is None:
            self._begin(line)
        elif line:
            self._fields.append(read_field(line))
        else:
            check_framing(self._version, self._fields)

    def _begin(self, line: bytes) -> None:
        if line or self._blank:
            self._version = read_request_line(line)
        else:
            self._blank = True

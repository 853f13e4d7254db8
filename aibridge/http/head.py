"""The head of a request. What two readers could read in two ways is not a request here.

Smuggling lives on servers that forgive differently: a proxy in front takes for one request what the server behind it
takes for two. So nothing is forgiven that RFC 9112 leaves to a server's choice. Each check raises the error that the
client is answered. https://www.rfc-editor.org/rfc/rfc9112
"""

import re

from attrs import define

from ..errors import BadRequest, ExpectationFailed, HeadersTooLarge
from .headers import Field, RawHeaders

MOST_HEAD_BYTES = 16 * 1024
MOST_FIELDS = 200

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z0-9_-]{0,31}) ((?:/|https?://)[\x21-\x7e]*) (HTTP/1\.[01])")
_FIELD = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*((?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[\t ]*"
_ONE_FIELD = re.compile(_FIELD)
# At most one in a line, and where that is well formed the whole of it.
_FIELDS = re.compile(rb"(?<=\r\n)" + _FIELD + rb"\r\n")
_LENGTH = re.compile(rb"[0-9]+")
_MAX_DIGITS = 100
"""A length of more digits is over any limit. Python refuses to read very long numbers."""
_HOST = re.compile(rb"[0-9A-Za-z._~%!$&'()*+;=:\[\]-]*")
_NONE: list[bytes] = []


@define
class Head:
    """A request's head, and what it says of the connection."""

    method: bytes
    target: bytes
    version: bytes
    fields: RawHeaders
    length: int | None
    """How many bytes its body has; None for one in chunks."""
    persistent: bool
    """Whether another request may follow."""
    expects_continue: bool
    """Whether the client wants to be told to go on before it sends the body."""


class HeadReader:
    """Gathers the head of a request; then it is ready for the next."""

    __slots__ = ("_checked", "_gathered")

    def __init__(self) -> None:
        self._gathered = b""
        self._checked = 0
        """The number of these bytes that are complete, correct lines."""

    @property
    def target(self) -> bytes:
        """The target of the request, as far as it is known; ``/`` until then."""
        match = _REQUEST_LINE.match(self._gathered.removeprefix(b"\r\n"))
        return match[2] if match else b"/"

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return the head and what follows it, once the head is complete.

        :raises BadRequest, ExpectationFailed, HeadersTooLarge: as soon as this can't become a head.
        """
        gathered = self._gathered = self._gathered + data if self._gathered else data
        # An empty line before it is accepted: older clients send one behind a body. RFC 9112, section 2.2
        start = 2 if gathered.startswith(b"\r\n") else 0
        end = gathered.find(b"\r\n\r\n", start, MOST_HEAD_BYTES)
        if end < 0:
            self._check_beginning(start)
            return None
        head = read_head(gathered[start:end])
        self._gathered, self._checked = b"", 0
        return head, gathered[end + 4 :]

    def _check_beginning(self, start: int) -> None:
        """Refuses at once what will be no head, whatever follows."""
        if len(self._gathered) > MOST_HEAD_BYTES or self._gathered.count(b"\r\n", start) > MOST_FIELDS + 1:
            raise _too_large()
        begun = max(self._checked, start)
        end = self._gathered.rfind(b"\r\n", begun)
        if end >= 0:
            lines = self._gathered[begun:end].split(b"\r\n")
            if begun == start:
                read_request_line(lines.pop(0))
            for line in lines:
                read_field(line)
            self._checked = begun = end + 2
        if b"\n" in self._gathered[begun:]:
            raise BadRequest("A line of the request ends without a carriage return.")


def read_head(head: bytes) -> Head:
    """A whole head, without the empty line at its end. An error that the client is told, where it is none."""
    if head.count(b"\r\n") > MOST_FIELDS:
        raise _too_large()
    first, _, rest = head.partition(b"\r\n")
    method, target, version = read_request_line(first)
    fields = RawHeaders(read_fields(rest))
    length = read_framing(version, fields)
    is_1_1, said = version == b"HTTP/1.1", fields.by_name
    persistent = is_1_1 and not (b"connection" in said and _closes(fields))
    expects_continue = is_1_1 and b"expect" in said
    return Head(method, target, version, fields, length, persistent, expects_continue)


def read_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and version: one space between them, a method in capitals, a path or URL in ASCII."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest("The request does not begin as HTTP/1.1 does.")
    return match[1], match[2], match[3]


def read_fields(lines: bytes) -> list[Field]:
    """The headers of these lines."""
    if not lines:
        return []
    found: list[Field] = _FIELDS.findall(b"\r\n%b\r\n" % lines)
    if len(found) != lines.count(b"\r\n") + 1:
        return [read_field(line) for line in lines.split(b"\r\n")]
    return found


def read_field(line: bytes) -> Field:
    """A header of one line: no line is the continuation of another, and nothing stands between name and colon."""
    match = _ONE_FIELD.fullmatch(line)
    if match is None:
        raise BadRequest("A header of the request is not written as HTTP demands.")
    return match[1], match[2]


def read_framing(version: bytes, fields: RawHeaders) -> int | None:
    """The length of the body, None for chunks: if there is one way to tell that, and one host that it is for."""
    find = fields.by_name.get
    lengths, codings, hosts = find(b"content-length", _NONE), find(b"transfer-encoding", _NONE), find(b"host", _NONE)
    if len(lengths) + len(codings) > 1:
        raise BadRequest("The request says more than once how long its body is.")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("The Content-Length is not a number.")
    if codings and (codings[0].lower() != b"chunked" or version == b"HTTP/1.0"):
        raise BadRequest("The only transfer coding of a body is chunked, in HTTP/1.1.")
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1") or not all(map(_HOST.fullmatch, hosts)):
        raise BadRequest("The request must name one host.")
    if b"expect" in fields.by_name and {value.lower() for value in find(b"expect", _NONE)} != {b"100-continue"}:
        raise ExpectationFailed("The only thing to be expected is 100-continue.")
    if not lengths:
        return None if codings else 0
    return int(lengths[0]) if len(lengths[0]) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _closes(fields: RawHeaders) -> bool:
    said = b",".join(fields.by_name[b"connection"]).lower()
    return b"close" in map(bytes.strip, said.split(b","))


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"The head of a request has {MOST_HEAD_BYTES} bytes at most, {MOST_FIELDS} headers.")

"""The head of a request. A head that two readers could read in two ways is refused.

Request smuggling lives on servers that forgive differently: a proxy in front reads one request where the server behind
it reads two. So nothing is accepted that RFC 9112 leaves to a server's choice. Each check raises the error that is sent
to the client. https://www.rfc-editor.org/rfc/rfc9112
"""

import re

from attrs import define

from ..errors import BadRequest, ExpectationFailed, HeadersTooLarge
from .headers import Field, RawHeaders

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 200

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z0-9_-]{0,31}) ((?:/|(?i:https?://))[\x21-\x7e]*) (HTTP/1\.[01])")
_FIELD = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*((?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[\t ]*"
_ONE_FIELD = re.compile(_FIELD)
# Matches at most once in a line, and then the whole line.
_FIELDS = re.compile(rb"(?<=\r\n)" + _FIELD + rb"\r\n")
_LENGTH = re.compile(rb"[0-9]+")
_MAX_DIGITS = 100
"""A length of more digits is over any limit. Python refuses to read very long numbers."""
_HOST = re.compile(rb"[0-9A-Za-z._~%!$&'()*+;=:\[\]-]*")
_NONE: list[bytes] = []


@define
class Head:
    """A request's head, and its meaning for the connection."""

    method: bytes
    target: bytes
    version: bytes
    headers: RawHeaders
    length: int | None
    """The number of bytes of the body; None for a body in chunks."""
    persistent: bool
    """True if another request may follow."""
    expects_continue: bool
    """True if the client waits for ``100 Continue`` before it sends the body."""


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
        end = gathered.find(b"\r\n\r\n", start, MAX_HEAD_BYTES)
        if end < 0:
            self._check_beginning(start)
            return None
        head = read_head(gathered[start:end])
        self._gathered, self._checked = b"", 0
        return head, gathered[end + 4 :]

    def _check_beginning(self, start: int) -> None:
        """Refuse at once what can't become a head, whatever follows."""
        if len(self._gathered) > MAX_HEAD_BYTES or self._gathered.count(b"\r\n", start) > MAX_HEADERS + 1:
            raise _too_large()
        unchecked = max(self._checked, start)
        end = self._gathered.rfind(b"\r\n", unchecked)
        if end >= 0:
            lines = self._gathered[unchecked:end].split(b"\r\n")
            if unchecked == start:
                read_request_line(lines.pop(0))
            for line in lines:
                read_header(line)
            self._checked = unchecked = end + 2
        if b"\n" in self._gathered[unchecked:]:
            raise BadRequest("A line of the request ends without a carriage return.")


def read_head(head: bytes) -> Head:
    """Read a complete head, without the empty line at its end. A GatewayError refuses it."""
    if head.count(b"\r\n") > MAX_HEADERS:
        raise _too_large()
    first, _, rest = head.partition(b"\r\n")
    method, target, version = read_request_line(first)
    headers = RawHeaders(read_headers(rest))
    length = read_framing(version, headers)
    persistent = is_1_1 = version == b"HTTP/1.1"
    if b"connection" in headers.by_name:
        options = b",".join(headers.by_name[b"connection"]).lower().split(b",")
        persistent = is_1_1 and b"close" not in map(bytes.strip, options)
    expects_continue = is_1_1 and b"expect" in headers.by_name
    return Head(method, target, version, headers, length, persistent, expects_continue)


def read_request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and version: one space between them, a method in capitals, a path or URL in ASCII."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest("Invalid request line: it must be like 'POST /path HTTP/1.1'.")
    return match[1], match[2], match[3]


def read_headers(lines: bytes) -> list[Field]:
    """The headers in these lines."""
    if not lines:
        return []
    found: list[Field] = _FIELDS.findall(b"\r\n%b\r\n" % lines)
    if len(found) != lines.count(b"\r\n") + 1:
        return [read_header(line) for line in lines.split(b"\r\n")]  # finds the line that is malformed
    return found


def read_header(line: bytes) -> Field:
    """The header in one line. No line continues another, and nothing stands between name and colon."""
    match = _ONE_FIELD.fullmatch(line)
    if match is None:
        raise BadRequest("Invalid header: each must be one line like 'Name: value', without control characters.")
    return match[1], match[2]


def read_framing(version: bytes, headers: RawHeaders) -> int | None:
    """The length of the body, None for chunks. There must be only one way to tell it, and only one host."""
    find = headers.by_name.get
    lengths, codings, hosts = find(b"content-length", _NONE), find(b"transfer-encoding", _NONE), find(b"host", _NONE)
    if len(lengths) + len(codings) > 1:
        raise BadRequest("Ambiguous length: send Content-Length or Transfer-Encoding, and only once.")
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest("Invalid Content-Length: it must be a number.")
    if codings and (codings[0].lower() != b"chunked" or version == b"HTTP/1.0"):
        raise BadRequest("Invalid Transfer-Encoding: only chunked is supported, in HTTP/1.1.")
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1") or not all(map(_HOST.fullmatch, hosts)):
        raise BadRequest("Invalid Host: the request must name one host.")
    if b"expect" in headers.by_name and {value.lower() for value in find(b"expect", _NONE)} != {b"100-continue"}:
        raise ExpectationFailed("Invalid Expect: only 100-continue is supported.")
    if not lengths:
        return None if codings else 0
    return int(lengths[0]) if len(lengths[0]) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"Request head too large: at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers.")

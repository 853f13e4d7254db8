"""Headers as a parser has read them, for code that expects Twisted's `Headers`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from twisted.web.http_headers import Headers

_NOT_IN_A_LINE = b"\r\n\0"

Field = tuple[bytes, bytes]
"""A header's name, in any spelling, and its value."""


class RawHeaders(Headers):
    """Headers that keep the spelling in which they came, and are found by their names in lower case.

    Twisted's own check and respell each name at each look-up, and clean each value whenever it is passed on. Headers
    that a parser has accepted need none of this.
    """

    # The base class has one attribute, `_rawHeaders`: lists of values by name.
    __slots__ = ("_spelled", "by_name")

    by_name: dict[bytes, list[bytes]]
    """The values of each name in lower case, to be read. The lists are shared: they are replaced, never changed."""

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        by_name: dict[bytes, list[bytes]] = {}
        spelled: dict[bytes, bytes] = {}
        self.by_name, self._rawHeaders, self._spelled = by_name, by_name, spelled
        for name, value in fields:
            key = name.lower()
            if key in by_name:
                by_name[key].append(value)
            else:
                by_name[key] = [value]
                spelled[key] = name

    @classmethod
    def of(cls, headers: Headers) -> "RawHeaders":
        """These headers themselves, or a copy if they are Twisted's own."""
        if type(headers) is cls:
            return headers
        return cls((name, value) for name, values in headers.getAllRawHeaders() for value in values)

    def __repr__(self) -> str:
        """Only the names: among the values are credentials."""
        return f"<RawHeaders {b', '.join(map(self._spelled.__getitem__, self.by_name)).decode('latin-1')}>"

    def copy(self) -> "RawHeaders":
        """A copy with the same headers."""
        return self.filter(bool)

    def filter(self, keep: Callable[[bytes], object]) -> "RawHeaders":
        """A copy with the headers for whose name in lower case `keep` returns something true."""
        other, kept = RawHeaders.__new__(RawHeaders), {}
        for name, values in self.by_name.items():
            if keep(name):
                kept[name] = values
        other.by_name, other._rawHeaders, other._spelled = kept, kept, self._spelled.copy()
        return other

    def update(self, others: "RawHeaders") -> None:
        """Set all of the others, each in the place of all headers of its name."""
        for name, values in others.by_name.items():
            self.by_name[name] = values
            self._spelled[name] = others._spelled[name]

    def set(self, name: bytes, value: bytes) -> None:
        """Set a header in the place of all of its name."""
        key = name.lower()
        self._spelled[key] = name
        self.by_name[key] = [value]

    def encode(self, first: Sequence[bytes], last: Sequence[bytes] = ()) -> bytes:
        """A head: the `first` lines, these headers with each name as it was spelled first, and the `last` lines.

        :raises ValueError: a line holds a line break or a NUL.
        """
        lines, spelled = [*first], self._spelled
        for name, values in self.by_name.items():
            start = spelled[name] + b": "  # quicker than a format
            for value in values:
                lines.append(start + value)
        lines += last
        lines += (b"", b"")
        head = b"\r\n".join(lines)
        # One pass: nothing but the ends of the lines may be a line break, and nothing a NUL.
        if len(head) - len(head.translate(None, _NOT_IN_A_LINE)) != 2 * (len(lines) - 1):
            raise ValueError("a header holds a line break or a NUL")
        return head

    # The interface of Twisted's headers. Names and values are bytes or text, which stands for its bytes.

    def hasHeader(self, name: str | bytes) -> bool:
        """Return True if there is a header of that name."""
        return (name.lower() if type(name) is bytes else _key(name)) in self.by_name

    def removeHeader(self, name: str | bytes) -> None:
        """Remove all headers of that name."""
        self.by_name.pop(_key(name), None)

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """Set these values in the place of all of that name."""
        spelled = name if isinstance(name, bytes) else name.encode("latin-1")
        key = spelled.lower()
        self._spelled[key] = spelled
        self.by_name[key] = [value if isinstance(value, bytes) else value.encode() for value in values]

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Add a value behind those of that name."""
        self.setRawHeaders(name, [*self.by_name.get(_key(name), ()), value])

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        """The values of that name, as bytes or text like the name; the default if there are none."""
        if type(name) is bytes:
            return self.by_name.get(name.lower()) or default
        values = self.by_name.get(_key(name))
        return [value.decode() for value in values] if values else default

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        """Pairs of a name, as it was spelled first, and its values."""
        return zip(map(self._spelled.__getitem__, self.by_name), self.by_name.values(), strict=True)


def _key(name: str | bytes) -> bytes:
    return name.lower() if isinstance(name, bytes) else name.lower().encode("latin-1")

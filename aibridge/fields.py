"""Header fields as a parser has read them, for whoever takes Twisted's `Headers`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from twisted.web.http_headers import Headers

Field = tuple[bytes, bytes]
"""A header's name, in any spelling, and its value."""


class Fields(Headers):
    """Headers that keep the spelling in which they came, and are found by their names in lower case.

    Twisted's own check and respell every name that they are asked for, and clean every value, each time that one is
    handed on. What a parser has let through needs none of this.
    """

    # Of the base class there is one attribute, `_rawHeaders`: lists of values by name.
    __slots__ = ("_spelled",)

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        values: dict[bytes, list[bytes]] = {}
        self._rawHeaders = values
        spelled: dict[bytes, bytes] = {}
        self._spelled = spelled
        for name, value in fields:
            key = name.lower()
            if key in values:
                values[key].append(value)
            else:
                values[key] = [value]
                spelled[key] = name

    def __repr__(self) -> str:
        """Only the names: among the values are credentials."""
        return f"<Fields {b', '.join(self._spelled.values()).decode('latin-1')}>"

    def copy(self) -> "Fields":
        """Another one with the same fields."""
        return Fields((name, value) for name, values in self.getAllRawHeaders() for value in values)

    def hasHeader(self, name: Any) -> bool:
        """Whether there is one of that name."""
        return (name.lower() if type(name) is bytes else _key(name)) in self._rawHeaders

    def removeHeader(self, name: Any) -> None:
        """Takes out all of that name."""
        self._rawHeaders.pop(_key(name), None)

    def setRawHeaders(self, name: str | bytes, values: Sequence[str | bytes]) -> None:
        """Puts these in the place of all of that name."""
        spelled = name if isinstance(name, bytes) else name.encode("latin-1")
        key = spelled.lower()
        self._spelled[key] = spelled
        self._rawHeaders[key] = [value if isinstance(value, bytes) else value.encode() for value in values]

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Adds one behind those of that name."""
        self.setRawHeaders(name, [*self._rawHeaders.get(_key(name), ()), value])

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        """The values of that name, as bytes or text like it; the default where there are none."""
        if type(name) is bytes:
            return self._rawHeaders.get(name.lower()) or default
        values = self._rawHeaders.get(_key(name))
        return [value.decode() for value in values] if values else default

    def getAllRawHeaders(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        """Each name as it was spelled first, with its values."""
        return zip(map(self._spelled.__getitem__, self._rawHeaders), self._rawHeaders.values(), strict=True)


def joined(lines: Sequence[bytes]) -> bytes:
    """A head made of these lines. ValueError where one of them isn't one line, which is seen by a look at the whole."""
    head = b"\r\n".join((*lines, b"", b""))
    breaks = len(lines) + 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("a header holds a line break or a NUL")
    return head


def _key(name: str | bytes) -> bytes:
    return name.lower() if isinstance(name, bytes) else name.lower().encode("latin-1")

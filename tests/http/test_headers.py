"""Headers that behave as Twisted's do, and keep the spelling in which they came."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from aibridge.http.headers import Field, RawHeaders

_names = st.sampled_from([b"host", b"Host", b"HOST", b"x-a", b"X-A", b"Content-Length", b"etag", b"x-absent"])
_fields = st.lists(st.tuples(_names, st.sampled_from([b"", b"a", b"b;c=d", b"\xe4"])), max_size=8)


def twisteds(fields: list[Field]) -> Headers:
    """Twisted's own object of these headers."""
    headers = Headers()
    for name, value in fields:
        headers.addRawHeader(name, value)
    return headers


def plain(headers: Headers) -> dict[bytes, list[bytes]]:
    """Values by name, whatever the spelling."""
    return {name.lower(): [*values] for name, values in headers.getAllRawHeaders()}


class HeadersTests(SynchronousTestCase):
    """Look-ups and changes have the results of Twisted's headers."""

    @given(_fields, _names)
    def test_asked(self, fields: list[Field], name: bytes) -> None:
        """Headers are looked up by bytes and by text, in any spelling."""
        ours, theirs = RawHeaders(fields), twisteds(fields)
        self.assertEqual(plain(ours), plain(theirs))
        self.assertEqual(ours.hasHeader(name), theirs.hasHeader(name))
        self.assertEqual(ours.hasHeader(name.decode()), theirs.hasHeader(name))
        self.assertEqual(ours.getRawHeaders(name, [b"none"]), theirs.getRawHeaders(name, [b"none"]))
        self.assertEqual(ours.by_name.get(name.lower(), []), theirs.getRawHeaders(name, []))

    @given(_fields, _names, st.lists(st.sampled_from([b"1", b"2"]), min_size=1, max_size=2))
    def test_changed(self, fields: list[Field], name: bytes, values: list[bytes]) -> None:
        """Headers are set, added and removed."""
        changes: list[Any] = [
            lambda headers: headers.setRawHeaders(name, values),
            lambda headers: headers.addRawHeader(name, values[0]),
            lambda headers: headers.removeHeader(name),
        ]
        for change in changes:
            ours, theirs = RawHeaders(fields), twisteds(fields)
            change(ours)
            change(theirs)
            self.assertEqual(plain(ours), plain(theirs))
        ours, theirs = RawHeaders(fields), twisteds(fields)
        ours.set(name, values[0])
        theirs.setRawHeaders(name, values[:1])
        self.assertEqual(plain(ours), plain(theirs))

    @given(_fields, _fields)
    def test_taken_apart_and_together(self, some: list[Field], others: list[Field]) -> None:
        """Filtering, copying and updating change only the copy."""
        ours, theirs = RawHeaders(some), RawHeaders(others)
        before = plain(ours), plain(theirs)
        part = ours.filter(lambda name: name.startswith(b"x-"))
        self.assertEqual(plain(part), {name: values for name, values in before[0].items() if name.startswith(b"x-")})
        copy = ours.copy()
        copy.update(theirs)
        self.assertEqual(plain(copy), {**before[0], **before[1]})
        for name in list(copy.by_name):
            copy.addRawHeader(name, b"more")
            part.addRawHeader(name, b"more")
        self.assertEqual((plain(ours), plain(theirs)), before)

    def test_not_respelled(self) -> None:
        """A header that is filtered out leaves the spelling of its namesake alone."""
        ours, theirs = RawHeaders([(b"X-Id", b"1")]), RawHeaders([(b"x-id", b"2"), (b"etag", b"3")])
        ours.update(theirs.filter(lambda name: name != b"x-id"))
        self.assertEqual(ours.encode(()), b"X-Id: 1\r\netag: 3\r\n\r\n")

    @given(_fields)
    def test_lines(self, fields: list[Field]) -> None:
        """A head has a line for each value, with the name as it was spelled first."""
        first = {name.lower(): name for name, _ in reversed(fields)}
        by_name: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            by_name.setdefault(name.lower(), []).append(first[name.lower()] + b": " + value)
        lines = [line for lines in by_name.values() for line in lines]
        self.assertEqual(
            RawHeaders(fields).encode([b"first"], [b"last"]).split(b"\r\n"), [b"first", *lines, b"last", b"", b""]
        )

    def test_of(self) -> None:
        """Twisted's headers are copied, raw ones are returned as they are."""
        fields = RawHeaders([(b"X-a", b"1")])
        self.assertIs(RawHeaders.of(fields), fields)
        self.assertEqual(plain(RawHeaders.of(Headers({b"x-a": [b"1", b"2"]}))), {b"x-a": [b"1", b"2"]})

    def test_secrets(self) -> None:
        """The repr has no values, nor names that are removed."""
        fields = RawHeaders([(b"X-Api-Key", b"secret"), (b"X-b", b"c")]).filter(lambda name: name != b"x-b")
        self.assertEqual(repr(fields), "<RawHeaders X-Api-Key>")

    def test_heads(self) -> None:
        """A line break or a NUL in a head is a ValueError."""
        headers = RawHeaders([(b"b", b"c")])
        self.assertEqual(headers.encode([b"a"], [b"d: e"]), b"a\r\nb: c\r\nd: e\r\n\r\n")
        for text in (b"a\r\nb", b"a\nb", b"a\rb", b"a\0b"):
            self.assertRaises(ValueError, headers.encode, [text])
            self.assertRaises(ValueError, headers.encode, [b"a"], [text])
            self.assertRaises(ValueError, RawHeaders([(text, b"c")]).encode, [b"a"])
            self.assertRaises(ValueError, RawHeaders([(b"b", text)]).encode, [b"a"])

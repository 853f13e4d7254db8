"""Changing one member of a JSON object: that one changes, and no other byte."""

import contextlib
import json
import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire import json_splice

ODD = (
    b' {"a" : 1.0e2,\t"b":"\\u00e9\\/\\ud83d\\ude00", "big": 123456789012345678901234567890.123456789 ,'
    b'"a":[1 , {"a": null}],\r\n"tail" :{ } }\n'
)

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_keys = st.sampled_from(["a", "b", "", "stream", 'q"\\', "ü", "\ud800"]) | st.text(max_size=3)
_spaces = st.text("\x20\t\r\n", max_size=2)


@st.composite
def _objects(draw):
    """An object's text as parts: everything before, between and behind the members, and the members themselves."""
    pairs = draw(st.lists(st.tuples(_keys, _values), max_size=5))
    escape = draw(st.booleans())
    text = [draw(st.sampled_from(["", "\ufeff"])), draw(_spaces), "{", draw(_spaces)]
    for position, (key, value) in enumerate(pairs):
        key_text = json.dumps(key, ensure_ascii=escape or "\ud800" in key)
        value_text = json.dumps(value, ensure_ascii=escape, separators=(draw(_spaces) + ",", ":" + draw(_spaces)))
        text += [
            key_text,
            draw(_spaces),
            ":",
            draw(_spaces),
            value_text.encode("utf-8", "replace").decode(),
            draw(_spaces),
        ]
        text += [",", draw(_spaces)] if position < len(pairs) - 1 else []
    return "".join([*text, "}", draw(_spaces)]).encode()


def _load(body):
    return json.loads(body.decode().removeprefix("\ufeff"))


class SetMemberTests(SynchronousTestCase):
    """A member gets another value, or is added."""

    def test_replaced(self):
        """Its value changes; spacing, escapes, numbers and order stay."""
        self.assertEqual(json_splice.set_member(ODD, "tail", b"[0]"), ODD.replace(b'"tail" :{ }', b'"tail" :[0]'))
        self.assertEqual(json_splice.set_member(b'{"a":1}', "a", b"2"), b'{"a":2}')

    def test_duplicates(self):
        """Of two of the same name the last counts, so that one changes."""
        self.assertEqual(json_splice.set_member(ODD, "a", b"0"), ODD.replace(b'[1 , {"a": null}]', b"0"))

    def test_added(self):
        """A new member stands behind the last one."""
        self.assertEqual(json_splice.set_member(ODD, "c", b"0"), ODD.replace(b":{ } }", b':{ },"c":0 }'))
        self.assertEqual(json_splice.set_member(b"{ }", "c", b"0"), b'{"c":0 }')
        self.assertEqual(json_splice.set_member(b"\xef\xbb\xbf{}", "c", b"0"), b'\xef\xbb\xbf{"c":0}')

    def test_escaped_name(self):
        """A name is the same however it is written."""
        self.assertEqual(json_splice.set_member(b'{"\\u0061":1}', "a", b"2"), b'{"\\u0061":2}')

    @given(_objects(), _keys, _values)
    def test_nothing_else(self, body, key, value):
        """The result reads as it should, and takes back to the same bytes."""
        text = json.dumps(value).encode()
        changed = json_splice.set_member(body, key, text)
        self.assertEqual(_load(changed), {**_load(body), key: json.loads(text)})
        old = json_splice.last_member(body.decode(), key)
        if old is not None:
            self.assertEqual(
                json_splice.set_member(changed, key, body.decode()[old.value_start : old.end].encode()), body
            )
        else:
            self.assertEqual(changed, _with_addition(body, json.dumps(key).encode() + b":" + text))

    @given(_objects(), st.dictionaries(_keys, _values, max_size=3))
    def test_several(self, body, values):
        """Several at once are the same bytes as one after the other."""
        texts = {key: json.dumps(value).encode() for key, value in values.items()}
        expected = body
        for key, text in texts.items():
            expected = json_splice.set_member(expected, key, text)
        self.assertEqual(json_splice.change_members(body, texts), expected)

    def test_no_object(self):
        """ValueError for everything but an object."""
        for body in (
            b"",
            b"[]",
            b"1",
            b'"{}"',
            b"null",
            b"{",
            b'{"a"',
            b'{"a":',
            b'{"a":1',
            b'{"a":1,',
            b"{1:2}",
            b'{"a" 1}',
        ):
            self.assertRaises(ValueError, json_splice.set_member, body, "x", b"1")
        for body in (b'{"a":}', b'{"a":x}', b'{"a":1 "b":2}', b'{"a', b"\xff{}", b'{"a":"\xed\xa0\x80"}'):
            self.assertRaises(ValueError, json_splice.set_member, body, "x", b"1")

    def test_long_number(self):
        """A number of more digits than Python reads stays as it is."""
        for number in (b"9" * 5_000, b"-" + b"9" * 5_000, b"1e" + b"9" * 5_000, b"0." + b"9" * 5_000):
            self.assertEqual(json_splice.set_member(b'{"x":%b}' % number, "y", b"1"), b'{"x":%b,"y":1}' % number)
            self.assertEqual(json_splice.elements(b"[%b, 2]" % number), [number, b"2"])

    def test_deep(self):
        """Nesting beyond reason is an error like any other, wherever it stands."""
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            deep = f'{{"x":{opening * 100_000}1{closing * 100_000}}}'.encode()
            self.assertRaises(ValueError, json_splice.set_member, deep, "y", b"1")
        before = sys.getrecursionlimit()
        self.assertEqual(json_splice.set_member(b'{"x":' + b"[" * 100 + b"]" * 100 + b"}", "x", b"1"), b'{"x":1}')
        self.assertEqual(sys.getrecursionlimit(), before)


def _with_addition(body, addition):
    """The body with one more member's text behind its last one."""
    text = body.decode()
    found = list(json_splice.members(text))
    at = found[-1].end if found else text.index("{") + 1
    return text[:at].encode() + (b"," if found else b"") + addition + text[at:].encode()


class RemoveMemberTests(SynchronousTestCase):
    """A member goes, with its comma."""

    @given(_objects(), _keys)
    def test_gone(self, body, key):
        """No member of that name is left, and every other is as it was."""
        without = json_splice.remove_member(body, key)
        left = [member for member in json_splice.members(body.decode()) if member.key != key]
        found = list(json_splice.members(without.decode()))
        self.assertEqual(_texts(without, found), _texts(body, left))


def _texts(body, found):
    text = body.decode()
    return [text[member.start : member.end] for member in found]


class ElementsTests(SynchronousTestCase):
    """The elements of an array, as they are written."""

    @given(st.lists(_values, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans())
    def test_all_in_order(self, values, indent, escape):
        """Each element is found once, and joined they are the same values."""
        array = json.dumps(values, indent=indent, ensure_ascii=escape).encode()
        found = json_splice.elements(b" " + array)
        self.assertEqual([json.loads(text) for text in found], values)
        self.assertEqual(json.loads(json_splice.join(found)), values)

    def test_no_array(self):
        """ValueError for everything but an array."""
        for text in (b"", b"{}", b"[", b"[1", b"[1,", b"[1,]", b"[1 2]", b"[x]", b"[" * 100_000 + b"]" * 100_000):
            self.assertRaises(ValueError, json_splice.elements, text)


class MembersTests(SynchronousTestCase):
    """Walking an object's members."""

    @given(_objects())
    def test_all_in_order(self, body):
        """Each member is found once, with the positions of its key and value."""
        text = body.decode()
        pairs = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=list)
        found = list(json_splice.members(text))
        self.assertEqual([member.key for member in found], [key for key, _ in pairs])
        for member, (_, value) in zip(found, pairs, strict=True):
            read = json.loads(text[member.value_start : member.end], object_pairs_hook=list)
            self.assertEqual(read, value)
            self.assertEqual(text[member.start], '"')

    @given(st.text(max_size=30) | st.binary(max_size=30).map(lambda data: data.decode("latin-1")))
    def test_any_text(self, text):
        """Text that is no object raises ValueError and nothing else."""
        with contextlib.suppress(ValueError):
            list(json_splice.members("{" + text))

"""Text and JSON in a form that every database can store."""

import json
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.record.values import are_plain, bounded, storable, storable_json

any_text = st.text(st.characters(exclude_categories=()))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


class StorableTests(SynchronousTestCase):
    """Characters that can't be stored are escaped; the others stay as they are."""

    @given(any_text)
    def test_any_text(self, text: str) -> None:
        """The result is UTF-8 without NUL, whatever the text; clean text is unchanged."""
        result = storable(text)
        assert "\0" not in result
        result.encode()
        if "\\" not in text:
            assert result.replace("\\u0000", "\0").encode() == text.encode("utf-8", "backslashreplace")

    @given(st.lists(st.none() | any_text | st.text("ab", min_size=250, max_size=600), max_size=4))
    def test_plain(self, texts: list[str | None]) -> None:
        """Texts that are plain are stored unchanged, indexed or not; short ASCII always is plain."""
        known = [text for text in texts if text is not None]
        if are_plain(texts):
            assert [(bounded(text), storable(text)) for text in known] == [(text, text) for text in known]
        else:
            assert not ("".join(known).isascii() and "\0" not in "".join(known) and sum(map(len, known)) <= 512)

    @given(any_json)
    def test_any_json(self, value: object) -> None:
        """The result is JSON without NUL, whatever the value; clean values come back the same."""
        result = storable_json(value)
        result.encode()
        assert "\0" not in str(json.loads(result))

    def test_escapes(self) -> None:
        """NUL and lone surrogates become the six characters of their escape."""
        assert storable("a\0b\ud800c") == r"a\u0000b\ud800c"

    def test_literal_backslashes(self) -> None:
        """A text that only looks like an escape is not touched."""
        assert json.loads(storable_json([r"\u0000"])) == [r"\u0000"]

    def test_large_integers(self) -> None:
        """Integers beyond 64 bits keep every digit."""
        assert storable_json({"n": 10**30}) == f'{{"n":{10**30}}}'

    def test_any_mapping(self) -> None:
        """A mapping need not be a dict."""
        assert storable_json(MappingProxyType({"a": (1, 2)})) == '{"a":[1,2]}'

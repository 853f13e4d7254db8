"""Text and JSON in a form that every database can store."""

import json
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.record.store import Store
from aibridge.record.values import bounded, storable, storable_json

from .samples import interception

ENCODER = Store("sqlite://").encoder(None)
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

    @given(st.lists(any_text | st.text("ab", min_size=250, max_size=600), min_size=4, max_size=4))
    def test_rows(self, texts: list[str]) -> None:
        """Each text of a row is stored as it would be alone, however many of them need no change."""
        begun = interception(initiator_id=texts[0], client_session_id=texts[1], user_agent=texts[2], model=texts[3])
        row = ENCODER(begun).row
        expected = [bounded(texts[0]), bounded(texts[1]), storable(texts[2]), storable(texts[3])]
        assert not {*expected} - {value for value in row if isinstance(value, str)}

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

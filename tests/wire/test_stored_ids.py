"""The ids of stored objects in requests."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.lazy_document import load_document
from aibridge.wire.stored_ids import continued_ids, names_objects, object_ids

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
names = st.sampled_from(
    ["file_id", "input_file_id", "file_ids", "vector_store_ids", "type", "input", "content"]
) | st.text(max_size=5)
documents = st.dictionaries(
    names,
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)),
    max_size=4,
)


def found(document: dict[str, Any]) -> list[str]:
    return object_ids(json.dumps(document).encode(), document)


class NamedTests(SynchronousTestCase):
    """Files and vector stores in bodies."""

    def test_places(self) -> None:
        """The members of each API that name them."""
        self.assertEqual(found({"input_file_id": "a", "endpoint": "/v1/responses"}), ["a"])
        content = [{"type": "input_file", "file_id": "b"}, {"type": "file", "file": {"file_id": "c"}}]
        source = {"type": "document", "source": {"type": "file", "file_id": "d"}}
        self.assertEqual(found({"messages": [{"content": [*content, source, source]}]}), ["b", "c", "d"])
        self.assertEqual(found({"tools": [{"type": "file_search", "vector_store_ids": ["g"]}]}), ["g"])
        self.assertEqual(found({"tools": [{"container": {"file_ids": ["e", 7, "f"]}}]}), ["e", "f"])

    @given(documents)
    def test_parsed_in_parts(self, document: dict[str, Any]) -> None:
        """A large request's document, of which only parts are parsed, names the same objects."""
        text = json.dumps(document).encode()
        parsed = load_document(text)
        assert isinstance(parsed, Mapping)
        self.assertEqual(object_ids(text, parsed), found(document))

    def test_not_files(self) -> None:
        """Words, schemas and the arguments of calls name none."""
        schema = {"properties": {"file_id": {"type": "string"}}, "required": ["file_id"]}
        call = {"type": "tool_use", "input": {"file_id": "x"}}
        for document in ({"input": 'the "file_id": "x"'}, {"tools": [schema]}, {"content": [call]}, {"file_id": None}):
            self.assertEqual(found(document), [])

    @given(documents)
    def test_escapes(self, document: dict[str, Any]) -> None:
        """However the letters of a name are escaped, the same objects are found, and a text without any is told."""
        text = json.dumps(document)
        for plain, escaped in (
            ("file_id", "\\u0066ile_id"),
            ("file_id", "file\\u005Fid"),
            ("file_id", "fil\\u0065_id"),
            ("vector_store_id", "\\u0076ector_store_id"),
            ("vector_store_id", "vector_s\\u0074ore_id"),
        ):
            hidden = text.replace(plain, escaped).encode()
            self.assertEqual(object_ids(hidden, json.loads(hidden)), found(document))
        if found(document):
            self.assertTrue(names_objects(text.encode()))


class ContinuedTests(SynchronousTestCase):
    """The ids of what requests go on from."""

    def test_members(self) -> None:
        """Responses, conversations in both forms, and messages of a thread."""
        self.assertEqual(continued_ids({"previous_response_id": "a", "conversation": {"id": "b"}}), ["a", "b"])
        self.assertEqual(continued_ids({"conversation": "b", "thread": {"previous_message_id": "c"}}), ["b", "c"])
        self.assertEqual(continued_ids({"thread": {"type": "create"}, "previous_response_id": None}), [])

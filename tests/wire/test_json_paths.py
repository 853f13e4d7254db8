"""Fields of JSON objects by their paths, and their removal."""

import json

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.json_paths import generalized, is_present, parse_path, remove_fields

_NAMES = st.sampled_from(["a", "b", "type", "custom", "0"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b", "é", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=12,
)
_PATHS = st.lists(_NAMES | st.just("*"), min_size=1, max_size=4).map(tuple)


class RemoveFieldsTests(SynchronousTestCase):
    """Only what a path names is removed."""

    def check(self, path, before, after):
        """Both forms agree: the field is there before, and gone afterwards."""
        parts = parse_path(path)
        self.assertEqual(is_present(json.loads(before), parts), before != after, path)
        self.assertEqual(remove_fields(before.encode(), [parts]).decode(), after, path)

    def test_members(self):
        """A member of the object itself is removed with its comma, and every other byte stays."""
        self.check("metadata", '{ "a" : 1.0 , "metadata": {"x":1} ,"b":"\\u00e9"}', '{ "a" : 1.0 ,"b":"\\u00e9"}')
        self.check("metadata", '{"metadata":1, "b":2}', '{"b":2}')
        self.check("metadata", '{"a":1,"metadata":1}', '{"a":1}')
        self.check("metadata", '{ "metadata":1 }', "{  }")
        self.check("metadata", '{"a":{"metadata":1}}', '{"a":{"metadata":1}}')

    def test_deeper(self):
        """Fields of objects in lists are removed from each, or from the one with that number."""
        tools = '{"tools":[{"name":"a","x":1}, {"x":2} ,3,{"name":"b"}]}'
        self.check("tools.*.x", tools, '{"tools":[{"name":"a"}, {} ,3,{"name":"b"}]}')
        self.check("tools.1.x", tools, '{"tools":[{"name":"a","x":1}, {} ,3,{"name":"b"}]}')
        self.check("tools.9.x", tools, tools)
        self.check("tools.x", tools, tools)
        self.check("a.b.c", '{"a":{"b":{"c":1,"d":2}}}', '{"a":{"b":{"d":2}}}')

    def test_types(self):
        """The type of an object may be a part of the path; it then limits the path to such objects."""
        self.check(
            "tools.*.custom.x", '{"tools":[{"x":1},{"type":"bash","x":2}]}', '{"tools":[{},{"type":"bash","x":2}]}'
        )
        self.check("tools.*.bash.x", '{"tools":[{"x":1},{"type":"bash","x":2}]}', '{"tools":[{"x":1},{"type":"bash"}]}')
        thinking = '{"c":[{"type":"thinking","thinking":"hm","x":1},{"type":"text","x":1}]}'
        self.check("c.*.thinking.x", thinking, '{"c":[{"type":"thinking","thinking":"hm"},{"type":"text","x":1}]}')
        cache = '{"s":[{"cache_control":{"type":"ephemeral","scope":"g"}}]}'
        self.check("s.*.cache_control.ephemeral.scope", cache, '{"s":[{"cache_control":{"type":"ephemeral"}}]}')

    def test_several(self):
        """Several fields go at once."""
        paths = [parse_path("a"), parse_path("t.*.x"), parse_path("t.*.y")]
        self.assertEqual(remove_fields(b'{"a":1,"t":[{"x":1,"y":2,"z":3}],"b":2}', paths), b'{"t":[{"z":3}],"b":2}')

    def test_generalized(self):
        """Numbers stand for any element."""
        self.assertEqual(generalized(parse_path("tools.0.custom.x")), ("tools", "*", "custom", "x"))

    @given(st.dictionaries(_NAMES, _VALUES, max_size=4), st.lists(_PATHS, max_size=3))
    def test_nothing_else_changes(self, document, paths):
        """What remains is valid JSON with less in it, exactly where a path names something that is there."""
        assume(("custom",) not in paths)  # without this member, the word may be the object's type
        body = json.dumps(document).encode()
        found = remove_fields(body, paths)
        self.assertEqual(found != body, any(is_present(document, path) for path in paths))
        self.assertFalse(any(is_present(json.loads(found), path) for path in paths))
        self.assertEqual(remove_fields(found, paths), found)

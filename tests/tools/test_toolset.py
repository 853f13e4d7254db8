"""Toolsets as values."""

import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.tools.toolset import Toolset
from aibridge.wire.tool_calls import InjectedTool

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
TOOL = st.builds(
    InjectedTool, st.text(), st.text(), st.text(), st.text(), st.text(), st.dictionaries(st.text(), JSON, max_size=3)
)
TOOLS = st.lists(TOOL, max_size=4, unique_by=lambda tool: tool.name).map(tuple)


class ToolsetTests(SynchronousTestCase):
    """What a conversation holds on to."""

    @given(TOOLS)
    def test_dumped_and_loaded(self, tools: Any) -> None:
        """A toolset goes through JSON text unharmed, and keeps its digest."""
        toolset = Toolset(tools)
        loaded = Toolset.load(json.loads(json.dumps(toolset.dump())))
        self.assertEqual(loaded, toolset)
        self.assertEqual([loaded.get(tool.name) for tool in tools], list(tools))

    @given(TOOLS, TOOLS)
    def test_digest(self, one: Any, other: Any) -> None:
        """Two digests are equal where the model sees the same, in the same order, and nowhere else."""

        def seen(tools: Any) -> str:
            return json.dumps([(tool.name, tool.description, tool.schema) for tool in tools])

        self.assertEqual(seen(one) == seen(other), Toolset(one).digest == Toolset(other).digest)

    def test_digest_is_of_what_the_model_sees(self) -> None:
        """Another description, schema or order of its members is another digest; a server's new address is not."""
        tool = InjectedTool("bmcp_a_b", "a", "http://a", "b", "Does.", {"type": "object", "required": []})
        digest = Toolset((tool,)).digest
        self.assertEqual(digest, Toolset((evolve(tool, server_url="http://b"),)).digest)
        for change in ({"description": "Did."}, {"schema": {"required": [], "type": "object"}}, {"name": "bmcp_a_c"}):
            self.assertNotEqual(digest, Toolset((evolve(tool, **change),)).digest)

    def test_unknown(self) -> None:
        """A name that is not in it is no tool."""
        self.assertIsNone(Toolset().get("bmcp_a_b"))

"""Toolsets as values."""

import json
import re
from typing import Any

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.tools.toolset import MAX_NAME_LENGTH, Toolset, injected_name
from aibridge.wire.tool_calls import InjectedTool

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
TOOL = st.builds(
    InjectedTool, st.text(), st.text(), st.text(), st.text(), st.text(), st.dictionaries(st.text(), JSON, max_size=3)
)
TOOLSETS = st.lists(TOOL, max_size=4, unique_by=lambda tool: tool.name).map(tuple)


class ToolsetTests(SynchronousTestCase):
    """What a conversation holds on to."""

    @given(TOOLSETS)
    def test_dumped_and_loaded(self, tools: Any) -> None:
        """A toolset goes through JSON text unharmed, and keeps its digest."""
        toolset = Toolset(tools)
        loaded = Toolset.load(json.loads(json.dumps(toolset.dump())))
        self.assertEqual(loaded, toolset)
        self.assertEqual(loaded.digest, toolset.digest)

    @given(TOOLSETS, TOOLSETS)
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


TOOLS = st.text(max_size=80)


SERVERS = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) < 90)
NAMES = st.text(max_size=80)


class NameTests(SynchronousTestCase):
    """What the model calls a tool."""

    def test_plain(self) -> None:
        """An ordinary tool is called by its server's name and its own."""
        self.assertEqual(injected_name("deepwiki", "ask_question"), "bmcp_deepwiki_ask_question")

    def test_shortened(self) -> None:
        """A name that is too long, or has a character that is refused, stays readable and is the same for ever."""
        self.assertEqual(injected_name("a", "look.up"), "bmcp_a_look_up_9d2e0af6c1")
        self.assertEqual(injected_name("a", "b" * 57), "bmcp_a_" + "b" * 57)
        self.assertEqual(injected_name("a", "b" * 58), "bmcp_a_" + "b" * 46 + "_365cab5981")
        self.assertEqual(len(injected_name("a", "b" * 58)), MAX_NAME_LENGTH)

    @given(SERVERS, NAMES)
    def test_every_api_takes_it(self, server: str, tool: str) -> None:
        """Whatever a server calls its tools, each name is one that every API takes."""
        self.assertRegex(injected_name(server, tool), re.compile(r"\Abmcp_[a-zA-Z0-9_-]{1,59}\Z"))

    @given(SERVERS, NAMES, SERVERS, NAMES)
    def test_two_tools_have_two_names(self, server: str, tool: str, other: str, another: str) -> None:
        """Two tools never share a name, be it of one server or of two."""
        assume((server, tool) != (other, another))
        self.assertNotEqual(injected_name(server, tool), injected_name(other, another))

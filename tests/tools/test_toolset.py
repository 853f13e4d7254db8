"""Toolsets, and the names of their tools."""

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
    """The tools of a conversation."""

    @given(TOOLSETS)
    def test_dumped_and_loaded(self, tools: Any) -> None:
        """A toolset that was dumped as JSON and loaded is equal, with the same digest."""
        toolset = Toolset(tools)
        loaded = Toolset.load(json.loads(json.dumps(toolset.dump())))
        self.assertEqual(loaded, toolset)
        self.assertEqual(loaded.digest, toolset.digest)

    @given(TOOLSETS, TOOLSETS)
    def test_digest(self, one: Any, other: Any) -> None:
        """Two digests are equal exactly if the model sees the same tools in the same order."""

        def seen(tools: Any) -> str:
            return json.dumps([(tool.name, tool.description, tool.schema) for tool in tools])

        self.assertEqual(seen(one) == seen(other), Toolset(one).digest == Toolset(other).digest)

    def test_digest_is_of_what_the_model_sees(self) -> None:
        """The digest changes with names, descriptions, schemas and their order, not with a server's address."""
        tool = InjectedTool("bmcp_a_b", "a", "http://a", "b", "Does.", {"type": "object", "required": []})
        digest = Toolset((tool,)).digest
        self.assertEqual(digest, Toolset((evolve(tool, server_url="http://b"),)).digest)
        for change in ({"description": "Did."}, {"schema": {"required": [], "type": "object"}}, {"name": "bmcp_a_c"}):
            self.assertNotEqual(digest, Toolset((evolve(tool, **change),)).digest)


TOOLS = st.text(max_size=80)


SERVERS = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) < 90)
NAMES = st.text(max_size=80)


class NameTests(SynchronousTestCase):
    """The names under which models call tools."""

    def test_plain(self) -> None:
        """An ordinary name consists of the server's name and the tool's."""
        self.assertEqual(injected_name("deepwiki", "ask_question"), "bmcp_deepwiki_ask_question")

    def test_shortened(self) -> None:
        """A name that is too long or has an invalid character is shortened, and is always the same."""
        self.assertEqual(injected_name("a", "look.up"), "bmcp_a_look_up_9d2e0af6c1")
        self.assertEqual(injected_name("a", "b" * 57), "bmcp_a_" + "b" * 57)
        self.assertEqual(injected_name("a", "b" * 58), "bmcp_a_" + "b" * 46 + "_365cab5981")
        self.assertEqual(len(injected_name("a", "b" * 58)), MAX_NAME_LENGTH)

    @given(SERVERS, NAMES)
    def test_every_api_takes_it(self, server: str, tool: str) -> None:
        """Every API accepts the injected name of any tool."""
        self.assertRegex(injected_name(server, tool), re.compile(r"\Abmcp_[a-zA-Z0-9_-]{1,59}\Z"))

    @given(SERVERS, NAMES, SERVERS, NAMES)
    def test_two_tools_have_two_names(self, server: str, tool: str, other: str, another: str) -> None:
        """Two tools never share a name, of one server or of two."""
        assume((server, tool) != (other, another))
        self.assertNotEqual(injected_name(server, tool), injected_name(other, another))

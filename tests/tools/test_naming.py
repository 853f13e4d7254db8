"""Names of injected tools."""

import re

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.tools.toolset import LONGEST, injected_name

SERVERS = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) < 90)
TOOLS = st.text(max_size=80)


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
        self.assertEqual(len(injected_name("a", "b" * 58)), LONGEST)

    @given(SERVERS, TOOLS)
    def test_every_api_takes_it(self, server: str, tool: str) -> None:
        """Whatever a server calls its tools, each name is one that every API takes."""
        self.assertRegex(injected_name(server, tool), re.compile(r"\Abmcp_[a-zA-Z0-9_-]{1,59}\Z"))

    @given(SERVERS, TOOLS, SERVERS, TOOLS)
    def test_two_tools_have_two_names(self, server: str, tool: str, other: str, another: str) -> None:
        """Two tools never share a name, be it of one server or of two."""
        assume((server, tool) != (other, another))
        self.assertNotEqual(injected_name(server, tool), injected_name(other, another))

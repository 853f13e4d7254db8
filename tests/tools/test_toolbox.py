"""The toolbox, with sessions that are not connected."""

from collections.abc import Callable
from typing import Any

from attrs import Factory, define
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from aibridge.errors import ConfigError
from aibridge.interfaces import IToolbox, IToolFilter
from aibridge.settings import InvalidSetting
from aibridge.tools.settings import MCPServerSettings
from aibridge.tools.toolbox import Toolbox, make_toolbox
from aibridge.tools.toolset import ToolDefinition, Toolset, injected_name
from aibridge.wire.tool_calls import InjectedCall, ToolResult


@define(eq=False)
class Session:
    """A session that offers tools of given names, and returns its own name for calls."""

    settings: MCPServerSettings
    tools: tuple[ToolDefinition, ...] = ()
    state: str = "up"
    last_error: str | None = None
    malformed: dict[str, str] = Factory(dict)
    on_tools_changed: Callable[[], object] = lambda: None
    stopped: bool = False

    def offer(self, *names: str) -> None:
        self.tools = tuple(ToolDefinition(name, f"Does {name}.", {"type": "object"}) for name in names)
        self.on_tools_changed()

    def call(self, call: InjectedCall, arguments: dict[str, Any]) -> "Deferred[ToolResult]":
        said = f"{self.settings.name} {call.tool.tool} {arguments}"
        return succeed(ToolResult(call, [{"type": "text", "text": said}]))

    def stop(self) -> "Deferred[None]":
        self.stopped = True
        return succeed(None)


def session(server: str, *names: str, **settings: Any) -> Session:
    """Return a session with that server and these tools."""
    made = Session(MCPServerSettings(name=server, url=f"http://{server}.test/mcp?key=hunter2", **settings))
    made.offer(*names)
    return made


def names(toolset: Toolset) -> list[str]:
    return [tool.name for tool in toolset.tools]


class OfferTests(SynchronousTestCase):
    """The tools that are offered to the model."""

    def test_interface(self) -> None:
        """A toolbox provides the whole interface."""
        verifyObject(IToolbox, Toolbox([]))
        verifyObject(IToolFilter, Toolbox([]))

    def test_order(self) -> None:
        """The order is the same whichever server came first and however it lists its own tools."""
        one = Toolbox([session("b", "y", "x"), session("a", "z")]).toolset()
        other = Toolbox([session("a", "z"), session("b", "x", "y")]).toolset()
        self.assertEqual(names(one), ["bmcp_a_z", "bmcp_b_x", "bmcp_b_y"])
        self.assertEqual(one, other)

    def test_tool(self) -> None:
        """A tool is offered with its description and schema; its server's address is shown without the key."""
        (tool,) = Toolbox([session("a", "z")]).toolset().tools
        self.assertEqual((tool.server, tool.tool, tool.server_url), ("a", "z", "http://a.test/mcp"))
        self.assertEqual((tool.description, tool.schema), ("Does z.", {"type": "object"}))

    def test_filters(self) -> None:
        """`allow` and `deny` are searched for in the tool's own name, and `deny` is stronger."""
        tools = ("read_file", "read_secret", "write_file")
        for allow, deny, left in (
            ("", "", tools),
            ("^read", "", tools[:2]),
            ("^read", "secret", tools[:1]),
            ("", "file$", tools[1:2]),
            ("x", "", ()),
        ):
            toolset = Toolbox([session("a", *tools, allow=allow, deny=deny)]).toolset()
            self.assertEqual([tool.tool for tool in toolset.tools], list(left))

    def test_never_changes(self) -> None:
        """A toolset never changes; a new one is made only if a server's tools change."""
        server = session("a", "x")
        box = Toolbox([server])
        before = box.toolset()
        self.assertIs(box.toolset(), before)
        server.offer("x", "y")
        self.assertEqual(names(before), ["bmcp_a_x"])
        self.assertEqual(names(box.toolset()), ["bmcp_a_x", "bmcp_a_y"])

    def test_serves(self) -> None:
        """`models` and `providers` say for whom a server is there; one that is gone is there for nobody to refuse."""
        box = Toolbox([session("a", "x", models="^gpt-[45]", providers="^openai$"), session("b")])
        for server, provider, model, serves in (
            ("a", "openai", "gpt-5", True),
            ("a", "openai", "gpt-3", False),
            ("a", "openai-2", "gpt-5", False),
            ("b", "openai", "gpt-3", True),
            ("c", "openai", "gpt-3", True),
        ):
            self.assertIs(box.serves(server, provider, model), serves)

    def test_name_taken(self) -> None:
        """A tool whose name is another tool's shortened name is not offered, in whichever order they are listed."""
        short = injected_name("a", "x.y").removeprefix("bmcp_a_")
        for tools in (("x.y", short), (short, "x.y")):
            box = Toolbox([session("a", *tools)])
            (tool,) = box.toolset().tools
            self.assertEqual([tool.tool, *box.status()[0]["name_taken"]], sorted(tools))

    def test_listed_twice(self) -> None:
        """If a server lists a tool twice, the first counts."""
        server = session("a")
        server.tools = (ToolDefinition("x", "first", {}), ToolDefinition("x", "second", {}))
        (tool,) = Toolbox([server]).toolset().tools
        self.assertEqual(tool.description, "first")

    @given(st.lists(st.text(max_size=70), max_size=6), st.randoms())
    def test_no_two_alike(self, tools: list[str], random: Any) -> None:
        """Injected names are unique for all names of tools, and the order of a server's list changes nothing."""
        shuffled = list(dict.fromkeys(tools))
        random.shuffle(shuffled)
        one = Toolbox([session("a", *dict.fromkeys(tools)), session("a-b", *tools)]).toolset()
        other = Toolbox([session("a-b", *shuffled), session("a", *shuffled)]).toolset()
        self.assertEqual(len(set(names(one))), len(one.tools))
        self.assertEqual((names(one), one.digest), (names(other), other.digest))


class CallTests(SynchronousTestCase):
    """Calls of tools."""

    def setUp(self) -> None:
        self.server = session("a", "x.y", "z")
        self.box = Toolbox([self.server])
        self.toolset = self.box.toolset()

    def text(self, name: str, arguments: str = "{}", box: Toolbox | None = None) -> str:
        """Return the text that the model gets for a call of that tool."""
        [tool] = [tool for tool in self.toolset.tools if tool.name == name]
        result = self.successResultOf((box or self.box).call(InjectedCall("c1", tool, arguments)))
        return ("error: " if result.error else "") + result.text

    def test_by_its_servers_name(self) -> None:
        """The server is called with its own name for the tool."""
        self.assertEqual(self.text(injected_name("a", "x.y"), '{"b": 1}'), "a x.y {'b': 1}")

    def test_not_to_be_had(self) -> None:
        """Calls of tools that are gone or forbidden are errors for the model."""
        self.server.offer("x.y")
        forbidding, without = Toolbox([session("a", "z", deny="z")]), Toolbox([])
        self.assertEqual(self.text("bmcp_a_z"), "error: the tool bmcp_a_z is not available at the moment")
        for box in (forbidding, without):
            self.assertEqual(self.text("bmcp_a_z", box=box), "error: the tool bmcp_a_z is not available any more")

    def test_large_numbers(self) -> None:
        """A tool gets whole numbers of any size exactly."""
        self.assertIn("{'id': 123456789012345678901}", self.text("bmcp_a_z", '{"id": 123456789012345678901}'))

    def test_arguments(self) -> None:
        """Arguments that are no object are an error."""
        for wrong in ("[]", '"{}"', "1", "{x"):
            self.assertEqual(self.text("bmcp_a_z", wrong), "error: the arguments must be a JSON object")

    def test_right_after_a_start(self) -> None:
        """A call in a conversation older than the process waits for a server that is still connecting."""
        self.server.offer()
        self.server.state = "connecting"
        self.assertEqual(self.text("bmcp_a_z"), "a z {}")


class OtherServersTests(SynchronousTestCase):
    """A toolbox that is made of another one, with other servers."""

    def setUp(self) -> None:
        self.kept, self.gone = session("kept", "x"), session("gone", "y")
        self.toolbox = Toolbox([self.kept, self.gone])
        kept = MCPServerSettings(name="kept", url=self.kept.settings.url)
        self.new = MCPServerSettings(name="new", url="http://new.test")
        self.other = self.toolbox.with_servers([kept, self.new], None)

    def test_sessions(self) -> None:
        """A server with the same settings keeps its session, whose changes reach the new toolbox."""
        self.assertEqual(names(self.other.toolset()), ["bmcp_kept_x"])
        self.kept.offer("x", "z")
        self.assertEqual(names(self.other.toolset()), ["bmcp_kept_x", "bmcp_kept_z"])
        self.assertEqual([each["state"] for each in self.other.status()], ["up", "connecting"])

    def test_changed_server(self) -> None:
        """A server whose settings change gets a new session."""
        changed = MCPServerSettings(name="kept", url=self.kept.settings.url, deny="z")
        other = self.toolbox.with_servers([changed], None)
        self.assertEqual([(each["name"], each["state"]) for each in other.status()], [("kept", "connecting")])

    def test_stop(self) -> None:
        """The end of the earlier toolbox leaves the sessions that the new one uses."""
        self.toolbox.stop(but=[self.other])
        self.assertEqual((self.kept.stopped, self.gone.stopped), (False, True))

    def test_earlier_calls(self) -> None:
        """Calls of tools that are gone are still possible through the toolbox that had them."""
        [tool] = [tool for tool in self.toolbox.toolset().tools if tool.server == "gone"]
        result = self.successResultOf(self.toolbox.call(InjectedCall("1", tool, "{}")))
        self.assertIsNone(result.error)
        result = self.successResultOf(self.other.call(InjectedCall("1", tool, "{}")))
        self.assertIn("not available any more", str(result.error))


class StatusTests(SynchronousTestCase):
    """The status for operators."""

    def test_status(self) -> None:
        """The status has each server's tools, filtered tools and last error, and no key."""
        up, down = session("b", "x", "secret", deny="secret"), session("a")
        down.state, down.last_error = "down", "no route"
        self.assertEqual(
            Toolbox([up, down]).status(),
            [
                {
                    "name": "a",
                    "transport": "streamable-http",
                    "address": "http://a.test/mcp",
                    "state": "down",
                    "tools": [],
                    "filtered": [],
                    "name_taken": [],
                    "left_out": [],
                    "last_error": "no route",
                },
                {
                    "name": "b",
                    "transport": "streamable-http",
                    "address": "http://b.test/mcp",
                    "state": "up",
                    "tools": ["bmcp_b_x"],
                    "filtered": ["secret"],
                    "name_taken": [],
                    "left_out": [],
                    "last_error": None,
                },
            ],
        )

    def test_stop(self) -> None:
        """A stop ends every session."""
        sessions = [session("a"), session("b")]
        self.successResultOf(Toolbox(sessions).stop())
        self.assertTrue(all(one.stopped for one in sessions))

    def test_same_name(self) -> None:
        """Two servers of the same name are refused."""
        one, other = session("a").settings, session("a").settings
        error = self.assertRaises(InvalidSetting, make_toolbox, [one, other], object())
        self.assertEqual(str(error), "name: two MCP servers are called a")

    def test_other_reactors(self) -> None:
        """A start on a reactor without asyncio says what is expected; without servers any reactor serves."""
        make_toolbox([], object()).start()
        error = self.assertRaises(ConfigError, make_toolbox([session("a").settings], object()).start)
        self.assertIn("asyncio", str(error))
        self.assertIn("object", str(error))

"""What goes wrong between a session and its server."""

import shutil
import socket
from typing import Any

from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import ConfigError
from aibridge.tools import mcp_session
from aibridge.tools.mcp_session import ServerSession, pause_after
from aibridge.tools.settings import MCPServerSettings

from .menu import Menu
from .serving import LeavesNothing, behind_bearer, turn, until


class AbsenceTests(LeavesNothing):
    """Servers that are not there, or not quite."""

    def deaf(self) -> socket.socket:
        """A port that takes connections and never answers."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening

    def url(self, listening: socket.socket) -> str:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"

    async def test_down_at_the_start(self) -> None:
        """A server that is not there yet is no error: it is used as soon as it comes."""
        listening = self.deaf()
        url = self.url(listening)
        listening.close()
        session = await self.session(url=url)
        self.assertEqual((session.state, session.tools), ("down", ()))
        self.assertIn("connection", session.last_error.lower())
        result = await self.call(session, "echo", {"text": "a"})
        self.assertEqual(result.error, "the MCP server menu is not connected at the moment")
        await self.serve(Menu().server.streamable_http_app(), int(url.split(":")[2].split("/")[0]))
        await until(lambda: session.state == "up")
        self.assertIsNone((await self.call(session, "echo", {"text": "a"})).error)

    async def test_gone_for_good(self) -> None:
        """A server that went away keeps its tools; calls of them are errors until it is back."""
        listener = await self.serve(Menu().server.streamable_http_app())
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        tools = session.tools
        await listener.stop()
        await until(lambda: session.state == "down")
        self.assertEqual(session.tools, tools)
        self.assertIsNotNone((await self.call(session, "echo", {"text": "a"})).error)

    async def test_deaf(self) -> None:
        """A server that never answers counts as down after ``connect_timeout``, on either transport."""
        for transport in ("streamable-http", "sse"):
            session = await self.session(url=self.url(self.deaf()), transport=transport, connect_timeout=0.1)
            self.assertEqual((session.state, session.last_error), ("down", "no response within 0.1 seconds"))

    async def test_stopped_while_connecting(self) -> None:
        """A stop does not wait for a server that never answers, nor for a start that has not begun."""
        session = ServerSession(MCPServerSettings(name="menu", url=self.url(self.deaf())), reactor)
        session.start()
        await turn()
        await session.stop()
        other = ServerSession(MCPServerSettings(name="menu", url=self.url(self.deaf())), reactor)
        other.start()
        await other.stop()
        self.assertEqual(session.state, "down")

    async def test_wrong_path(self) -> None:
        """A server that knows nothing of MCP is down, for either transport."""
        listener = await self.serve(Menu().server.streamable_http_app())
        for transport in ("streamable-http", "sse"):
            session = await self.session(url=f"http://127.0.0.1:{listener.port}/other", transport=transport)
            self.assertEqual(session.state, "down")
            self.assertIn("Not Found", session.last_error)


class CredentialTests(LeavesNothing):
    """Servers that want to know who asks."""

    async def test_headers(self) -> None:
        """The configured headers reach the server."""
        listener = await self.serve(behind_bearer(Menu().server.streamable_http_app(), "hunter22"))
        url = f"http://127.0.0.1:{listener.port}/mcp"
        session = await self.session(url=url, headers={"Authorization": "Bearer hunter22"})
        self.assertEqual(session.state, "up")

    async def test_refused(self) -> None:
        """A credential that is not taken is told as such, without the credential."""
        for transport in ("streamable-http", "sse"):
            listener = await self.serve(behind_bearer(Menu().server.streamable_http_app(), "other"))
            url = f"http://127.0.0.1:{listener.port}/mcp?key=hunter23"
            headers = {"Authorization": "Bearer hunter22"}
            session = await self.session(url=url, headers=headers, transport=transport)
            self.assertEqual(session.last_error, "HTTP 401: the server does not accept the credential")


class OddServerTests(LeavesNothing):
    """Servers that use the protocol's freedom."""

    async def test_pages(self) -> None:
        """A list that comes in pages is read to its end; one without an end is read for a while."""
        for last in (3, 10**9):
            session = await self.session(url=await self.paging(last))
            self.assertEqual(len(session.tools), min(last, 100))
            self.assertEqual([tool.name for tool in session.tools[:3]], ["tool0", "tool1", "tool2"])

    async def test_silent(self) -> None:
        """A server that does not tell of changes is asked from time to time."""
        self.patch(mcp_session, "REFRESH_INTERVAL", 0.02)
        menu = Menu()
        listener = await self.serve(menu.server.streamable_http_app())
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        menu.server.remove_tool("echo")
        await until(lambda: "echo" not in {tool.name for tool in session.tools})

    async def paging(self, last: int) -> str:
        """The URL of a server that lists one tool a page."""

        async def tools(context: Any, params: Any) -> ListToolsResult:
            page = int(params.cursor) if params and params.cursor else 0
            tool = Tool(name=f"tool{page}", input_schema={"type": "object"})
            return ListToolsResult(tools=[tool], next_cursor=str(page + 1) if page + 1 < last else None)

        server: Server[Any] = Server("pages", on_list_tools=tools)
        listener = await self.serve(server.streamable_http_app())
        return f"http://127.0.0.1:{listener.port}/mcp"

    async def test_structure(self) -> None:
        """A structured result that does not fit its schema does not cost the text; one without text becomes one."""
        results = {
            "both": CallToolResult(content=[TextContent(text="fine")], structured_content={"a": "no number"}),
            "bare": CallToolResult(content=[], structured_content={"a": "é"}),
            "nothing": CallToolResult(content=[]),
            "error": CallToolResult(content=[], is_error=True),
        }

        async def tools(context: Any, params: Any) -> ListToolsResult:
            output = {"type": "object", "properties": {"a": {"type": "number"}}}
            every = [Tool(name=name, input_schema={"type": "object"}, output_schema=output) for name in results]
            return ListToolsResult(tools=every)

        async def call(context: Any, params: Any) -> CallToolResult:
            return results[params.name]

        server: Server[Any] = Server("odd", on_list_tools=tools, on_call_tool=call)
        listener = await self.serve(server.streamable_http_app())
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        said = {name: (await self.call(session, name, {})).text for name in results}
        unsaid = "the tool failed without saying why"
        self.assertEqual(said, {"both": "fine", "bare": '{"a": "é"}', "nothing": "", "error": unsaid})

    async def test_plain_json(self) -> None:
        """A server that answers with plain JSON is as good; a result over the limit is an error there too."""
        listener = await self.serve(Menu().server.streamable_http_app(json_response=True))
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        self.assertEqual((await self.call(session, "echo", {"text": "a"})).text, "a")
        result = await self.call(session, "large", {"size": 3_000_000})
        self.assertIsNotNone(result.error)
        self.assertIn("too large", result.text)
        self.assertEqual((await self.call(session, "echo", {"text": "a"})).text, "a")

    async def test_everything(self) -> None:
        """The reference server of the protocol's makers works: its tools, its texts, its pictures."""
        session = await self.session(transport="stdio", command="mcp-server-everything", args=["stdio"])
        self.assertEqual((await self.call(session, "echo", {"message": "a"})).text, "Echo: a")
        picture = await self.call(session, "get-tiny-image", {})
        self.assertIn("image/png", [part.get("mime_type") for part in picture.content])
        self.assertIsNotNone((await self.call(session, "echo", {})).error)

    if shutil.which("mcp-server-everything") is None:
        test_everything.skip = "npm's @modelcontextprotocol/server-everything is not installed"  # type: ignore[attr-defined]


class PauseTests(SynchronousTestCase):
    """How long to wait before the next attempt."""

    def test_pauses(self) -> None:
        """None at first, then twice as long each time, and never more than half a minute."""
        self.assertEqual([pause_after(failures) for failures in range(4)], [0, 0.1, 0.2, 0.4])
        self.assertEqual({pause_after(failures) for failures in (10, 100, 10**9)}, {30})


class ReactorTests(SynchronousTestCase):
    """Reactors that asyncio does not run on."""

    def test_refused(self) -> None:
        """A session can't be started there, and says so before anything begins."""
        session = ServerSession(MCPServerSettings(name="a", url="http://a.test"), object())
        self.assertRaises(ConfigError, session.start)

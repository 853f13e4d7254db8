"""Faults between a session and its server."""

import asyncio
import os
import shutil
import socket
from typing import Any

from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import ConfigError
from aibridge.tools import mcp_session
from aibridge.tools.mcp_session import ServerSession, pause_after
from aibridge.tools.settings import MCPServerSettings

from .menu import Menu
from .serving import LeavesNothing, before_2026, behind_bearer, turn, until


class AbsenceTests(LeavesNothing):
    """Servers that can't be reached, or don't respond."""

    def deaf(self) -> socket.socket:
        """Return a port that accepts connections and never responds."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening

    def url(self, listening: socket.socket) -> str:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"

    async def test_down_at_the_start(self) -> None:
        """A server that is down at the start is no error: it is used as soon as it is up."""
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

    async def test_proxy(self) -> None:
        """A server is reached through the configured proxy, which gets its credentials; nothing shows them."""
        seen: list[dict[bytes, bytes]] = []
        app = Menu().server.streamable_http_app()

        async def proxy(scope: Any, receive: Any, send: Any) -> None:
            seen.append(dict(scope.get("headers", ())))
            await app(scope, receive, send)

        listener = await self.serve(proxy)
        session = await self.session(
            url="http://localhost.test/mcp", proxy=f"http://user:hunter2@127.0.0.1:{listener.port}"
        )
        self.assertEqual(seen[-1][b"host"], b"localhost.test")
        self.assertEqual(seen[-1][b"proxy-authorization"], b"Basic dXNlcjpodW50ZXIy")
        self.assertNotIn("hunter2", repr(session.settings) + repr(session.last_error))

    async def test_no_proxy_to_this_machine(self) -> None:
        """A server on this machine is reached directly, although the environment names a proxy."""
        self.patch(os, "environ", {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"})
        listener = await self.serve(Menu().server.streamable_http_app())
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        self.assertEqual((session.state, session.last_error), ("up", None))

    async def test_deaf(self) -> None:
        """A server that never responds is down after ``connect_timeout``, on either transport."""
        for transport in ("streamable-http", "sse"):
            session = await self.session(url=self.url(self.deaf()), transport=transport, connect_timeout=0.1)
            self.assertEqual((session.state, session.last_error), ("down", "no response within 0.1 seconds"))

    async def test_stopped_while_connecting(self) -> None:
        """A stop does not wait for a server that never responds, nor for a start that has not begun."""
        session = ServerSession(MCPServerSettings(name="menu", url=self.url(self.deaf())), reactor)
        session.start()
        await turn()
        await session.stop()
        other = ServerSession(MCPServerSettings(name="menu", url=self.url(self.deaf())), reactor)
        other.start()
        await other.stop()
        self.assertEqual(session.state, "down")

    async def test_wrong_path(self) -> None:
        """A server that does not speak MCP is down, on either transport."""
        listener = await self.serve(Menu().server.streamable_http_app())
        for transport in ("streamable-http", "sse"):
            session = await self.session(url=f"http://127.0.0.1:{listener.port}/other", transport=transport)
            self.assertEqual(session.state, "down")
            self.assertIn("Not Found", session.last_error)


class ProxyTests(LeavesNothing):
    """Proxies before a server that don't work."""

    async def proxy(self, response: bytes) -> str:
        """Return host and port of a proxy that responds so to everything."""

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(response)
            writer.close()

        await turn(0)
        listening = await Deferred.fromFuture(asyncio.ensure_future(asyncio.start_server(respond, "127.0.0.1", 0)))
        self.addCleanup(listening.close)
        return f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"

    async def test_gateways(self) -> None:
        """The status of a gateway before the server that can't reach it is in the last error, on either transport."""
        page = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<h1>"
        address = await self.proxy(page)
        for transport in ("streamable-http", "sse"):
            session = await self.session(url=f"http://{address}/mcp?key=hunter2", transport=transport)
            self.assertEqual((session.state, session.last_error), ("down", "HTTP 502 Bad Gateway"))

    async def test_egress(self) -> None:
        """The proxy to the server that is away, or refuses, is named in the last error."""
        refusing = await self.proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        for address, why in (("127.0.0.1:9", "attempts failed"), (refusing, "407 Proxy Authentication Required")):
            for scheme in ("http", "https"):
                proxy = f"http://user:hunter2@{address}"
                session = await self.session(url=f"{scheme}://tools.test/mcp", proxy=proxy)
                self.assertEqual(session.state, "down")
                self.assertIn(why, session.last_error)
                self.assertIn(f"(through the proxy {address})", session.last_error)
                self.assertNotIn("hunter2", session.last_error)


class CredentialTests(LeavesNothing):
    """Servers that demand a credential."""

    async def test_headers(self) -> None:
        """The configured headers are sent to the server."""
        listener = await self.serve(behind_bearer(Menu().server.streamable_http_app(), "hunter22"))
        url = f"http://127.0.0.1:{listener.port}/mcp"
        session = await self.session(url=url, headers={"Authorization": "Bearer hunter22"})
        self.assertEqual(session.state, "up")

    async def test_refused(self) -> None:
        """The error for a rejected credential says so, and does not contain the credential."""
        for transport in ("streamable-http", "sse"):
            listener = await self.serve(behind_bearer(Menu().server.streamable_http_app(), "other"))
            url = f"http://127.0.0.1:{listener.port}/mcp?key=hunter23"
            headers = {"Authorization": "Bearer hunter22"}
            session = await self.session(url=url, headers=headers, transport=transport)
            self.assertEqual(session.last_error, "HTTP 401: the server does not accept the credential")


class OddServerTests(LeavesNothing):
    """Servers that use the protocol in unusual ways."""

    async def test_pages(self) -> None:
        """A list in pages is read to its end, and an endless list up to a limit."""
        for last in (3, 10**9):
            session = await self.session(url=await self.paging(last))
            self.assertEqual(len(session.tools), min(last, 100))
            self.assertEqual([tool.name for tool in session.tools[:3]], ["tool0", "tool1", "tool2"])

    async def test_silent(self) -> None:
        """The tools of a server that sends no notifications are read again from time to time."""
        self.patch(mcp_session, "REFRESH_INTERVAL", 0.02)
        menu = Menu()
        listener = await self.serve(menu.server.streamable_http_app())
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        menu.server.remove_tool("echo")
        await until(lambda: "echo" not in {tool.name for tool in session.tools})

    async def test_back_with_other_tools(self) -> None:
        """A server that was away for a moment and announces nothing is asked again within 45 seconds."""
        self.assertLess(mcp_session.REFRESH_INTERVAL, 45)
        self.assertLess(pause_after(10**9), 45)
        self.patch(mcp_session, "REFRESH_INTERVAL", 0.02)
        for app in (
            lambda menu: menu.server.streamable_http_app(),
            lambda menu: before_2026(menu.server.streamable_http_app()),
        ):
            listener = await self.serve(app(Menu()))
            session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
            await listener.stop()
            menu = Menu()
            menu.server.remove_tool("echo")
            await self.serve(app(menu), listener.port)
            await until(lambda session=session: session.state == "up" and "echo" not in {t.name for t in session.tools})

    async def paging(self, last: int) -> str:
        """Return the URL of a server that lists one tool a page."""

        async def tools(context: Any, params: Any) -> ListToolsResult:
            page = int(params.cursor) if params and params.cursor else 0
            tool = Tool(name=f"tool{page}", input_schema={"type": "object"})
            return ListToolsResult(tools=[tool], next_cursor=str(page + 1) if page + 1 < last else None)

        server: Server[Any] = Server("pages", on_list_tools=tools)
        listener = await self.serve(server.streamable_http_app())
        return f"http://127.0.0.1:{listener.port}/mcp"

    async def test_structure(self) -> None:
        """Structured content that does not match its schema is ignored; without other content it becomes text."""
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
        """A server may respond with plain JSON; a result over the limit is an error there too."""
        listener = await self.serve(Menu().server.streamable_http_app(json_response=True))
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")
        self.assertEqual((await self.call(session, "echo", {"text": "a"})).text, "a")
        result = await self.call(session, "large", {"size": 3_000_000})
        self.assertIsNotNone(result.error)
        self.assertIn("too large", result.text)
        self.assertEqual((await self.call(session, "echo", {"text": "a"})).text, "a")

    async def test_everything(self) -> None:
        """The protocol's reference server works: its tools, texts and images."""
        session = await self.session(transport="stdio", command="mcp-server-everything", args=["stdio"])
        self.assertEqual((await self.call(session, "echo", {"message": "a"})).text, "Echo: a")
        picture = await self.call(session, "get-tiny-image", {})
        self.assertIn("image/png", [part.get("mime_type") for part in picture.content])
        self.assertIsNotNone((await self.call(session, "echo", {})).error)

    if shutil.which("mcp-server-everything") is None:
        test_everything.skip = "npm's @modelcontextprotocol/server-everything is not installed"  # type: ignore[attr-defined]


class PauseTests(SynchronousTestCase):
    """Pauses before the next attempt."""

    def test_pauses(self) -> None:
        """There is no pause at first; then each is twice as long, up to half a minute."""
        self.assertEqual([pause_after(failures) for failures in range(4)], [0, 0.1, 0.2, 0.4])
        self.assertEqual({pause_after(failures) for failures in (10, 100, 10**9)}, {30})


class ReactorTests(SynchronousTestCase):
    """Reactors that asyncio can't use."""

    def test_refused(self) -> None:
        """The start of a session fails with an explanation before anything else."""
        session = ServerSession(MCPServerSettings(name="a", url="http://a.test"), object())
        self.assertRaises(ConfigError, session.start)

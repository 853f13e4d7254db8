"""Sessions with real MCP servers, over each transport, with protocol versions before and since 2026."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, gatherResults

from aibridge import __version__
from aibridge.tools.mcp_session import ServerSession
from aibridge.wire.tool_calls import ImagePart, TextPart

from .menu import PIXEL_TEXT, Menu
from .serving import LeavesNothing, Listener, before_2026, children, turn, until

MENU = str(Path(__file__).with_name("menu.py"))


def text(words: str) -> TextPart:
    return {"type": "text", "text": words}


def image(data: str, mime_type: str) -> ImagePart:
    return {"type": "image", "data": data, "mime_type": mime_type}


class Contract:
    """The behaviour over every transport; a subclass says how to reach a `Menu`."""

    async def test_tools(self: Any) -> None:
        """All tools are listed with their whole schemas, definitions included."""
        session = await self.reach()
        self.assertEqual((session.state, session.last_error), ("up", None))
        tools = {tool.name: tool for tool in session.tools}
        self.assertEqual(tools["echo"].description, "Says the same.")
        self.assertEqual(tools["post"].schema["properties"]["to"], {"$ref": "#/$defs/Address"})
        self.assertEqual(tools["post"].schema["$defs"]["Address"]["required"], ["street"])

    async def test_call(self: Any) -> None:
        """A call's result has the tool's text and the duration."""
        session = await self.reach()
        result = await self.call(session, "echo", {"text": "hé\u2028llo"})
        self.assertEqual((result.content, result.error), ([text("hé\u2028llo")], None))
        self.assertGreater(result.duration_ms, 0)

    async def test_client_version(self: Any) -> None:
        """The server is told the name and the version of the program that calls."""
        session = await self.reach()
        self.assertEqual((await self.call(session, "client", {})).text, f"aibridge {__version__}")

    async def test_kinds_of_content(self: Any) -> None:
        """Texts and images are passed on, embedded ones too; everything else is named in text."""
        session = await self.reach()
        self.assertEqual((await self.call(session, "picture", {})).content, [image(PIXEL_TEXT, "image/png")])
        self.assertEqual(
            (await self.call(session, "mixed", {})).content,
            [
                text("one"),
                text("two"),
                text("[resource file:///a.bin: application/zip, can't be shown]"),
                image(PIXEL_TEXT, "image/png"),
                text("[link to a resource: b, file:///b]"),
                text("[audio: audio/wav, can't be shown]"),
            ],
        )

    async def test_errors_are_results(self: Any) -> None:
        """A tool's failure, an unknown tool and wrong arguments are errors in the result, and the next call works."""
        session = await self.reach()
        for tool, arguments, said in (
            ("fail", {}, "the kitchen is on fire"),
            ("nothing", {}, "nothing"),
            ("echo", {"text": {}}, "text"),
        ):
            result = await self.call(session, tool, arguments)
            self.assertIsNotNone(result.error)
            self.assertIn(said, result.error)
        self.assertIsNone((await self.call(session, "echo", {"text": "a"})).error)

    async def test_time_out(self: Any) -> None:
        """A call that takes too long is an error, and the session goes on."""
        session = await self.reach(call_timeout=0.2)
        result = await self.call(session, "wait", {})
        self.assertEqual(result.error, "no response within 0.2 seconds")
        self.assertIsNone((await self.call(session, "echo", {"text": "a"})).error)

    async def test_several_at_once(self: Any) -> None:
        """Calls do not wait for each other, and each gets its own result."""
        session = await self.reach()
        waiting = self.call(session, "wait", {})
        results = await gatherResults([self.call(session, "echo", {"text": str(n)}) for n in range(20)])
        self.assertEqual([result.text for result in results], [str(n) for n in range(20)])
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)

    async def test_too_large_a_result(self: Any) -> None:
        """A result over the limit is an error; the session and its other calls go on."""
        session = await self.reach(max_result_bytes=5000)
        waiting = self.call(session, "wait", {})
        for size in (5001, 400_000):
            result = await self.call(session, "large", {"size": size})
            self.assertIsNotNone(result.error)
            self.assertLess(len(result.text), 200)
        self.assertEqual(len((await self.call(session, "large", {"size": 5000})).text), 5000)
        self.assertFalse(waiting.called)
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)

    async def test_monstrous_result(self: Any) -> None:
        """A result too large for the transport is an error too, after which calls work again."""
        session = await self.reach()
        result = await self.call(session, "large", {"size": 3_000_000})
        self.assertIsNotNone(result.error)
        self.assertLess(len(result.text), 200)
        self.assertIsNone((await self.call(session, "echo", {"text": "a"})).error)

    async def test_changed_list(self: Any) -> None:
        """Added and removed tools are noticed as soon as the server sends a notification."""
        changes: list[int] = []
        session = await self.reach(changed=lambda: changes.append(1))
        before = session.tools
        await self.call(session, "rename", {})
        await until(lambda: len(changes) > 1)
        names = {tool.name for tool in session.tools}
        self.assertIn("echo2", names)
        self.assertNotIn("echo", names)
        self.assertIn("echo", {tool.name for tool in before})

    async def test_stopped_in_the_midst(self: Any) -> None:
        """A stop ends calls in flight with an error; later calls end with an error too."""
        session = await self.reach()
        waiting = self.call(session, "wait", {})
        await self.call(session, "echo", {"text": "a"})
        await session.stop()
        self.assertIsNotNone((await waiting).error)
        self.assertIsNotNone((await self.call(session, "echo", {"text": "a"})).error)
        self.assertEqual(session.state, "down")

    async def test_started_again(self: Any) -> None:
        """A session that was stopped can be started again, and stopped again."""
        session = await self.reach()
        for _ in range(2):
            await session.stop()
            session.start()
            await session.settled()
            self.assertEqual(session.state, "up")
            self.assertIsNone((await self.call(session, "echo", {"text": "a"})).error)


class PipeTests(Contract, LeavesNothing):
    """A server that the session starts itself."""

    async def reach(self, changed: Callable[[], object] = lambda: None, **settings: Any) -> ServerSession:
        return await self.session(changed, transport="stdio", command=sys.executable, args=[MENU], **settings)

    async def test_killed_while_idle(self) -> None:
        """A server that died is started again without a call."""
        session = await self.reach()
        for child in children():
            os.kill(int(child), signal.SIGKILL)
        await until(lambda: session.state != "up")
        await until(lambda: session.state == "up")
        self.assertIsNone((await self.call(session, "echo", {"text": "a"})).error)

    async def test_no_such_program(self) -> None:
        """A missing program is a server that is down."""
        session = await self.session(transport="stdio", command="/no/such/program")
        self.assertEqual((session.state, session.last_error), ("down", "No such file or directory"))
        self.assertIsNotNone((await self.call(session, "echo", {"text": "a"})).error)

    def test_under_twistd(self) -> None:
        """The program starts also where standard error is a log, as under ``twistd``."""
        command = [sys.executable, "-m", "tests.tools.logged", MENU]
        ran = subprocess.run(command, cwd=Path(MENU).parents[2], capture_output=True, text=True)
        self.assertEqual(ran.stdout, "up", ran.stderr)

    async def test_environment(self) -> None:
        """The program gets the variables that are meant for it, and none of the gateway's own keys."""
        self.patch(os, "environ", os.environ | {"OPENAI_API_KEY": "sk-1"})
        session = await self.reach(env={"MENU_DAY": "monday"})
        result = await self.call(session, "variables", {})
        self.assertIn("MENU_DAY", result.text)
        self.assertNotIn("OPENAI_API_KEY", result.text)


class HTTPTests(Contract, LeavesNothing):
    """A server of protocol version 2026."""

    transport = "streamable-http"

    def app(self, menu: Menu) -> Any:
        return menu.server.streamable_http_app()

    async def listen(self, port: int = 0) -> Listener:
        """Start a new server, which does not know the sessions of an earlier one."""
        self.menu = Menu()
        return await self.serve(self.app(self.menu), port)

    async def reach(self, changed: Callable[[], object] = lambda: None, **settings: Any) -> ServerSession:
        self.listener = await self.listen()
        return await self.session(changed, **self.where(self.listener) | settings)

    def where(self, listener: Listener) -> dict[str, Any]:
        path = "sse" if self.transport == "sse" else "mcp"
        return {"transport": self.transport, "url": f"http://127.0.0.1:{listener.port}/{path}"}

    async def test_restarted_while_idle(self) -> None:
        """After a restart calls work again, and the new tools are seen. The call that meets the restart may fail."""
        session = await self.reach()
        await self.listener.stop()
        self.listener = await self.listen(self.listener.port)
        self.menu.server.remove_tool("post")
        result = await self.call(session, "echo", {"text": "a"})
        for _ in range(100):
            if result.error is None:
                break
            await turn(0.1)
            result = await self.call(session, "echo", {"text": "a"})
        self.assertEqual(result.text, "a")
        await until(lambda: "post" not in {tool.name for tool in session.tools})

    async def test_cancelled(self) -> None:
        """Cancelling a call cancels it at the server."""
        session = await self.reach()
        call = self.call(session, "wait", {})
        await until(self.menu.began.is_set)
        call.cancel()
        await self.assertFailure(call, CancelledError)
        await until(self.menu.cancelled.is_set)


class OlderHTTPTests(HTTPTests):
    """A server of a protocol version before 2026."""

    def app(self, menu: Menu) -> Any:
        return before_2026(super().app(menu))


class SSETests(HTTPTests):
    """A server on the transport that came before streamable HTTP."""

    transport = "sse"

    def app(self, menu: Menu) -> Any:
        return menu.server.sse_app()

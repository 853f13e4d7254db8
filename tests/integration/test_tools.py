"""Injected tools of real MCP servers, over each transport, through a whole gateway."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from aibridge import AnthropicProvider, GatewayService, MCPServerSettings, RequestBridge, make_toolbox
from aibridge.recorder import SQLMemory, SQLRecorder
from aibridge.testing import Reply, ToolCall

from ..chain.apis import MESSAGES, OWN
from ..chain.exchanges import in_database
from ..tools.menu import PIXEL_TEXT, Menu
from ..tools.serving import Listener, before_2026
from .conversing import ConversationTestCase, ours
from .talkers import ChatTalker, MessagesTalker, ResponsesTalker
from .test_process import LISTENERS, ROOT, TWISTD
from .test_process import Gateway as Process

MENU = str(Path(__file__).parents[1] / "tools" / "menu.py")
EVERYTHING = "mcp-server-everything"


class TransportTests(ConversationTestCase):
    """A call over each transport."""

    async def assert_called(self, **server: Any) -> None:
        """Check that a tool of that server returns a result."""
        gateway = await self.open_gateway(**server)
        talk = self.talk(MessagesTalker, gateway.url)
        self.expect(Reply(tool_calls=[ours("echo", text="hé\u2028llo")]), Reply(text="Done."))
        self.assertEqual((await talk.say("one")).text, "Done.")
        [result] = self.examiner.documents[-1]["messages"][-1]["content"]
        self.assertEqual(result["content"], [{"type": "text", "text": "hé\u2028llo"}])
        self.assert_all_right()

    async def serve(self, app: Any) -> str:
        """Start another server, and return its URL without a path."""
        listener = Listener(app)
        listener.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(listener.stop()))
        return f"http://127.0.0.1:{listener.port}"

    async def test_streamable_http(self) -> None:
        """A server of the current protocol version is called over streamable HTTP."""
        await self.assert_called()

    async def test_before_2026(self) -> None:
        """A server of a protocol version before 2026 is called over streamable HTTP."""
        url = await self.serve(before_2026(Menu().server.streamable_http_app()))
        await self.assert_called(url=f"{url}/mcp")

    async def test_sse(self) -> None:
        """A server is called over the older transport, with server-sent events."""
        url = await self.serve(Menu().server.sse_app())
        await self.assert_called(transport="sse", url=f"{url}/sse")

    async def test_stdio(self) -> None:
        """A server that the gateway starts itself is called over its standard input and output."""
        await self.assert_called(transport="stdio", url=None, command=sys.executable, args=[MENU])

    async def test_everything(self) -> None:
        """The protocol's reference server returns texts and images in every API."""
        gateway = await self.open_gateway(transport="stdio", url=None, command=EVERYTHING, args=["stdio"])
        for talker in (MessagesTalker, ResponsesTalker, ChatTalker):
            talk = self.talk(talker, gateway.url)
            calls = [ours("echo", message="a"), ours("get-tiny-image"), ours("get-sum", a=2, b=3)]
            self.expect(Reply(thinking="t", tool_calls=calls), Reply(text="Done."))
            self.assertEqual((await talk.say("one")).text, "Done.")
            for part in (b"Echo: a", b"sum of 2 and 3 is 5"):
                self.assertIn(part, self.provider.requests[-1].body)
        self.assert_all_right()

    if shutil.which(EVERYTHING) is None:
        test_everything.skip = "npm's @modelcontextprotocol/server-everything is not installed"  # type: ignore[attr-defined]


class OutcomeTests(ConversationTestCase):
    """Results of calls."""

    async def told(self, call: ToolCall, **server: Any) -> Any:
        """Return the tool result that the model gets for this call."""
        gateway = await self.open_gateway(**server)
        talk = self.talk(MessagesTalker, gateway.url)
        self.expect(Reply(tool_calls=[call]), Reply(text="Done."))
        self.assertEqual((await talk.say("one")).text, "Done.")
        self.assert_all_right()
        [result] = self.examiner.documents[-1]["messages"][-1]["content"]
        return result

    async def test_failure(self) -> None:
        """A tool's error goes to the model and into the records."""
        result = await self.told(ours("fail"))
        self.assertTrue(result["is_error"])
        self.assertIn("the kitchen is on fire", result["content"][0]["text"])
        [row] = in_database(self.database)[0].tools
        self.assertIn("the kitchen is on fire", row.invocation_error)

    async def test_time_out(self) -> None:
        """A call that takes longer than its timeout is an error."""
        result = await self.told(ours("wait"), call_timeout=0.2)
        self.assertEqual(result["content"][0]["text"], "no response within 0.2 seconds")

    async def test_too_large(self) -> None:
        """A result over the limit is a short error instead."""
        result = await self.told(ours("large", size=100_000), max_result_bytes=1000)
        self.assertTrue(result["is_error"])
        self.assertLess(len(result["content"][0]["text"]), 200)

    async def test_picture(self) -> None:
        """An image goes to the model as an image."""
        result = await self.told(ours("picture"))
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL_TEXT}
        self.assertEqual(result["content"], [{"type": "image", "source": source}])

    async def test_server_gone(self) -> None:
        """A call of a server that is down is an error, and the conversation goes on."""
        gateway = await self.open_gateway()
        await self.listener.stop()
        talk = self.talk(MessagesTalker, gateway.url)
        self.expect(Reply(tool_calls=[ours("echo", text="a")]), Reply(text="Done."))
        self.assertEqual((await talk.say("one")).text, "Done.")
        self.assertTrue(self.examiner.documents[-1]["messages"][-1]["content"][0]["is_error"])

    async def test_client_leaves(self) -> None:
        """If the client leaves, the call is cancelled at its server, and the rows say so."""
        gateway = await self.open_gateway()
        self.expect(Reply(tool_calls=[ours("wait")]))
        client = await self.ask(gateway.url, MESSAGES, MESSAGES.body(stream=True), X_Api_Key=OWN)
        await self.until(self.menu.began.is_set)
        client.leave()
        await self.until(self.menu.cancelled.is_set)
        await self.until(lambda: in_database(self.database)[0].ended)
        [exchange] = in_database(self.database)
        self.assertEqual(exchange.ended.status if exchange.ended else None, "cancelled")
        self.assertEqual([row.invocation_error for row in exchange.tools], ["cancelled"])


class HostTests(ConversationTestCase):
    """A host program that gives its bridge the tools of MCP servers, by public names only."""

    async def test_toolbox(self) -> None:
        """The service connects the servers before it serves, models call their tools, and a stop leaves nothing."""
        toolbox = make_toolbox([MCPServerSettings(**self.menu_settings(), allow="^echo$")], reactor)
        providers = [AnthropicProvider(base_url=self.upstream, api_key="sk-1")]
        recorder = SQLRecorder(self.database)
        memory = SQLMemory(self.database, recorder, reactor)
        bridge = RequestBridge(providers, recorder, toolbox=toolbox, memory=memory)
        service = GatewayService(bridge, recorder, toolbox=toolbox)
        await service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual([server["state"] for server in toolbox.status()], ["up"])
        talk = self.talk(MessagesTalker, self.listen(bridge))
        self.expect(Reply(tool_calls=[ours("echo", text="a")]), Reply(text="Done."))
        self.assertEqual((await talk.say("one")).text, "Done.")
        self.assert_all_right()
        self.assertEqual(self.offered(), [["bmcp_menu_echo"]] * 2)
        [exchange] = in_database(self.database)
        self.assertEqual([(row.tool, row.injected) for row in exchange.tools], [("echo", True)])


class ProcessTests(ConversationTestCase):
    """``twistd -n aibridge`` as a process that is killed."""

    async def test_killed_and_restarted(self) -> None:
        """After a kill a conversation goes on with its hidden rounds, pending results and tools as they were."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        (folder / "aibridge.toml").write_text(
            f'[providers.anthropic]\nbase_url = "{self.upstream}"\n'
            f'[providers.openai]\nbase_url = "{self.upstream}/v1"\n'
            f'[database]\nurl = "sqlite:///{folder.absolute()}/aibridge.sqlite"\n'
            f'[mcp.menu]\nurl = "{self.menu_settings()["url"]}"\n'
        )
        process, url = await self.spawn(folder)
        talk = self.talk(MessagesTalker, url)
        self.expect(Reply(thinking="t1", tool_calls=[ours("echo", text="a")]), Reply(thinking="t2", text="It is a."))
        await talk.say("one")
        mixed = [ours("echo", text="b"), ToolCall("weather", {"city": "Rome"})]
        self.expect(Reply(thinking="t3", tool_calls=mixed))
        said = await talk.say("two")
        os.kill(process.transport.pid, signal.SIGKILL)
        await process.ended
        await self.change_menu(without="post", new="nachspeise")
        _, url = await self.spawn(folder)
        talk.go_to(url)
        self.expect(Reply(thinking="t4", text="Sunny."))
        self.assertEqual((await talk.bring({said.calls[0][0]: "sun"})).text, "Sunny.")
        self.expect(Reply(tool_calls=[ours("post", to={"street": "x"})]), Reply(text="Bye."))
        self.assertEqual((await talk.say("three")).text, "Bye.")
        self.assert_all_right()
        self.assertEqual(len({tuple(names) for names in self.offered()}), 1)

    async def spawn(self, folder: Path) -> tuple[Any, str]:
        """Start a gateway, and return its process and URL."""
        process: Any = Process()
        command = [*TWISTD[:-1], "--config", "aibridge.toml", *LISTENERS]
        reactor.spawnProcess(process, command[0], command, env=os.environ | {"PYTHONPATH": ROOT}, path=str(folder))
        self.addCleanup(self.end, process)
        return process, (await process.announced)["gateway"]

    async def end(self, process: Any) -> None:
        """Kill the process if it still runs, and wait for its end."""
        if not process.ended.called:
            process.transport.signalProcess("KILL")
            await process.ended

"""A gateway in a process of its own that reads its configuration again while streams are under way."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from aibridge.testing import FakeProvider, LoopbackServer, Reply

from ..chain.apis import MESSAGES
from ..chain.exchanges import in_database
from ..tools.menu import Menu
from ..tools.serving import Listener
from .gateway import GatewayTestCase
from .test_process import LISTENERS, ROOT, Gateway

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "aibridge", *LISTENERS]
STREAMS = 20
LONG = Reply(text=" ".join(["word"] * 60))


class ReloadTests(GatewayTestCase):
    """SIGHUP under load."""

    async def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.database = f"sqlite:///{self.folder.absolute()}/aibridge.sqlite"
        self.providers = [FakeProvider(clock=reactor, delay=0.02) for _ in range(2)]
        self.bases = [await self.serve(provider) for provider in self.providers]
        (self.folder / "key").write_text("the-first-key-of-the-provider")
        self.configure(self.bases[0])
        self.gateway = Gateway()
        self.process = reactor.spawnProcess(
            self.gateway,
            TWISTD[0],
            [*TWISTD, "--config", "aibridge.toml"],
            env=os.environ | {"PYTHONPATH": ROOT},
            path=str(self.folder),
        )
        self.addCleanup(self.end)
        listeners = await self.gateway.announced
        self.url, self.operators = listeners["gateway"], listeners["operator's site"]

    async def serve(self, provider: FakeProvider) -> str:
        """The URL of a provider on a port of its own."""
        server = LoopbackServer(reactor, provider)
        self.addCleanup(server.stop)
        return await server.start()

    async def end(self) -> None:
        """Whatever became of it."""
        try:
            self.process.signalProcess("KILL")
        except error.ProcessExitedAlready:
            return
        await self.gateway.ended

    def configure(self, base_url: str, more: str = "") -> None:
        """Write the configuration's file."""
        provider = f'[providers.anthropic]\nbase_url = "{base_url}"\napi_key_file = "key"\n'
        (self.folder / "aibridge.toml").write_text(f"{provider}[providers.openai]\n{more}")

    async def reload(self, said: str) -> None:
        """Ask for the reading, and wait until the log says that."""
        before = len(self.gateway.printed)
        os.kill(self.process.pid, signal.SIGHUP)
        for _ in range(500):
            if said in self.gateway.printed[before:]:
                return
            await deferLater(reactor, 0.02)
        self.fail(self.gateway.printed)

    async def begin_streams(self) -> list[Any]:
        """Clients whose streams are under way."""
        self.providers[0].say(*[LONG] * STREAMS)
        clients = [await self.ask(self.url, MESSAGES, MESSAGES.body(stream=True)) for _ in range(STREAMS)]
        for client in clients:
            await client.when(lambda client=client: client.answers and client.answer.body)
        return clients

    async def test_under_load(self) -> None:
        """Provider, key, limits and MCP servers change under streams that come to their ends; then all is new."""
        clients = await self.begin_streams()
        listener = Listener(Menu().server.streamable_http_app())
        listener.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(listener.stop()))
        (self.folder / "key").write_text("the-second-key-of-the-provider")
        tools = f'[mcp.menu]\nurl = "http://127.0.0.1:{listener.port}/mcp"\n[limits]\nconcurrent = 500\n'
        self.configure(self.bases[1], tools)
        await self.reload("changed: limits.concurrent, providers.anthropic, mcp.menu")
        later = await self.ask(self.url, MESSAGES, MESSAGES.body("hello"))
        await later.done()
        for client in clients:
            await client.done()
            self.assertTrue(client.answer.whole)
            self.assertIn(MESSAGES.last, client.answer.body)
        [request] = self.providers[1].requests
        self.assertEqual(request.headers.getRawHeaders("x-api-key"), ["the-second-key-of-the-provider"])
        self.assertIn(b"bmcp_menu_", request.body)
        self.assertEqual(len(self.providers[0].requests), STREAMS)
        report = await self.connect(self.operators)
        report.send("GET", "/readyz")
        await report.done()
        self.assertEqual(report.answer.json["mcp"]["detail"][0]["state"], "up")
        self.assertEqual({each.end for each in in_database(self.database)}, {("completed", 200)})

    async def test_bad_file(self) -> None:
        """A file that can't be used changes nothing, and one line says what is wrong."""
        clients = await self.begin_streams()
        self.configure(self.bases[1], "[limit]\nconcurrent = 1\n")
        await self.reload("everything stays as it was: aibridge.toml: limit: unknown; the nearest known name is limits")
        later = await self.ask(self.url, MESSAGES, MESSAGES.body("hello"))
        await later.done()
        for client in clients:
            await client.done()
            self.assertTrue(client.answer.whole)
        self.assertEqual([len(provider.requests) for provider in self.providers], [STREAMS + 1, 0])

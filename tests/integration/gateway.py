"""A gateway on a socket of 127.0.0.1, before a fake provider on another."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import IResource

from aibridge import AnthropicProvider, OpenAIProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.interfaces import IRecorder
from aibridge.recorder import SQLRecorder
from aibridge.testing import FakeProvider, LoopbackServer, MemoryRecorder

from ..chain.apis import SECRET, Api
from ..chain.client import Answer, Client
from ..chain.exchanges import Exchange, in_database, in_memory

LIMITS = {
    "max_body_bytes": 1 << 22,
    "head_timeout": 5.0,
    "body_timeout": 5.0,
    "request_timeout": 20.0,
    "keepalive_timeout": 30.0,
    "stall_timeout": 30.0,
}


class TrackingSite(GatewaySite):
    """Knows its connections, so that a test leaves none open."""

    noisy = False

    def __init__(self, resource: IResource) -> None:
        super().__init__(resource, **LIMITS, reactor=reactor)
        self.channels: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        self.channels.append(channel)
        return channel


class GatewayTestCase(TestCase):
    """Everything is made by one call, and ended without a trace."""

    timeout = 30

    def setUp(self) -> None:
        self.provider = FakeProvider(clock=reactor)
        self.recorder: Any = MemoryRecorder()
        self.open: list[Any] = []
        self.addCleanup(self._nothing_left)

    def with_sqlite(self) -> None:
        """Records go to a SQLite file from now on."""
        self.database = f"sqlite:///{self.mktemp()}.sqlite"
        self.recorder = SQLRecorder(self.database, reactor=reactor)
        self.recorder.startService()
        self.addCleanup(self.recorder.stopService)

    async def start(self, providers: dict[str, Any] | None = None, **settings: Any) -> str:
        """A gateway and its provider; its URL."""
        upstream = await self.start_provider()
        self.bridge = self.make_bridge(upstream, providers, **settings)
        return self.listen(self.bridge)

    async def start_provider(self) -> str:
        """The fake provider; its URL."""
        server = LoopbackServer(reactor, self.provider)
        self.addCleanup(server.stop)
        return await server.start()

    def make_bridge(
        self,
        upstream: str,
        providers: dict[str, Any] | None = None,
        recorder: IRecorder | None = None,
        **settings: Any,
    ) -> RequestBridge:
        """A bridge before that provider, in both its types."""
        common = {"api_key": SECRET, "first_byte_timeout": 5.0, "idle_timeout": 5.0} | (providers or {})
        made = [AnthropicProvider(base_url=upstream, **common), OpenAIProvider(base_url=upstream + "/v1", **common)]
        bridge = RequestBridge(made, recorder or self.recorder, **settings, reactor=reactor)
        self.addCleanup(bridge.shutdown)
        return bridge

    def listen(self, resource: IResource) -> str:
        """Serves a resource; its URL."""
        self.site = TrackingSite(resource)
        port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self._close_connections, self.site)
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def connect(self, url: str, client: Client | None = None) -> Client:
        """A client's connection."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", int(url.rpartition(":")[2]))
        connected: Client = await connectProtocol(endpoint, client or Client())
        self.addCleanup(self._close_client, connected)
        return connected

    async def ask(self, url: str, api: Api, body: bytes, **headers: str) -> Client:
        """A client that has sent a request."""
        client = await self.connect(url)
        client.send("POST", api.path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return client

    async def answer(self, url: str, api: Api, body: bytes, **headers: str) -> Answer:
        """A whole exchange."""
        client = await self.ask(url, api, body, **headers)
        await client.done()
        return client.answer

    async def direct(self, api: Api, body: bytes, *replies: Any) -> Answer:
        """What the client would get without a gateway."""
        provider = FakeProvider(clock=reactor)
        provider.say(*replies)
        server = LoopbackServer(reactor, provider)
        client = await self.connect(await server.start())
        client.send("POST", api.upstream_path, body)
        await client.done()
        await server.stop()
        return client.answer

    async def until(self, condition: Callable[[], Any], every: float = 0.01) -> None:
        """Waits for what no Deferred tells; the test's time limit ends it."""
        while not condition():
            await deferLater(reactor, every)

    @property
    def exchanges(self) -> list[Exchange]:
        """What was recorded."""
        return in_memory(self.recorder) if isinstance(self.recorder, MemoryRecorder) else in_database(self.database)

    async def _close_client(self, client: Client) -> None:
        client.leave()
        await client.when(lambda: client.closed)

    async def _close_connections(self, site: TrackingSite) -> None:
        for channel in site.channels:
            if channel.transport.connected:
                channel.abortConnection()
        await self.until(lambda: not any(channel.transport.connected for channel in site.channels), every=0)

    def _nothing_left(self) -> None:
        """Trial looks for delayed calls and sockets, but not for these."""
        tasks = [task for task in asyncio.all_tasks(asyncio.get_running_loop()) if not task.done()]
        # The library of the MCP servers of other tests has a task that lives as long as the process.
        self.assertEqual([task for task in tasks if task.get_coro().__name__ != "_shutdown_watcher"], [])


def on_asyncio(awaitable: Awaitable[Any]) -> "Deferred[Any]":
    """A coroutine of asyncio, as Twisted waits for it."""
    return Deferred.fromFuture(asyncio.ensure_future(awaitable))

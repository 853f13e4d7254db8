"""A gateway between a client and a provider that speak over WebSockets, all in memory."""

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge import OpenAIProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.providers.base import Provider
from aibridge.testing import MemoryNetwork, MemoryRecorder
from aibridge.websocket.settings import WebSocketSettings

from ..chain.exchanges import Exchange, in_memory
from .peers import CODEX_AGENT, ClientPeer, ScriptedProvider

PROVIDER_PORT, GATEWAY_PORT = 9000, 8080
SECRET = "sk-provider-0123456789abcdef"


class SocketTestCase(SynchronousTestCase):
    """Everything made, connected, and ended without a trace."""

    max_body_bytes = 1 << 20
    stall_timeout = 30.0

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.provider = ScriptedProvider(lambda peer, event: peer.answer())
        self.network.serve(PROVIDER_PORT, self.provider)
        self.recorder = MemoryRecorder()
        self.started: list[tuple[RequestBridge, GatewaySite]] = []
        self.start()
        self.addCleanup(self.stop)

    def start(
        self,
        openai: dict[str, Any] | None = None,
        websocket: dict[str, Any] | None = None,
        further: Sequence[Provider] = (),
        **settings: Any,
    ) -> None:
        """A gateway with other settings, in the place of the first."""
        made = {"base_url": f"http://192.0.2.9:{PROVIDER_PORT}/v1", "api_key": SECRET, "idle_timeout": 60.0}
        made |= {"first_byte_timeout": 20.0} | (openai or {})
        self.bridge = RequestBridge(
            [OpenAIProvider(**made), *further],
            self.recorder,
            max_body_bytes=self.max_body_bytes,
            stall_timeout=self.stall_timeout,
            websocket=WebSocketSettings(**(websocket or {})),
            reactor=self.network,
            **settings,
        )
        self.site = GatewaySite(
            self.bridge,
            max_body_bytes=self.max_body_bytes,
            head_timeout=20.0,
            body_timeout=60.0,
            request_timeout=300.0,
            keepalive_timeout=75.0,
            stall_timeout=self.stall_timeout,
            reactor=self.network,
        )
        self.started.append((self.bridge, self.site))
        self.network.serve(GATEWAY_PORT, self.site)

    def stop(self) -> None:
        """Ends everything; fails where something is left."""
        stopped = [bridge.stopService() for bridge, _ in self.started]
        self.network.wait(5)
        for each in stopped:
            self.successResultOf(each)
        for client_end, _ in self.network.connections:
            client_end.abortConnection()
        self.network.settle()
        self.network.connections.clear()
        for bridge, site in self.started:
            site.stopFactory()
            opener = bridge._websockets.sockets
            self.assertEqual((bridge.in_flight, dict(opener._of_actor), opener._sockets), (0, {}, {}))
        self.assertEqual(self.network.getDelayedCalls(), [])

    def connect(
        self, target: str = "/openai/v1/responses", agent: str = CODEX_AGENT, settle: bool = True, **headers: str
    ) -> ClientPeer:
        """A client that has asked for a WebSocket."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client = ClientPeer(target, {"User-Agent": agent, "session-id": "session-1"} | named)
        self.network.connect(GATEWAY_PORT, client)
        if settle:
            self.network.wait(1)
        return client

    @property
    def peer(self) -> Any:
        """The provider's newest socket."""
        return self.provider.peer

    @property
    def exchanges(self) -> list[Exchange]:
        """What was recorded, in the order in which it began."""
        return in_memory(self.recorder)

    @property
    def exchange(self) -> Exchange:
        """The one exchange that was recorded."""
        [only] = self.exchanges
        return only

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 if there is none."""
        return self.bridge.metrics.registry.get_sample_value(name, labels) or 0.0

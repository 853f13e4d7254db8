"""A gateway between a client and a fake provider, all in memory."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge import AnthropicProvider, OpenAIProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.testing import FakeProvider, MemoryNetwork, MemoryRecorder, quiet_site

from .apis import SECRET, Api
from .client import Answer, Client
from .exchanges import Exchange, in_memory

PROVIDER_PORT = 9000
GATEWAY_PORT = 8080
UPSTREAM = f"http://192.0.2.9:{PROVIDER_PORT}"


class ChainTestCase(SynchronousTestCase):
    """Everything made, connected, and ended without a trace."""

    limits: dict[str, Any] = {
        "max_body_bytes": 1 << 20,
        "head_timeout": 20.0,
        "body_timeout": 60.0,
        "request_timeout": 300.0,
        "keepalive_timeout": 75.0,
        "stall_timeout": 30.0,
    }

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.provider = FakeProvider(clock=self.network, delay=0.01)
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        self.recorder = MemoryRecorder()
        self.started: list[tuple[RequestBridge, GatewaySite]] = []
        self.start()
        self.addCleanup(self.stop)

    def start(
        self, providers: dict[str, Any] | None = None, openai: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        """A gateway with other settings, in the place of the first."""
        common = {"api_key": SECRET, "first_byte_timeout": 20.0, "idle_timeout": 10.0} | (providers or {})
        made = [
            AnthropicProvider(base_url=UPSTREAM, **common),
            OpenAIProvider(base_url=UPSTREAM + "/v1", **common, **(openai or {})),
        ]
        limits = {"max_body_bytes": self.limits["max_body_bytes"], "stall_timeout": self.limits["stall_timeout"]}
        self.bridge = RequestBridge(made, self.recorder, **limits, **settings, reactor=self.network)
        self.site = GatewaySite(self.bridge, **self.limits, reactor=self.network)
        self.started.append((self.bridge, self.site))
        self.network.serve(GATEWAY_PORT, self.site)

    def stop(self) -> None:
        """Ends everything; fails where something is left."""
        stopped = [bridge.stopService() for bridge, _ in self.started]
        self.network.settle()
        for each in stopped:
            self.successResultOf(each)
        for client_end, _ in self.network.connections:
            client_end.abortConnection()
        self.network.settle()
        self.network.connections.clear()  # trial keeps its test cases, and they would keep what went over these
        for _, site in self.started:
            site.stopFactory()
        self.assertEqual((self.bridge.in_flight, self.network.getDelayedCalls()), (0, []))

    def connect(self) -> Client:
        """A client's connection to the gateway."""
        client = Client()
        self.network.connect(GATEWAY_PORT, client)
        return client

    def ask(self, api: Api, prompt: str = "ping", *, headers: Any = (), **members: Any) -> Client:
        """A client that has sent a request; nothing of it has happened yet."""
        client = self.connect()
        client.send(
            "POST", api.path, api.body(prompt, **members), {"Content-Type": "application/json", **dict(headers)}
        )
        return client

    def answer(self, api: Api, prompt: str = "ping", **rest: Any) -> Answer:
        """A whole exchange, however long it takes."""
        client = self.ask(api, prompt, **rest)
        self.network.wait(3)
        return client.answer

    def direct(self, body: bytes, api: Api, *replies: Any) -> Answer:
        """The answer that the client would get without a gateway."""
        port = PROVIDER_PORT + 1
        provider = FakeProvider(clock=self.network)
        provider.say(*replies)
        self.network.serve(port, quiet_site(provider, self.network))
        client = Client()
        self.network.connect(port, client)
        client.send("POST", api.upstream_path, body)
        self.network.settle()
        return client.answer

    @property
    def exchanges(self) -> list[Exchange]:
        """What was recorded."""
        return in_memory(self.recorder)

    @property
    def exchange(self) -> Exchange:
        """The one exchange that was recorded."""
        [only] = self.exchanges
        return only

"""The opening of WebSockets, and what clients get in their place."""

import json
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Site

from aibridge import Actor
from aibridge.providers.azure import AzureProvider
from aibridge.rate_limits import Limits
from aibridge.upstream.circuit_breaker import BreakerSettings

from .gateway import GATEWAY_PORT, PROVIDER_PORT, SECRET, SocketTestCase
from .peers import ClientPeer, Tunnels, refusal

OTHER_AGENT = "OpenAI/Python 3.54.0"


class OpeningTests(SocketTestCase):
    """The provider's end is opened first; what crosses with the handshake."""

    def test_headers_to_the_provider(self) -> None:
        """The client's headers reach the provider, less its credentials and those of its own connection."""
        self.connect(
            openai_beta="responses_websockets=2026-02-06",
            x_codex_window_id="w1",
            cookie="a=b",
            sec_websocket_extensions="permessage-deflate; client_max_window_bits",
            x_aibridge_key="aib_" + "x" * 43,
        )
        headers = self.peer.headers
        self.assertEqual(headers["authorization"], [f"Bearer {SECRET}"])
        self.assertEqual(headers["openai-beta"], ["responses_websockets=2026-02-06"])
        self.assertEqual((headers["x-codex-window-id"], headers["session-id"]), (["w1"], ["session-1"]))
        self.assertEqual((headers["upgrade"], headers["connection"]), (["websocket"], ["Upgrade"]))
        self.assertEqual(headers["host"], [f"192.0.2.9:{PROVIDER_PORT}"])
        for name in ("cookie", "sec-websocket-extensions", "x-aibridge-key"):
            self.assertNotIn(name, headers)
        self.assertTrue(self.peer.head.startswith(b"GET /v1/responses HTTP/1.1\r\n"))

    def test_own_credential(self) -> None:
        """A client's own credential goes in the place of the configured one, and the rows say so."""
        client = self.connect(authorization="Bearer sk-own-0123456789abcdef")
        client.create("Hi")
        self.network.settle()
        self.assertEqual(self.peer.headers["authorization"], ["Bearer sk-own-0123456789abcdef"])
        self.assertEqual(self.exchange.begun.credential_kind, "byok")

    def test_headers_to_the_client(self) -> None:
        """The 101 has the provider's headers, byte for byte, and the connection's id."""
        self.provider.headers["X-Odd"] = "caf\xe9"
        client = self.connect()
        self.assertEqual(client.status, 101)
        self.assertEqual(client.headers["x-codex-turn-state"], ["state-1"])
        self.assertEqual(client.headers["openai-model"], ["gpt-5.5-x"])
        self.assertIn(b"\r\nX-Odd: caf\xe9\r\n", client.head)
        self.assertEqual(len(client.headers["x-aibridge-connection-id"][0]), 36)
        self.assertNotIn("sec-websocket-extensions", client.headers)
        self.assertNotIn("server", client.headers)

    def test_query_travels(self) -> None:
        """The query of the target reaches the provider."""
        self.connect("/openai/v1/responses?a=%2F")
        self.assertTrue(self.peer.head.startswith(b"GET /v1/responses?a=%2F HTTP/1.1\r\n"))

    def test_waits_for_the_provider(self) -> None:
        """The client has no answer before the provider has given one; then the provider's first message follows."""
        self.provider.accepts = False
        client = self.connect()
        self.assertEqual((client.status, len(self.provider.handshakes)), (0, 1))
        client.cut()
        self.network.settle()
        self.assertTrue(self.provider.handshakes[0].lost)

    def test_sent_ahead(self) -> None:
        """Messages that a client sends without waiting for the 101 are relayed after it."""
        client = self.connect(settle=False)
        client.create("Hi")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")

    def test_speaks_first(self) -> None:
        """A message that a provider sends right with its 101 reaches the client."""
        original = self.provider.buildProtocol

        def build(addr: object) -> Any:
            peer = original(addr)
            shake = peer.shake_hands

            def shake_and_speak() -> None:
                shake()
                peer.send({"type": "session.created"})

            peer.shake_hands = shake_and_speak
            return peer

        self.provider.buildProtocol = build  # type: ignore[method-assign]
        self.assertEqual(self.connect().types, ["session.created"])

    def test_through_a_proxy(self) -> None:
        """A proxy is asked for a tunnel: what it reads as a request it could not relay."""
        proxy = Tunnels(self.provider)
        self.network.serve(3128, proxy)
        self.start(openai={"proxy": "http://192.0.2.3:3128"})
        client = self.connect()
        client.create("Hi")
        self.network.settle()
        self.assertEqual((client.status, client.types[-1]), (101, "response.completed"))
        self.assertEqual(proxy.asked, [b"CONNECT 192.0.2.9:9000 HTTP/1.1"])

    def test_azure(self) -> None:
        """WebSockets to Azure are relayed, unless the operator wants otherwise."""
        self.assertTrue(AzureProvider(resource="r").websocket)

    def test_metrics(self) -> None:
        """Open sockets, handshakes by their outcome, and messages by their type are counted."""
        client = self.connect()
        client.create("Hi")
        self.network.settle()
        self.assertEqual(self.metric("websocket_connections", provider="openai"), 1)
        self.assertEqual(self.metric("websocket_handshakes_total", provider="openai", outcome="accepted"), 1)
        where = {"provider": "openai", "direction": "to_client", "type": "response.output_text.delta"}
        self.assertEqual(self.metric("websocket_messages_total", **where), 1)
        where = {"provider": "openai", "direction": "to_provider", "type": "response.create"}
        self.assertEqual(self.metric("websocket_messages_total", **where), 1)
        client.cut()
        self.network.settle()
        self.assertEqual(self.metric("websocket_connections", provider="openai"), 0)

    def test_host_site(self) -> None:
        """Under a host's own site of twisted.web, below any path, the connection is handed over too."""
        root = Resource()
        root.putChild(b"ai", self.bridge)
        site = Site(root, reactor=self.network)
        self.network.serve(8181, site)
        client = ClientPeer("/ai/openai/v1/responses", {"User-Agent": OTHER_AGENT})
        self.network.connect(8181, client)
        self.network.settle()
        self.assertEqual(client.status, 101)
        client.create("Hi")
        self.network.wait(70)  # longer than twisted.web waits for a next request
        self.assertEqual((client.types[-1], client.lost), ("response.completed", False))
        self.assertEqual(self.exchange.end, ("completed", 200))


class RefusalTests(SocketTestCase):
    """Codex is told 426, and every other client what its POST would have got."""

    def assert_outcomes(self, status: int, outcome: str = "refused", **headers: str) -> dict[str, Any]:
        """Ask as Codex and as another client. Return the other's error."""
        self.assertEqual(self.connect(**headers).status, 426)
        other = self.connect(agent=OTHER_AGENT, **headers)
        self.assertEqual(other.status, status, other.body)
        self.assertEqual(self.metric("websocket_handshakes_total", provider="openai", outcome=outcome), 2)
        error: dict[str, Any] = json.loads(other.body)["error"]
        return error

    def test_switched_off(self) -> None:
        """With ``websocket = false`` every client gets 426 at once, and the provider nothing."""
        self.start(openai={"websocket": False}, authenticate=lambda request: None)
        for agent in ("codex_exec/1", OTHER_AGENT):
            client = self.connect(agent=agent)
            self.assertEqual(client.status, 426)
        self.assertEqual(json.loads(client.body)["error"]["code"], "websocket_not_supported")
        self.assertEqual(self.provider.handshakes, [])

    def test_no_handshake(self) -> None:
        """426 for a request that only says ``Upgrade``, for another version, and for a key that is none."""
        for name, value in (("Sec-WebSocket-Key", "short"), ("Sec-WebSocket-Version", "8")):
            client = ClientPeer(headers={"User-Agent": OTHER_AGENT, name: value})
            self.network.connect(GATEWAY_PORT, client)
            self.network.settle()
            self.assertEqual(client.status, 426)
        self.assertEqual(self.provider.handshakes, [])

    def test_other_routes(self) -> None:
        """426 on every other route."""
        for target in ("/openai/v1/chat/completions", "/openai/v1/responses/compact", "/openai/v1/models"):
            self.assertEqual(self.connect(target, agent=OTHER_AGENT).status, 426)

    def test_own_agent(self) -> None:
        """426 where a host's own client sends the requests: it opens no sockets."""
        self.start(agent=self.network.client())
        self.assertEqual(self.connect(agent=OTHER_AGENT).status, 426)

    def test_web_pages(self) -> None:
        """Pages of other sites are refused, for browsers refuse them nothing; those that are listed may."""
        self.start(cors_origins=["https://chat.example"], authenticate=lambda request: Actor("alice"))
        refused = ("https://evil.example", "http://chat.example", "http://gateway.test:1", "null", "x", "http://[")
        allowed = ("https://chat.example", "http://gateway.test", "https://Gateway.test:443")
        for origin, status in [*((each, 101) for each in allowed), *((each, 403) for each in refused)]:
            client = self.connect(agent=OTHER_AGENT, Origin=origin)
            self.assertEqual((origin, client.status), (origin, status))
        self.assertEqual(json.loads(client.body)["error"]["code"], "origin_not_allowed")
        self.assertEqual(len(self.provider.handshakes), 3)

    def test_rebound_name(self) -> None:
        """Where nobody is asked for a credential, a page's own name that leads to the gateway is refused, too."""
        self.start()
        self.assertEqual(self.connect(agent=OTHER_AGENT, Origin="http://gateway.test").status, 403)

    def test_no_actor(self) -> None:
        """Without an actor no provider is asked."""
        self.start(authenticate=lambda request: None)
        self.assertEqual(self.assert_outcomes(401)["code"], "invalid_api_key")
        self.assertEqual(self.provider.handshakes, [])

    def test_provider_refuses(self) -> None:
        """The provider's own refusal, with its headers, is what other clients get."""
        body = b'{"error":{"message":"Slow down.","type":"requests","code":"rate_limit_exceeded"}}'
        self.provider.refusal = refusal(429, body, Retry_After="7", X_Request_Id="req_1")
        self.assertEqual(self.assert_outcomes(429, "rejected")["message"], "Slow down.")
        other = self.connect(agent=OTHER_AGENT)
        self.assertEqual((other.headers["retry-after"], other.body), (["7"], body))

    def test_provider_without_sockets(self) -> None:
        """426 for all, where the provider has no WebSocket: requests over HTTP may succeed."""
        for status in (404, 405, 426, 200):
            self.provider.refusal = refusal(status, b"{}")
            self.assertEqual(self.connect(agent=OTHER_AGENT).status, 426)

    def test_provider_down(self) -> None:
        """502 where there is no provider; its address stays the operator's."""
        self.network.close_port(PROVIDER_PORT)
        error = self.assert_outcomes(502, "failed")
        self.assertTrue(error["message"].startswith("openai refused the connection"), error)

    def test_provider_speaks_no_http(self) -> None:
        """502 for an answer that is no HTTP, and for none."""
        for answer in (b"hello there\r\n\r\n", b""):
            self.provider.refusal = answer
            client = self.connect(agent=OTHER_AGENT)
            self.assertEqual(client.status, 502)

    def test_false_accept(self) -> None:
        """502 for a 101 that does not answer this handshake."""
        self.provider.refusal = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
        )
        self.assertEqual(self.connect(agent=OTHER_AGENT).status, 502)

    def test_provider_silent(self) -> None:
        """504 for a provider that does not answer the handshake in time."""
        self.provider.accepts = False
        client = self.connect(agent=OTHER_AGENT)
        self.network.wait(21)
        self.assertEqual(client.status, 504)
        self.assertTrue(self.provider.handshakes[0].lost)

    def test_circuit_open(self) -> None:
        """503 with Retry-After once handshakes have failed too often; the provider is not asked any more."""
        self.start(openai={"circuit_breaker": BreakerSettings(failure_threshold=2)})
        self.provider.refusal = refusal(503, b"{}")
        self.connect()
        self.connect()
        asked = len(self.provider.handshakes)
        self.assertEqual(self.connect().status, 426)
        other = self.connect(agent=OTHER_AGENT)
        self.assertEqual((other.status, json.loads(other.body)["error"]["code"]), (503, "circuit_open"))
        self.assertIn("retry-after", other.headers)
        self.assertEqual(len(self.provider.handshakes), asked)

    def test_circuits_of_models_open(self) -> None:
        """The same while every circuit of the route is open, whichever model it is of; a closed one lets sockets open."""
        self.start(openai={"circuit_breaker": BreakerSettings(failure_threshold=1)})
        client = self.connect()
        self.provider.on_message = lambda peer, event: peer.send({"type": "error", "status": 503, "error": {}})
        client.create("Hi")
        self.network.settle()
        self.assertEqual(self.connect().status, 426)
        self.assertEqual(self.connect(agent=OTHER_AGENT).status, 503)
        self.network.wait(31)
        self.provider.on_message = lambda peer, event: peer.answer()
        client.create("Hi")
        self.network.settle()
        self.assertEqual(self.connect(agent=OTHER_AGENT).status, 101)

    def test_next_key(self) -> None:
        """Of several keys the next one is tried in the place of one that is refused; the rows have the one that served."""
        self.start(openai={"api_key": None, "api_keys": ("sk-first-0123456789abcdef", "sk-other-0123456789abcdef")})
        self.provider.refusal = refusal(401, b"{}")
        original = self.provider.buildProtocol

        def build(addr: object) -> Any:
            if len(self.provider.handshakes) == 1:
                self.provider.refusal = None
            return original(addr)

        self.provider.buildProtocol = build  # type: ignore[method-assign]
        client = self.connect(agent=OTHER_AGENT)
        self.assertEqual((client.status, len(self.provider.handshakes)), (101, 2))
        first, second = (peer.headers["authorization"] for peer in self.provider.handshakes)
        self.assertNotEqual(first, second)
        for _ in range(2):
            client.create("Hi")
            self.network.settle()
        hints = {each.begun.credential_hint for each in self.exchanges}
        self.assertEqual(len(hints), 1)
        self.assertTrue(second[0].startswith(f"Bearer {hints.pop()[:4]}"))

    def test_draining(self) -> None:
        """503 while the gateway stops."""
        self.bridge.drain(10)
        self.assertEqual(self.assert_outcomes(503)["code"], "draining")

    def test_over_limits(self) -> None:
        """429 for an actor who could make no request now; a handshake itself takes nothing of the limits."""
        self.start(limits=Limits(requests_per_minute=1), authenticate=lambda request: Actor("alice"))
        client = self.connect()
        client.create("Hi")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")
        self.assertEqual(self.assert_outcomes(429)["code"], "rate_limit_exceeded")

    def test_sockets_of_an_actor(self) -> None:
        """429 for one socket too many of an actor; a closed one makes room."""
        self.start(websocket={"per_actor": 2}, authenticate=lambda request: Actor(request.getHeader("x-name")))
        first = self.connect(x_name="alice")
        self.connect(x_name="alice")
        self.assertEqual(self.connect(x_name="bob").status, 101)
        self.assert_outcomes(429, x_name="alice")
        first.cut()
        self.network.settle()
        self.assertEqual(self.connect(x_name="alice").status, 101)

    def test_sockets_of_the_gateway(self) -> None:
        """503 for one socket too many."""
        self.start(websocket={"connections": 1})
        self.connect()
        self.assertEqual(self.assert_outcomes(503)["code"], "over_capacity")

"""WebSockets that a fallback opens because the client's own provider can't, and keys that are refused on a socket."""

import json
from typing import Any

from aibridge import AnthropicProvider, BreakerSettings, OpenAIProvider

from .gateway import PROVIDER_PORT, SocketTestCase
from .peers import ClientPeer, ScriptedProvider, message_item, refusal

OTHER_PORT = 9100
OTHER_SECRET = "sk-other-0123456789abcdef"
OTHER_AGENT = "OpenAI/Python 3.54.0"
ANSWERED = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}


class FallbackTests(SocketTestCase):
    """A second provider of sockets takes over."""

    def setUp(self) -> None:
        super().setUp()
        self.other = ScriptedProvider(lambda peer, event: peer.answer())
        self.network.serve(OTHER_PORT, self.other)
        self.serve()

    def serve(self, **openai: Any) -> None:
        spare = {"api_key": OTHER_SECRET, "base_url": f"http://192.0.2.9:{OTHER_PORT}/v1"}
        further = [AnthropicProvider(name="unfit"), OpenAIProvider(name="spare", **spare)]  # type: ignore[arg-type]
        self.start(openai={"fallback": ["unfit", "spare"], **openai}, further=further)

    def ask(self, client: ClientPeer, text: str = "Hi", **members: Any) -> str:
        """Ask, and return the type of the last message."""
        client.create(text, **members)
        self.network.settle()
        return str(client.types[-1])

    def test_overloaded(self) -> None:
        """A provider that refuses with 503 or 529 is left; the fallback gets its own key, and the row says who served."""
        for status in (503, 529):
            self.provider.refusal = refusal(status, b"{}")
            client = self.connect(session_id=f"of-{status}")
            self.assertEqual((client.status, self.ask(client)), (101, "response.completed"))
            self.assertEqual(self.other.peer.headers["authorization"], [f"Bearer {OTHER_SECRET}"])
            begun = self.exchanges[-1].begun
            self.assertEqual((begun.provider_name, begun.metadata["fallback_from"]), ("spare", "openai"))
            self.assertEqual(begun.credential_hint, "sk-o...ef")
        self.assertEqual(self.metric("websocket_connections", provider="spare"), 2)
        self.assertEqual(self.metric("websocket_handshakes_total", provider="openai", outcome="accepted"), 2)

    def test_down(self) -> None:
        """A provider that can't be reached, or whose circuit is open, is left, too."""
        self.serve(circuit_breaker=BreakerSettings(failure_threshold=1))
        self.network.close_port(PROVIDER_PORT)
        for session in ("a", "b"):
            self.assertEqual(self.connect(session_id=session).status, 101)
        self.assertEqual(len(self.other.peers), 2)

    def test_other_refusals(self) -> None:
        """Other refusals pass, and so do those of a client's own credential."""
        for status in (401, 429, 500):
            self.provider.refusal = refusal(status, b"{}")
            self.assertEqual(self.connect(agent=OTHER_AGENT).status, status)
        self.provider.refusal = refusal(503, b"{}")
        self.assertEqual(self.connect(agent=OTHER_AGENT, authorization="Bearer sk-own-0123456789").status, 503)
        self.assertEqual(self.other.handshakes, [])

    def test_all_fail(self) -> None:
        """The last provider's error passes if none can serve."""
        self.provider.refusal, self.other.refusal = refusal(503, b"{}"), refusal(529, b'{"error":{}}')
        client = self.connect(agent=OTHER_AGENT)
        self.assertEqual((client.status, client.body), (529, b'{"error":{}}'))

    def test_begun_conversations(self) -> None:
        """A conversation that has begun elsewhere does not move with the socket; what began on it goes on."""
        self.provider.refusal = refusal(503, b"{}")
        client = self.connect()
        self.assertEqual(self.ask(client, input=[message_item("Hi"), ANSWERED, message_item("And?")]), "error")
        told = json.loads(client.messages[-1])
        self.assertEqual((told["status"], told["error"]["code"]), (400, "websocket_connection_limit_reached"))
        self.assertEqual(self.ask(client, previous_response_id="resp_of_before"), "error")
        self.assertEqual(self.other.peer.messages, [])
        for _ in range(2):
            self.assertEqual(self.ask(client), "response.completed")
            known_as = json.loads(client.messages[-1])["response"]["id"]
            self.assertEqual(self.ask(client, previous_response_id=known_as), "response.completed")
        self.assertEqual(self.ask(client, input=[message_item("Hi"), ANSWERED]), "response.completed")

    def test_begun_conversations_may_move(self) -> None:
        """A conversation that has begun elsewhere moves if the operator wants that."""
        self.serve(fallback_mid_conversation=True)
        self.provider.refusal = refusal(503, b"{}")
        client = self.connect()
        self.assertEqual(self.ask(client, input=[message_item("Hi"), ANSWERED]), "response.completed")

    def test_stays_with_the_fallback(self) -> None:
        """A conversation that has moved comes back to its fallback with the next socket; others don't."""
        self.provider.refusal = refusal(503, b"{}")
        self.ask(self.connect())
        self.provider.refusal = None
        client = self.connect()
        self.assertEqual(self.ask(client, input=[message_item("Hi"), ANSWERED]), "response.completed")
        self.assertEqual((len(self.provider.peers), len(self.other.peers)), (0, 2))
        self.connect(session_id="another")
        self.assertEqual(len(self.provider.peers), 1)


class KeyTests(SocketTestCase):
    """Keys of a pool that are refused."""

    def setUp(self) -> None:
        super().setUp()
        keys = ("sk-first-0123456789abcdef", "sk-other-0123456789abcdef")
        self.start(openai={"api_key": None, "api_keys": keys})

    def test_refused_on_a_socket(self) -> None:
        """A key that is refused by a message rests; the socket keeps it, and until then gets the same error."""
        error = {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded"}
        told = {"type": "error", "status": 429, "error": error, "headers": {"Retry-After": "7"}}
        self.provider.on_message = lambda peer, event: peer.send(told)
        client = self.connect()
        client.create("Hi")
        self.network.settle()
        [resting] = self.bridge.keys()["openai"]
        self.assertEqual(resting["seconds"], 7)
        labels = {"provider": "openai", "hint": str(resting["key"]), "reason": "rate_limited"}
        self.assertEqual(self.metric("key_cooldowns_total", **labels), 1)
        client.create("Hi", stream_id="lane-1")
        self.network.settle()
        again = json.loads(client.messages[-1])
        self.assertEqual((again["status"], again["error"]["message"]), (429, "Slow down."))
        self.assertEqual((again["stream_id"], again["headers"]), ("lane-1", {"Retry-After": "7"}))
        self.assertEqual(len(self.peer.messages), 1)
        self.network.wait(8)
        self.provider.on_message = lambda peer, event: peer.answer()
        client.create("Hi")
        self.network.settle()
        self.assertEqual((client.types[-1], self.bridge.keys()["openai"]), ("response.completed", []))

    def test_next_socket_has_the_next_key(self) -> None:
        """Another socket of the same user gets the key that still serves."""
        self.provider.on_message = lambda peer, event: peer.send({"type": "error", "status": 401, "error": {}})
        client = self.connect()
        client.create("Hi")
        self.network.settle()
        self.connect()
        first, second = (peer.headers["authorization"] for peer in self.provider.handshakes)
        self.assertNotEqual(first, second)

    def test_all_cold(self) -> None:
        """While every key rests the provider is left alone: the last 429 passes, with the shortest time."""
        self.provider.refusal = refusal(429, b'{"error":{"message":"No."}}', Retry_After="9")
        client = self.connect(agent=OTHER_AGENT)
        self.assertEqual((client.status, len(self.provider.handshakes)), (429, 2))
        self.network.wait(4)
        client = self.connect(agent=OTHER_AGENT)
        self.assertEqual((client.status, client.body), (429, b'{"error":{"message":"No."}}'))
        self.assertEqual((client.headers["retry-after"], len(self.provider.handshakes)), (["4"], 2))
        self.provider.refusal = None
        self.network.wait(6)
        self.assertEqual(self.connect(agent=OTHER_AGENT).status, 101)

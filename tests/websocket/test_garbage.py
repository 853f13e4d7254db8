"""Peers that send anything at all: the gateway neither raises nor keeps anything of them."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from .gateway import SocketTestCase

KINDS = (
    "response.created",
    "response.in_progress",
    "response.output_text.delta",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "error",
    "keepalive",
    "else",
)
LANES = st.sampled_from([None, "a", "b"])


def event(kind: str, lane: str | None, response_id: str | None, steered: bool) -> dict[str, Any]:
    """An event of a provider, which may belong to nothing."""
    found: dict[str, Any] = {"type": kind}
    if lane is not None:
        found["stream_id"] = lane
    if response_id is not None:
        found["response"] = {
            "id": response_id,
            "model": "m",
            "incomplete_details": {"reason": "steered"} if steered else None,
        }
    return found


EVENTS = st.builds(event, st.sampled_from(KINDS), LANES, st.sampled_from([None, "r1", "r2", "r3"]), st.booleans())
STEPS = st.lists(st.one_of(EVENTS, LANES, st.just("steer")), max_size=25)


class GarbageTests(SocketTestCase):
    """Any order of events, and any bytes."""

    @settings(max_examples=60, deadline=None)
    @given(STEPS)
    def test_any_order(self, steps: list[Any]) -> None:
        """In any order of requests and events nothing fails, and every exchange that began is recorded to its end."""
        self.provider.on_message = None
        client = self.connect()
        peer = self.peer
        for step in steps:
            if isinstance(step, dict):
                peer.send(step)
            elif step == "steer":
                client.send({"type": "response.steer", "input": "x"})
            else:
                client.create("Hi", **({"stream_id": step} if step else {}))
            self.network.settle()
        client.cut()
        self.network.settle()
        self.assertEqual((peer.lost, self.bridge.in_flight), (True, 0))
        self.assertEqual(len(self.recorder.interceptions), len(self.recorder.ended))
        self.assertEqual(self.flushLoggedErrors(), [])

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=300), st.booleans(), st.integers(0, 299))
    def test_any_bytes(self, data: bytes, of_client: bool, cut: int) -> None:
        """Bytes that are no frames close the socket, on both sides, or wait for more."""
        client = self.connect()
        side = client if of_client else self.peer
        for piece in (data[:cut], data[cut:]):
            side.transport.write(piece)
            self.network.settle()
        client.cut()
        self.network.wait(3)
        self.assertEqual((self.peer.lost, client.lost, self.bridge.in_flight), (True, True, 0))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_no_json(self) -> None:
        """Texts that only look like messages pass, but for those in which a provider might find a request."""
        self.provider.on_message = None
        client = self.connect()
        for text in (b'{"type":"x"', b'{"type":["response.create"]}', b"null", b'"response.create"', b'["\\u0072"'):
            client.send(text)
        self.network.settle()
        self.assertEqual(len(self.peer.messages), 5)
        nested = b'{"a":' * 5000 + b"1" + b"}" * 5000
        hidden = (
            b'{"type":"response.create",}',
            b' {"type":"response\\u002ecreate"}x',
            b'{"type":"response.create","x":%b}',
        )
        for text in (*hidden[:2], hidden[2] % nested):
            client.send(text)
            self.network.settle()
            self.assertEqual((client.types[-1], client.events[-1]["status"]), ("error", 400))
        self.assertEqual((len(self.peer.messages), client.lost), (5, False))
        client.messages.clear()
        self.peer.send(json.dumps({"type": "response.created", "response": []}).encode())
        self.network.settle()
        self.assertEqual(client.types, ["response.created"])

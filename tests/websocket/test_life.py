"""The life of a WebSocket: its pace, its signs of life, and its ends."""

import json
import zlib
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from aibridge import Actor, Unauthorized
from aibridge.interfaces import IAuthenticator, IRevocable

from ..chain.toolbox import ScriptedToolbox
from .gateway import SocketTestCase
from .peers import BINARY, CLOSE, CONTINUATION, TEXT


class ClosingTests(SocketTestCase):
    """A close code and its reason reach the other side."""

    def test_codes_of_the_client(self) -> None:
        """The client's code and reason reach the provider."""
        for code, reason in ((1000, "done"), (1001, ""), (3999, "caf\u00e9"), (None, "")):
            client = self.connect()
            client.close(code, reason)
            self.network.settle()
            self.assertEqual(self.peer.close_frame, (code, reason))
            self.assertEqual((client.lost, self.peer.lost), (True, True))

    def test_codes_of_the_provider(self) -> None:
        """The provider's code and reason reach the client."""
        for code, reason in ((1000, ""), (1001, "later"), (1009, "too big"), (1011, "oops"), (1012, ""), (None, "")):
            client = self.connect()
            self.peer.close(code, reason)
            self.network.settle()
            self.assertEqual(client.close_frame, (code, reason))
            self.network.wait(3)
            self.assertEqual((client.lost, self.peer.lost), (True, True))

    def test_cuts(self) -> None:
        """A connection that is cut on one side is cut on the other, without a close frame."""
        client = self.connect()
        client.cut()
        self.network.settle()
        self.assertEqual((self.peer.lost, self.peer.close_frame), (True, None))
        client = self.connect()
        self.peer.cut()
        self.network.settle()
        self.assertEqual((client.lost, client.close_frame), (True, None))

    def test_no_answer_to_a_close_frame(self) -> None:
        """A peer that does not answer a close frame is cut."""
        client = self.connect()
        client.answers_close = False
        self.peer.close(1001)
        self.network.settle()
        self.assertEqual((client.close_frame, client.lost), ((1001, ""), False))
        self.network.wait(3)
        self.assertTrue(client.lost)

    def test_client_leaves_in_the_midst(self) -> None:
        """Without a close frame, as Codex ends: the rows say that the client left, with the figures so far."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.peer.begin("resp_1")
        self.network.settle()
        client.cut()
        self.network.settle()
        self.assertEqual((self.exchange.end, self.peer.lost), (("cancelled", 200), True))
        self.assertEqual((self.exchange.response_id, self.exchange.usages[0].metadata["complete"]), ("resp_1", False))
        self.assertEqual(self.bridge.in_flight, 0)

    def test_client_leaves_before_the_answer(self) -> None:
        """A client that leaves before its answer begins."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        client.close(1000)
        self.network.settle()
        self.assertEqual((self.exchange.end, self.peer.close_frame), (("cancelled", None), (1000, "")))

    def test_answer_is_read_on(self) -> None:
        """With ``on_disconnect = "drain"`` the answer is read to its end although its client has left."""
        self.start(openai={"on_disconnect": "drain"})
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        response_id = self.peer.begin()
        self.network.settle()
        client.close(1000, "bye")
        self.network.settle()
        self.assertFalse(self.peer.lost)
        self.peer.end("x", response_id)
        self.network.settle()
        self.assertEqual((self.peer.lost, self.peer.close_frame), (True, (1000, "bye")))
        self.assertEqual((self.exchange.end, self.exchange.usages[0].output_tokens), (("cancelled", 200), 30))

    def test_provider_leaves_in_the_midst(self) -> None:
        """The client sees the close code and nothing else; every answer under way is recorded as failed."""
        for end in ("cut", "close"):
            self.provider.on_message = None
            client = self.connect()
            client.create("one", stream_id="a")
            client.create("two", stream_id="b")
            self.network.settle()
            self.peer.begin("resp_1", lane="a")
            self.network.settle()
            if end == "cut":
                self.peer.cut()
            else:
                self.peer.close(1011, "oops")
            self.network.settle()
            self.assertEqual(client.types, ["response.created"])
            self.assertEqual(client.close_frame, None if end == "cut" else (1011, "oops"))
            first, second = self.exchanges[-2:]
            self.assertEqual((first.end, first.ended.error), (("failed", 200), "openai broke off its answer."))
            self.assertEqual(second.end, ("failed", 502))
            self.network.wait(3)
            self.assertTrue(client.lost)

    def test_provider_leaves_while_a_request_is_recorded(self) -> None:
        """A request whose provider leaves before it was sent fails, and is not sent anywhere."""
        self.recorder.hold()
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.peer.close(1001)
        self.network.settle()
        self.recorder.release()
        self.network.wait(3)
        self.assertEqual(self.exchange.end, ("failed", 502))
        self.assertEqual((self.peer.messages, client.close_frame), ([], (1001, "")))

    def test_provider_leaves_while_a_tool_runs(self) -> None:
        """An answer whose tool still runs can't go on."""
        toolbox = ScriptedToolbox("tides")
        toolbox.slow = True
        self.start(toolbox=toolbox)
        call = {"type": "function_call", "call_id": "call_h", "name": "bmcp_sky_tides", "arguments": "{}"}
        self.provider.on_message = lambda peer, event: peer.end("", peer.begin(), items=[call])
        client = self.connect()
        client.create("When?")
        self.network.settle()
        self.peer.close(1001)
        self.network.settle()
        toolbox.finish()
        self.network.wait(3)
        self.assertEqual((self.exchange.end[0], client.close_frame), ("failed", (1001, "")))
        self.assertEqual(self.exchange.ended.error, "openai has closed the connection.")


class ViolationTests(SocketTestCase):
    """Messages that are not accepted: the sender is told by a code, and the other side is closed too."""

    def assert_closed(self, code: int) -> None:
        [client] = self.clients
        self.network.wait(3)
        self.assertEqual(client.close_frame[0], code)
        self.assertEqual(self.peer.close_frame[0], code)
        self.assertEqual((client.lost, self.peer.lost, self.peer.messages, client.messages), (True, True, [], []))

    def setUp(self) -> None:
        super().setUp()
        self.clients: list[Any] = [self.connect()]

    def test_binary(self) -> None:
        """1003 for a binary message of the client."""
        self.clients[0].frame(BINARY, b"x")
        self.assert_closed(1003)

    def test_binary_of_the_provider(self) -> None:
        """1003 for one of the provider."""
        self.peer.frame(BINARY, b"x")
        self.assert_closed(1003)

    def test_invalid_text(self) -> None:
        """1007 for text that is not UTF-8, also if only its end is missing."""
        self.clients[0].frame(TEXT, b'{"type":"\xff"}')
        self.assert_closed(1007)

    def test_unfinished_character(self) -> None:
        """1007 for a message that ends within a character."""
        self.peer.frame(TEXT, "caf\u00e9".encode()[:-1])
        self.assert_closed(1007)

    def test_too_large(self) -> None:
        """1009 for a message over the bound, as soon as its length is known."""
        self.clients[0].frame(TEXT, b"x", length=self.max_body_bytes + 1)
        self.assert_closed(1009)

    def test_too_large_in_fragments(self) -> None:
        """1009 for fragments that are too large together."""
        half = b"x" * (self.max_body_bytes // 2 + 1)
        self.peer.frame(TEXT, half, final=False)
        self.peer.frame(CONTINUATION, half)
        self.assert_closed(1009)

    def test_protocol_violations(self) -> None:
        """1002 for frames that break the protocol."""
        self.clients[0].masks = False
        self.clients[0].frame(TEXT, b"x")
        self.network.settle()
        self.assertEqual(self.clients[0].close_frame[0], 1002)

    def test_bad_close_code(self) -> None:
        """1002 for a close code that must not be sent."""
        self.clients[0].frame(CLOSE, b"\x03\xed")
        self.network.settle()
        self.assertEqual(self.clients[0].close_frame[0], 1002)


class StoppingTests(SocketTestCase):
    """The end of the gateway."""

    def test_idle_sockets(self) -> None:
        """A socket on which nothing is under way is closed at once: 1001 to both sides."""
        client = self.connect()
        drained = self.bridge.drain(10)
        self.network.settle()
        self.assertEqual((client.close_frame[0], self.peer.close_frame[0]), (1001, 1001))
        self.successResultOf(drained)

    def test_opened_meanwhile(self) -> None:
        """A socket whose handshake was under way as the gateway began to stop is closed as soon as it is open."""
        self.provider.accepts = False
        client = self.connect()
        drained = self.bridge.drain(10)
        self.provider.accepts = True
        self.provider.handshakes[0].shake_hands()
        self.network.settle()
        self.assertEqual((client.status, client.close_frame[0]), (101, 1001))
        self.successResultOf(drained)

    def test_what_is_under_way_ends(self) -> None:
        """An answer under way is brought to its end, a further request is refused, and then the socket is closed."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        drained = self.bridge.drain(10)
        client.create("two", stream_id="b")
        self.network.settle()
        self.assertEqual((client.events[-1]["status"], client.events[-1]["stream_id"]), (503, "b"))
        self.assertEqual((client.events[-1]["error"]["code"], client.close_frame), ("draining", None))
        self.assertNoResult(drained)
        self.peer.answer()
        self.network.settle()
        self.assertEqual((client.types[-1], client.close_frame[0]), ("response.completed", 1001))
        self.successResultOf(drained)
        self.assertEqual(self.exchange.end, ("completed", 200))

    def test_stop_at_the_end(self) -> None:
        """A gateway that stops as soon as the last answer has ended breaks nothing off: the socket closes with 1001."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        stopped = self.bridge.drain(10).addCallback(lambda _: self.bridge.stopService())
        self.peer.answer()
        self.network.settle()
        self.assertEqual((client.types[-1], client.close_frame[0]), ("response.completed", 1001))
        self.assertEqual(self.exchange.end, ("completed", 200))
        self.network.wait(3)
        self.successResultOf(stopped)

    def test_what_is_left_is_interrupted(self) -> None:
        """What does not end in time is recorded as interrupted, and the socket closed with 1012."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.peer.begin()
        drained = self.bridge.drain(10)
        self.network.wait(11)
        self.successResultOf(drained)
        stopped = self.bridge.stopService()
        self.network.settle()
        self.assertEqual((client.types, client.close_frame[0]), (["response.created"], 1012))
        self.assertEqual((self.exchange.end[0], self.exchange.ended.error is None), ("interrupted", False))
        self.network.wait(3)
        self.successResultOf(stopped)

    def test_stop_waits_for_the_rows(self) -> None:
        """A stop waits until the interruption is recorded."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.recorder.hold()
        stopped = self.bridge.stopService()
        self.network.wait(1)
        self.assertNoResult(stopped)
        self.recorder.release()
        self.network.wait(3)
        self.successResultOf(stopped)
        self.assertEqual((self.exchange.end[0], client.close_frame[0]), ("interrupted", 1012))


@implementer(IAuthenticator, IRevocable)
class Keys:
    """An authenticator whose keys can be revoked."""

    def __init__(self) -> None:
        self.revoked = False
        self.error: Exception | None = None
        self.asked = 0

    def authenticate(self, request: Any) -> "Deferred[Actor]":
        self.asked += 1
        assert request.requestHeaders.getRawHeaders("x-aibridge-key") == ["k1"]
        request.requestHeaders.removeHeader("x-aibridge-key")
        if self.error is not None:
            raise self.error
        if self.revoked:
            raise Unauthorized("Gateway key revoked.")
        return succeed(Actor("alice"))


class RevocationTests(SocketTestCase):
    """A credential that is not valid any more ends its sockets."""

    def test_revoked(self) -> None:
        """1008 within five seconds, in the midst of an answer; its row says why."""
        keys = Keys()
        self.start(authenticate=keys)
        self.provider.on_message = None
        client = self.connect(x_aibridge_key="k1")
        client.create("one")
        self.network.wait(10)
        self.peer.begin()
        self.network.settle()
        keys.revoked = True
        self.network.wait(4)
        self.assertEqual(client.close_frame, (1008, "Gateway key revoked."))
        self.assertTrue(self.peer.lost)
        self.assertEqual((self.exchange.end, self.exchange.ended.error), (("failed", 200), "Gateway key revoked."))
        self.assertEqual(client.types, ["response.created"])

    def test_database_away(self) -> None:
        """A credential that can't be checked now stays valid."""
        keys = Keys()
        self.start(authenticate=keys)
        client = self.connect(x_aibridge_key="k1")
        keys.error = RuntimeError("away")
        self.network.wait(10)
        self.assertEqual((client.lost, keys.asked > 5), (False, True))

    def test_hosts_own(self) -> None:
        """The authenticator of a host is called once, unless it says that it may be called again."""
        asked = []
        self.start(authenticate=lambda request: asked.append(1) or Actor("alice"))
        self.connect()
        self.network.wait(20)
        self.assertEqual(len(asked), 1)


class AgeTests(SocketTestCase):
    """Connections end after a time."""

    def test_too_old(self) -> None:
        """A socket that has reached its age is closed with 1001, if nothing is under way."""
        self.start(websocket={"max_age": 100})
        client = self.connect()
        self.network.wait(95)
        self.assertFalse(client.lost)
        self.network.wait(10)
        self.assertEqual(client.close_frame[0], 1001)

    def test_too_old_in_the_midst(self) -> None:
        """An answer under way is not disturbed; a further request is told to go elsewhere, as Codex knows it."""
        self.start(websocket={"max_age": 10}, openai={"idle_timeout": 60})
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.wait(15)
        client.create("two")
        self.network.settle()
        error = client.events[-1]
        self.assertEqual((error["status"], error["error"]["code"]), (400, "websocket_connection_limit_reached"))
        self.peer.answer()
        self.network.settle()
        self.assertEqual((client.types[-1], client.close_frame[0]), ("response.completed", 1001))

    def test_idle(self) -> None:
        """A socket without messages is closed with 1001; each message begins its time anew."""
        self.start(websocket={"idle_timeout": 100})
        client = self.connect()
        self.network.wait(90)
        client.send({"type": "x"})
        self.network.wait(60)
        self.assertFalse(client.lost)
        self.network.wait(60)
        self.assertEqual(client.close_frame[0], 1001)

    def test_pings(self) -> None:
        """Both sides are pinged every 30 seconds, and the pings of both are answered."""
        client = self.connect()
        client.frame(9, b"p")
        self.peer.frame(9, b"q")
        self.network.wait(95)
        self.assertEqual((len(client.pings), len(self.peer.pings)), (3, 3))
        self.assertEqual((client.pongs, self.peer.pongs), (1, 1))

    def test_no_pong(self) -> None:
        """A side that does not answer a ping is gone, and the other one is cut."""
        for side in ("client", "provider"):
            client = self.connect()
            (client if side == "client" else self.peer).answers_pings = False
            self.network.wait(65)
            self.assertEqual((client.lost, self.peer.lost), (True, True))

    def test_no_pong_while_an_answer_is_under_way(self) -> None:
        """While an answer is under way nobody is gone for a missing pong."""
        self.start(openai={"idle_timeout": 300, "first_byte_timeout": 300})
        self.provider.on_message = None
        client = self.connect()
        client.answers_pings = self.peer.answers_pings = False
        client.create("one")
        self.network.wait(200)
        self.assertFalse(client.lost)
        self.peer.answer()
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")
        self.network.wait(70)
        self.assertTrue(client.lost)


class PaceTests(SocketTestCase):
    """A slow reader slows the other side, and nothing piles up."""

    def test_slow_client(self) -> None:
        """A client that takes nothing pauses the provider; every byte arrives once it reads again."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        client.transport.pauseProducing()
        response_id = self.peer.begin()
        sent = 0
        for n in range(400):
            self.peer.delta("x" * 2000, number=n)
            self.network.settle()
            sent += 2000
        gateway_side = self.network.connections[0][1]
        self.assertLess(len(gateway_side.buffer), 80_000)
        client.transport.resumeProducing()
        self.network.settle()
        self.peer.end("x", response_id)
        self.network.settle()
        self.assertEqual(sum(len(event.get("delta", "")) for event in client.events), sent)
        self.assertEqual((client.types[-1], self.exchange.end), ("response.completed", ("completed", 200)))

    def test_slow_client_without_an_answer(self) -> None:
        """So do messages that belong to no answer."""
        self.provider.on_message = None
        client = self.connect()
        client.transport.pauseProducing()
        for _ in range(200):
            self.peer.send({"type": "note", "text": "x" * 2000})
            self.network.settle()
        self.assertLess(len(self.network.connections[0][1].buffer), 80_000)
        client.transport.resumeProducing()
        self.network.settle()
        self.assertEqual(len(client.messages), 200)

    def test_slow_provider(self) -> None:
        """A provider that takes nothing pauses the client."""
        client = self.connect()
        self.peer.transport.pauseProducing()
        for _ in range(200):
            client.send({"type": "note", "text": "x" * 2000})
            self.network.settle()
        provider_side = self.network.connections[-1][0]
        self.assertLess(len(provider_side.buffer), 80_000)
        self.peer.transport.resumeProducing()
        self.network.settle()
        self.assertEqual(len(self.peer.messages), 200)

    def test_stalled_client(self) -> None:
        """A client that takes nothing of its answer for too long is cut off, and the row says so."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        client.transport.pauseProducing()
        self.peer.begin()
        for n in range(100):
            self.peer.delta("x" * 2000, number=n)
        self.network.wait(self.stall_timeout + 5)
        self.assertEqual((client.lost, self.peer.lost), (True, True))
        self.assertEqual(self.exchange.end[0], "cancelled")
        self.assertIn("took nothing", self.exchange.ended.error)

    def test_one_message_is_held(self) -> None:
        """Behind a last event that waits for its rows, one message of that lane is held, and the socket is paused."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        client.create("two")
        self.network.settle()
        self.recorder.hold()
        self.peer.answer(response_id="resp_1")
        self.peer.answer(response_id="resp_2")
        self.network.settle()
        for n in range(50):
            self.peer.send({"type": "note", "n": n})
            self.network.settle()
        self.assertEqual(client.types[-1], "response.output_item.done")
        self.assertGreater(len(self.peer.transport.buffer), 0)
        self.recorder.release()
        self.network.settle()
        self.assertEqual(client.types.count("response.completed"), 2)
        self.assertEqual(client.types.count("note"), 50)


class CompressionTests(SocketTestCase):
    """Compression of messages."""

    OFFER = "permessage-deflate; client_max_window_bits"

    def test_off(self) -> None:
        """Compression is neither accepted nor offered."""
        client = self.connect(sec_websocket_extensions=self.OFFER)
        self.assertNotIn("sec-websocket-extensions", client.headers)
        self.assertNotIn("sec-websocket-extensions", self.peer.headers)

    def test_on(self) -> None:
        """Both sides are offered windows of 12 bits."""
        self.start(websocket={"compression": True})
        client = self.connect(sec_websocket_extensions=self.OFFER)
        self.assertIn("client_max_window_bits=12", client.headers["sec-websocket-extensions"][0])
        self.assertIn("server_max_window_bits=12", self.peer.headers["sec-websocket-extensions"][0])

    def test_messages(self) -> None:
        """Compressed messages cross: the provider, which accepted no compression, gets them plain, and the other way."""
        self.start(websocket={"compression": True})
        client = self.connect(sec_websocket_extensions=self.OFFER)
        deflate, inflate = zlib.compressobj(wbits=-12), zlib.decompressobj(-15)
        plain = b'{"type":"response.create","model":"m","input":"' + b"Hi " * 100 + b'"}'
        packed = deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)
        client.frame(TEXT, packed[:-4], compressed=True)
        self.network.settle()
        self.assertEqual(self.peer.messages, [plain])
        self.assertTrue(client.is_compressed)
        received = [inflate.decompress(message + b"\0\0\xff\xff") for message in client.messages]
        self.assertEqual([json.loads(message)["type"] for message in received][-1], "response.completed")

    def test_bomb(self) -> None:
        """1009 for a message that unpacks to more than the bound."""
        self.start(websocket={"compression": True})
        client = self.connect(sec_websocket_extensions=self.OFFER)
        deflate = zlib.compressobj(wbits=-12)
        packed = deflate.compress(b" " * (self.max_body_bytes + 1)) + deflate.flush(zlib.Z_SYNC_FLUSH)
        client.frame(TEXT, packed[:-4], compressed=True)
        self.network.settle()
        self.assertEqual((client.close_frame[0], self.peer.messages), (1009, []))

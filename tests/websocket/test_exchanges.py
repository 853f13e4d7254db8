"""Requests on a WebSocket: what passes, and what is recorded of it."""

import json
from typing import Any

from aibridge import Actor, RecordingError
from aibridge.rate_limits import Limits
from aibridge.upstream.circuit_breaker import BreakerSettings

from .gateway import SocketTestCase
from .peers import TEXT, message_item


class RelayingTests(SocketTestCase):
    """Messages pass as they are."""

    def test_bytes_stay(self) -> None:
        """A message crosses byte for byte in both directions: odd spacing, escapes, duplicate keys, unknown members."""
        client = self.connect()
        asked = (
            b'{ "type":"response.create" , "model":"gpt-5.5","model": "gpt-5.5","x":"\\u00e9\\/", "input":"Hi",'
            b'"n":1.0e2, "store":false}\n'
        )
        said = b'{"type" : "response.created","response":{"id":"resp_1","x":"\\u2028"} , "sequence_number":0 }'
        self.provider.on_message = None
        client.send(asked)
        self.network.settle()
        self.assertEqual(self.peer.messages, [asked])
        self.peer.send(said)
        self.network.settle()
        self.assertEqual(client.messages, [said])

    def test_unknown_types(self) -> None:
        """Messages of unknown types, and texts that are no JSON, pass both ways without a record."""
        self.provider.on_message = None
        client = self.connect()
        for message in (b'{"type":"session.update","x":1}', b"not json", b"[1]", b'{"type":7}', b""):
            client.frame(TEXT, message)
            self.network.settle()
            self.peer.frame(TEXT, message)
        self.network.settle()
        self.assertEqual(self.peer.messages, client.messages)
        self.assertEqual((len(client.messages), self.exchanges), (5, []))

    def test_fragments_are_joined(self) -> None:
        """A message in fragments, with a ping between them, arrives as one."""
        self.provider.on_message = None
        client = self.connect()
        whole = json.dumps({"type": "response.create", "model": "m", "input": "caf\u00e9" * 50}, ensure_ascii=False)
        data = whole.encode()
        client.frame(TEXT, data[:33], final=False)
        client.frame(9, b"x")
        client.frame(0, data[33:80], final=False)
        client.frame(0, data[80:])
        self.network.settle()
        self.assertEqual((self.peer.messages, client.pongs), ([data], 1))

    def test_large_messages(self) -> None:
        """Messages up to the bound pass both ways."""
        self.provider.on_message = None
        client = self.connect()
        text = "x" * (self.max_body_bytes - 200)
        client.create(text)
        self.network.settle()
        self.peer.send({"type": "note", "text": text})
        self.network.settle()
        self.assertEqual(
            (self.peer.events[0]["input"][0]["content"][0]["text"], client.events[0]["text"]), (text, text)
        )


class RecordingTests(SocketTestCase):
    """Each request is an interception with its rows."""

    def test_rows(self) -> None:
        """The rows equal what the provider says it sent."""
        call = {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "shell",
            "arguments": '{"cmd":"ls"}',
        }
        thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
        self.provider.on_message = lambda peer, event: peer.answer(response_id="resp_1", items=[thought, call])
        client = self.connect()
        client.create("List it", previous_response_id="resp_0", client_metadata={"session_id": "other"})
        self.network.settle()
        exchange = self.exchange
        self.assertEqual(
            exchange.figures,
            {
                "input_tokens": 20,
                "output_tokens": 30,
                "cache_read_input_tokens": 100,
                "cache_write_input_tokens": 0,
                "metadata": {"reasoning_tokens": 12, "total_tokens": 150, "complete": True},
            },
        )
        self.assertEqual([row.prompt for row in exchange.prompts], ["List it"])
        self.assertEqual(
            [(row.tool_call_id, row.tool, row.input) for row in exchange.tools], [("call_1", "shell", {"cmd": "ls"})]
        )
        self.assertEqual([row.content for row in exchange.thoughts], ["Hm."])
        self.assertEqual((exchange.response_id, exchange.end), ("resp_1", ("completed", 200)))
        begun = exchange.begun
        self.assertEqual((begun.client, begun.client_session_id, begun.streaming), ("Codex", "session-1", True))
        self.assertEqual(
            begun.metadata,
            {
                "transport": "websocket",
                "connection_id": client.headers["x-aibridge-connection-id"][0],
                "previous_response_id": "resp_0",
            },
        )
        where = {
            "provider": "openai",
            "model": "gpt-5.5",
            "status": "completed",
            "route": "websocket",
            "method": "POST",
        }
        self.assertEqual(self.metric("interceptions_total", **where, initiator_id="anonymous", client="Codex"), 1)

    def test_session_of_the_message(self) -> None:
        """Without a header the session is that of ``client_metadata``."""
        client = self.connect(session_id="", agent="OpenAI/Python 3")
        client.create("Hi", client_metadata={"session_id": "s-9"})
        self.network.settle()
        self.assertEqual(self.exchange.begun.client_session_id, "s-9")

    def test_prewarm(self) -> None:
        """A request that only warms up has no prompt, and says so."""
        client = self.connect()
        client.create("Instructions", generate=False)
        client.create("Hi", previous_response_id="resp_1")
        self.network.settle()
        first, second = self.exchanges
        self.assertEqual((first.prompts, first.begun.metadata["prewarm"]), ([], True))
        self.assertEqual([row.prompt for row in second.prompts], ["Hi"])
        self.assertNotIn("prewarm", second.begun.metadata)

    def test_tool_result(self) -> None:
        """A turn that brings a tool's result leads to the call, and has no prompt."""
        client = self.connect()
        client.create(input=[{"type": "function_call_output", "call_id": "call_1", "output": "ok"}])
        self.network.settle()
        self.assertEqual((self.exchange.begun.correlating_tool_call_id, self.exchange.prompts), ("call_1", []))

    def test_row_before_the_message(self) -> None:
        """The interception is durable before the provider has the message; the client waits its turn meanwhile."""
        self.recorder.hold()
        client = self.connect()
        client.create("one")
        client.send({"type": "later"})
        self.network.settle()
        self.assertEqual(self.peer.messages, [])
        self.recorder.release()
        self.network.settle()
        self.assertEqual([event["type"] for event in self.peer.events], ["response.create", "later"])

    def test_rows_before_the_last_event(self) -> None:
        """The last event waits for the rows; everything before it does not."""
        for kind in ("response.completed", "response.failed", "response.incomplete"):
            client = self.connect()
            self.provider.on_message = None
            client.create("one")
            self.network.settle()
            self.recorder.hold()
            response_id = self.peer.begin()
            self.peer.delta("Hel")
            self.peer.end("Hello", response_id, kind=kind)
            self.network.settle()
            self.assertEqual(client.types[-1], "response.output_item.done")
            self.recorder.release()
            self.network.settle()
            self.assertEqual(client.types[-1], kind)

    def test_errors_of_the_provider(self) -> None:
        """A provider's error passes as it is, waits for the row, and is the interception's status."""
        error = {
            "type": "error",
            "status": 429,
            "error": {"type": "requests", "message": "Slow."},
            "headers": {"a": "b"},
        }
        self.provider.on_message = lambda peer, event: peer.send(error)
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.assertEqual(client.events, [error])
        self.assertEqual(self.exchange.end, ("failed", 429))
        self.assertEqual((self.exchange.ended.error, self.exchange.usages), ("requests (HTTP 429)", []))
        client.create("two")
        self.network.settle()
        self.assertEqual(len(client.events), 2)

    def test_error_in_the_midst(self) -> None:
        """An error after the beginning ends the answer; the figures so far are kept."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.peer.begin()
        self.peer.send({"type": "error", "error": {"code": "server_error"}, "sequence_number": 3})
        self.network.settle()
        self.assertEqual(client.types, ["response.created", "error"])
        self.assertEqual((self.exchange.end, self.exchange.ended.error), (("failed", 200), "server_error"))
        self.assertEqual(self.exchange.usages[0].metadata["complete"], False)

    def test_incomplete(self) -> None:
        """An incomplete answer is a completed exchange."""
        self.provider.on_message = lambda peer, event: peer.end("x", peer.begin(), kind="response.incomplete")
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.assertEqual(self.exchange.end, ("completed", 200))

    def test_long_answer_has_its_row(self) -> None:
        """An answer that takes longer than two seconds has its figures already."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.peer.begin("resp_1")
        self.network.wait(3)
        self.assertEqual((self.exchange.response_id, self.exchange.usages[0].metadata["complete"]), ("resp_1", False))


class OwnErrorTests(SocketTestCase):
    """Errors of the gateway's own are messages with a status; the socket stays open."""

    def assert_error(self, event: dict[str, Any], status: int, code: str | None, lane: str | None = None) -> None:
        self.assertEqual((event["type"], event["status"], event["error"]["code"]), ("error", status, code), event)
        self.assertEqual(event.get("stream_id"), lane)
        self.assertIn("message", event["error"])

    def assert_works(self, client: Any) -> None:
        client.create("again")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")

    def test_bad_requests(self) -> None:
        """400 for a request without a model; nothing reaches the provider."""
        client = self.connect()
        client.send({"type": "response.create", "input": "Hi", "stream_id": "a"})
        self.network.settle()
        self.assert_error(client.events[-1], 400, None, "a")
        self.assertEqual((self.peer.messages, self.exchanges), ([], []))
        self.assert_works(client)

    def test_rate_limit(self) -> None:
        """429 with the seconds to wait, once an actor has made too many requests."""
        self.start(limits=Limits(requests_per_minute=1), authenticate=lambda request: Actor("alice"))
        client = self.connect()
        client.create("one")
        self.network.settle()
        client.create("two", stream_id="b")
        self.network.settle()
        self.assert_error(client.events[-1], 429, "rate_limit_exceeded", "b")
        self.assertEqual(client.events[-1]["headers"]["Retry-After"], "60")
        self.assertEqual(len(self.peer.messages), 1)
        self.network.wait(61)
        self.assert_works(client)

    def test_concurrency(self) -> None:
        """A request counts until its answer is there, and an idle socket counts nothing."""
        self.start(limits=Limits(concurrent=1), authenticate=lambda request: Actor("alice"))
        self.provider.on_message = None
        client, other = self.connect(), self.connect()
        client.create("one")
        self.network.settle()
        other.create("two")
        self.network.settle()
        self.assert_error(other.events[-1], 429, "rate_limit_exceeded")
        self.provider.peers[0].answer()
        self.network.settle()
        self.provider.on_message = lambda peer, event: peer.answer()
        self.assert_works(other)

    def test_circuit_open(self) -> None:
        """503 while the circuit of the model is open: errors of the provider have opened it."""
        self.start(openai={"circuit_breaker": BreakerSettings(failure_threshold=2)})
        self.provider.on_message = lambda peer, event: peer.send(
            {"type": "error", "status": 503, "error": {"code": "server_is_overloaded"}}
        )
        client = self.connect()
        for text in ("one", "two", "three"):
            client.create(text)
            self.network.settle()
        self.assert_error(client.events[-1], 503, "circuit_open")
        self.assertEqual(len(self.peer.messages), 2)

    def test_recording_impossible(self) -> None:
        """503 if the request can't be recorded; the provider gets nothing."""
        client = self.connect()
        self.recorder.fail_with(RecordingError("full"))
        client.create("one", stream_id="a")
        self.network.settle()
        self.assert_error(client.events[-1], 503, "recording_unavailable", "a")
        self.assertEqual(self.peer.messages, [])
        self.recorder.fail_with(None)
        self.assert_works(client)

    def test_end_not_recorded(self) -> None:
        """An answer whose rows can't be written has an error in the place of its last event."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.recorder.fail_with(RecordingError("full"))
        self.peer.answer()
        self.network.settle()
        self.assertNotIn("response.completed", client.types)
        self.assert_error(client.events[-1], 503, "recording_unavailable")
        self.flushLoggedErrors()

    def test_provider_silent(self) -> None:
        """504 for an answer that does not begin; what comes of it later is not shown for another."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.wait(21)
        self.assert_error(client.events[-1], 504, "upstream_timeout")
        self.assertEqual(self.exchange.end, ("failed", 504))
        client.create("two")
        self.network.settle()
        self.peer.answer("late", response_id="resp_1")
        self.peer.answer("right", response_id="resp_2")
        self.network.settle()
        self.assertEqual([event["response"]["id"] for event in client.events if "response" in event], ["resp_2"] * 2)
        self.assertEqual(self.exchanges[1].response_id, "resp_2")

    def test_provider_stops_in_the_midst(self) -> None:
        """504 for an answer that does not go on."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        self.peer.begin()
        self.network.wait(62)
        self.assert_error(client.events[-1], 504, "upstream_timeout")


class LaneTests(SocketTestCase):
    """Several answers are under way on one socket."""

    def test_two_lanes(self) -> None:
        """Two lanes interleaved: each event reaches the client in its order, each lane has its own rows."""
        self.provider.on_message = None
        client = self.connect()
        client.create("to a", stream_id="a")
        client.create("to b", stream_id="b")
        self.network.settle()
        peer = self.peer
        peer.begin("resp_b", lane="b")
        peer.begin("resp_a", lane="a")
        for n in range(5):
            peer.delta(f"a{n}", lane="a", number=n)
            peer.delta(f"b{n}", lane="b", number=n)
        peer.end("A", "resp_a", lane="a")
        peer.delta("b5", lane="b")
        peer.end("B", "resp_b", lane="b", usage={"input_tokens": 7, "output_tokens": 8})
        self.network.settle()
        self.assertEqual(len(client.messages), 17)
        self.assertEqual(
            [e["delta"] for e in client.events if e.get("stream_id") == "b" and "delta" in e],
            [f"b{n}" for n in range(6)],
        )
        first, second = self.exchanges
        self.assertEqual((first.prompts[0].prompt, first.response_id), ("to a", "resp_a"))
        self.assertEqual((second.prompts[0].prompt, second.response_id), ("to b", "resp_b"))
        self.assertEqual(second.usages[0].output_tokens, 8)
        self.assertEqual([each.begun.metadata["stream_id"] for each in (first, second)], ["a", "b"])

    def test_a_held_event_stops_no_other_lane(self) -> None:
        """While one lane's last event waits for its rows, the other lane goes on."""
        self.provider.on_message = None
        client = self.connect()
        client.create("to a", stream_id="a")
        client.create("to b", stream_id="b")
        self.network.settle()
        self.peer.begin("resp_a", lane="a")
        self.peer.begin("resp_b", lane="b")
        self.network.settle()
        self.recorder.hold()
        self.peer.end("A", "resp_a", lane="a")
        self.peer.delta("b", lane="b")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.output_text.delta")
        self.recorder.release()
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")

    def test_same_lane_twice(self) -> None:
        """A second request on a lane gets the second answer."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        client.create("two")
        self.network.settle()
        self.peer.answer("1", response_id="resp_1")
        self.peer.answer("2", response_id="resp_2")
        self.network.settle()
        self.assertEqual(
            [(e.prompts[0].prompt, e.response_id) for e in self.exchanges], [("one", "resp_1"), ("two", "resp_2")]
        )

    def test_refused_while_another_runs(self) -> None:
        """An error while an answer is under way is that of the request which has no answer yet."""
        self.provider.on_message = None
        client = self.connect()
        client.create("one")
        self.network.settle()
        response_id = self.peer.begin()
        client.create("two")
        self.network.settle()
        self.peer.send({"type": "error", "status": 409, "error": {"code": "busy"}})
        self.peer.delta("x")
        self.peer.end("x", response_id)
        self.network.settle()
        self.assertEqual([each.end for each in self.exchanges], [("completed", 200), ("failed", 409)])
        self.assertEqual(
            client.types,
            [
                "response.created",
                "error",
                "response.output_text.delta",
                "response.output_item.done",
                "response.completed",
            ],
        )

    def test_other_messages_pass_between(self) -> None:
        """A message that belongs to no answer passes while one is held."""
        self.provider.on_message = None
        client = self.connect()
        self.peer.send({"type": "codex.rate_limits", "x": 1})
        self.network.settle()
        self.assertEqual(client.types, ["codex.rate_limits"])


class SteeringTests(SocketTestCase):
    """The client steers an answer, and another follows that it did not ask for."""

    def steer(self, lane: str | None = None) -> Any:
        """A client whose answer was steered, and has ended so."""
        self.provider.on_message = None
        client = self.connect()
        client.create("Write a poem", instructions="Be brief.", **({"stream_id": lane} if lane else {}))
        self.network.settle()
        self.peer.begin("resp_1", lane=lane)
        client.send(
            {"type": "response.steer", "input": [message_item("No, prose")], **({"stream_id": lane} if lane else {})}
        )
        self.network.settle()
        self.peer.end("x", "resp_1", lane=lane, kind="response.incomplete", incomplete_details={"reason": "steered"})
        return client

    def test_successor(self) -> None:
        """The answer that follows has an interception of its own; what the client steered with is its prompt."""
        for lane in (None, "a"):
            client = self.steer(lane)
            self.peer.begin("resp_2", lane=lane)
            self.peer.delta("Prose", lane=lane)
            self.peer.end("Prose", "resp_2", lane=lane)
            self.network.settle()
            self.assertEqual(client.types.count("response.created"), 2)
            first, second = self.exchanges[-2:]
            self.assertEqual((first.end, first.response_id), (("completed", 200), "resp_1"))
            self.assertEqual((second.end, second.response_id), (("completed", 200), "resp_2"))
            self.assertEqual([row.prompt for row in second.prompts], ["No, prose"])
            self.assertEqual(second.begun.metadata["previous_response_id"], "resp_1")
            self.assertEqual(second.begun.model, "gpt-5.5")
            self.assertEqual([event["type"] for event in self.peer.events], ["response.create", "response.steer"])

    def test_successor_waits_for_its_row(self) -> None:
        """The first event of the answer that follows waits for its row."""
        client = self.steer()
        self.network.settle()
        self.recorder.hold()
        self.peer.begin("resp_2")
        self.peer.delta("Prose")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.incomplete")
        self.recorder.release()
        self.network.settle()
        self.assertEqual(client.types[-2:], ["response.created", "response.output_text.delta"])

    def test_successor_not_recorded(self) -> None:
        """An answer that can't be recorded is not shown: an error stands in its place."""
        client = self.steer()
        self.network.settle()
        self.recorder.fail_with(RecordingError("full"))
        self.peer.answer("Prose", response_id="resp_2")
        self.network.settle()
        self.assertEqual((client.events[-1]["type"], client.events[-1]["status"]), ("error", 503))
        self.assertEqual(client.types.count("response.created"), 1)
        self.recorder.fail_with(None)
        client.create("again")
        self.network.settle()
        self.peer.answer(response_id="resp_3")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")

    def test_unasked(self) -> None:
        """An answer out of nowhere is recorded too, with the model that it names."""
        client = self.connect()
        self.peer.answer(response_id="resp_7")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")
        self.assertEqual((self.exchange.begun.model, self.exchange.response_id), ("gpt-5.5-x", "resp_7"))

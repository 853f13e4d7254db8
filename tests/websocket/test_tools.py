"""Injected tools on WebSockets: turns send new items only, and the conversation stays whole all the same."""

import json
from typing import Any

from ..chain.toolbox import RESULT, ScriptedToolbox
from .gateway import SocketTestCase
from .peers import message_item

HIDDEN = {
    "type": "function_call",
    "id": "fc_h",
    "call_id": "call_h",
    "name": "bmcp_sky_tides",
    "arguments": '{"at":"x"}',
}
OWN = {"type": "function_call", "id": "fc_o", "call_id": "call_o", "name": "shell", "arguments": "{}"}
OWN_TOOL = {"type": "function", "name": "shell", "parameters": {"type": "object"}}


def words(text: str, item_id: str = "msg_1") -> dict[str, Any]:
    """A message of the model."""
    return {"type": "message", "id": item_id, "role": "assistant", "content": [{"type": "output_text", "text": text}]}


class ToolsTests(SocketTestCase):
    """A gateway with two tools."""

    def setUp(self) -> None:
        super().setUp()
        self.toolbox = ScriptedToolbox("now", "tides")
        self.start(toolbox=self.toolbox)
        self.script: list[Any] = []
        self.provider.on_message = self.answer

    def answer(self, peer: Any, event: dict[str, Any]) -> None:
        """Answer with the next items of the script."""
        items, self.script = self.script[0], self.script[1:]
        lane = event.get("stream_id")
        response_id = peer.begin(f"resp_{peer.answered + 1}", lane=lane)
        peer.end("", response_id, lane=lane, items=items)

    def names(self, event: dict[str, Any]) -> list[str]:
        return [tool["name"] for tool in event.get("tools", [])]

    def test_hidden_round(self) -> None:
        """The call is run and hidden; the next request to the provider goes on from its own response, with the result."""
        self.script = [[HIDDEN], [words("High water.")]]
        client = self.connect()
        client.create("When?", tools=[OWN_TOOL], previous_response_id="resp_0", stream_id="a")
        self.network.settle()
        first, second = self.peer.events
        self.assertEqual(self.names(first), ["shell", "bmcp_sky_now", "bmcp_sky_tides"])
        self.assertEqual((first["previous_response_id"], first["input"]), ("resp_0", [message_item("When?")]))
        self.assertEqual(second["previous_response_id"], "resp_1")
        self.assertEqual(second["input"], [{"type": "function_call_output", "call_id": "call_h", "output": RESULT}])
        self.assertEqual(
            (second["type"], second["stream_id"], self.names(second)), ("response.create", "a", self.names(first))
        )
        self.assertEqual(client.types, ["response.created", "response.output_item.done", "response.completed"])
        last = client.events[-1]["response"]
        self.assertEqual((last["id"], [item["id"] for item in last["output"]]), ("resp_1", ["msg_1"]))
        self.assertEqual(last["usage"]["output_tokens"], 60)
        self.assertNotIn(b"bmcp_sky", b"".join(client.messages))
        exchange = self.exchange
        self.assertEqual((len(exchange.usages), exchange.begun.upstream_requests), (2, 1))
        self.assertEqual(exchange.ended.upstream_requests, 2)
        self.assertEqual(
            [(row.tool, row.injected, row.server_url is None) for row in exchange.tools], [("tides", True, False)]
        )

    def test_the_chain_goes_on(self) -> None:
        """The client's next turn names the response that it knows; the provider gets the id of the last one, and the same tools."""
        self.script = [[HIDDEN], [words("High water.")], [words("You are welcome.", "msg_2")]]
        client = self.connect()
        client.create("When?", tools=[OWN_TOOL])
        self.network.settle()
        self.toolbox.offers = ["other"]
        client.create("Thanks", tools=[OWN_TOOL], previous_response_id=client.events[-1]["response"]["id"])
        self.network.settle()
        last = self.peer.events[-1]
        self.assertEqual((last["previous_response_id"], last["input"]), ("resp_2", [message_item("Thanks")]))
        self.assertEqual(self.names(last), ["shell", "bmcp_sky_now", "bmcp_sky_tides"])
        self.assertEqual(client.types[-1], "response.completed")
        self.assertEqual(self.exchanges[1].begun.metadata["previous_response_id"], "resp_1")

    def test_mixed_calls(self) -> None:
        """The gateway's call is run, and its result goes along with the client's own in the next turn."""
        self.script = [[HIDDEN, OWN], [words("Done.")]]
        client = self.connect()
        client.create("Both", tools=[OWN_TOOL])
        self.network.settle()
        self.assertEqual([item["id"] for item in client.events[-1]["response"]["output"]], ["fc_o"])
        result = {"type": "function_call_output", "call_id": "call_o", "output": "ok"}
        client.create(input=[result], tools=[OWN_TOOL], previous_response_id="resp_1")
        self.network.settle()
        hidden = {"type": "function_call_output", "call_id": "call_h", "output": RESULT}
        self.assertEqual(self.peer.events[-1]["input"], [hidden, result])

    def test_full_history_after_turns(self) -> None:
        """A client that reconnects, and sends all of its history, has the hidden rounds back in their places."""
        self.script = [[], [HIDDEN], [words("High water.", "")], [words("Bye.")], [words("Again.")]]
        client = self.connect()
        rules, asked = message_item("Obey the rules."), message_item("When?")
        client.create(input=[rules], tools=[OWN_TOOL], generate=False)
        self.network.settle()
        client.create(input=[asked], tools=[OWN_TOOL], previous_response_id=client.events[-1]["response"]["id"])
        self.network.settle()
        client.create("Thanks", tools=[OWN_TOOL], previous_response_id=client.events[-1]["response"]["id"])
        self.network.settle()
        client.cut()
        self.network.settle()
        client = self.connect()
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "High water."}]}
        client.create(input=[rules, asked, said, message_item("Thanks")], tools=[OWN_TOOL])
        self.network.settle()
        given = self.peer.events[-1]["input"]
        self.assertEqual([item.get("call_id") for item in given], [None, None, "call_h", "call_h", None, None])
        self.assertEqual(given[3]["output"], RESULT)

    def test_keep_alives(self) -> None:
        """While a tool runs, a message every ten seconds keeps the client's idle timer quiet, with the lane's name."""
        self.toolbox.slow = True
        self.script = [[HIDDEN], [words("High water.")]]
        client = self.connect()
        client.create("When?", stream_id="a")
        self.network.wait(25)
        self.assertEqual(client.types, ["response.created", "keepalive", "keepalive"])
        numbers = [event["sequence_number"] for event in client.events]
        self.assertEqual((numbers, client.events[-1]["stream_id"]), ([0, 1, 2], "a"))
        self.toolbox.finish()
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")
        numbers = [event["sequence_number"] for event in client.events]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_other_lanes_go_on_while_a_tool_runs(self) -> None:
        """A tool that runs for one lane stops no other one."""
        self.toolbox.slow = True
        self.script = [[HIDDEN], [words("Quick.")], [words("High water.")]]
        client = self.connect()
        client.create("When?", stream_id="a")
        self.network.settle()
        client.create("Hi", stream_id="b")
        self.network.settle()
        self.assertEqual([e["stream_id"] for e in client.events if e["type"] == "response.completed"], ["b"])
        self.toolbox.finish()
        self.network.settle()
        self.assertEqual([e["stream_id"] for e in client.events if e["type"] == "response.completed"], ["b", "a"])

    def test_error_in_a_later_round(self) -> None:
        """A provider's error in a later round reaches the client with its own words and status."""
        self.script = [[HIDDEN]]
        client = self.connect()
        client.create("When?", stream_id="a")
        error = {"type": "rate_limit_error", "message": "Slow down.", "code": "rate_limit_exceeded"}
        original = self.answer

        def refuse(peer: Any, event: dict[str, Any]) -> None:
            if self.script:
                original(peer, event)
            else:
                peer.send({"type": "error", "status": 429, "error": error, "stream_id": "a"})

        self.provider.on_message = refuse
        self.network.settle()
        last = client.events[-1]
        self.assertEqual(
            (last["type"], last["status"], last["error"]["message"], last["stream_id"]),
            ("error", 429, "Slow down.", "a"),
        )
        self.assertEqual(self.exchange.ended.error, "rate_limit_error (HTTP 429)")

    def test_client_leaves_while_a_tool_runs(self) -> None:
        """The tool is cancelled, and the row says that the client left."""
        self.toolbox.slow = True
        self.script = [[HIDDEN]]
        client = self.connect()
        client.create("When?")
        self.network.settle()
        client.cut()
        self.network.settle()
        self.assertEqual((self.toolbox.runs[0].cancelled, self.exchange.end[0]), ([True], "cancelled"))

    def test_refused_tools(self) -> None:
        """A model without tools refuses them: the request is made without, once."""
        refused = {
            "type": "error",
            "status": 400,
            "error": {"message": "Unsupported parameter: 'tools' is not supported with this model"},
        }

        def answer(peer: Any, event: dict[str, Any]) -> None:
            peer.send(refused) if event.get("tools") else peer.answer()

        self.provider.on_message = answer
        client = self.connect()
        client.create("When?")
        self.network.settle()
        self.assertEqual([self.names(event) for event in self.peer.events], [["bmcp_sky_now", "bmcp_sky_tides"], []])
        self.assertEqual((client.types[-1], self.exchange.end), ("response.completed", ("completed", 200)))

    def test_steered_answer_calls_a_tool(self) -> None:
        """An answer that nobody asked for may call the gateway's tools too."""
        self.provider.on_message = None
        client = self.connect()
        client.create("Poem", tools=[OWN_TOOL])
        self.network.settle()
        self.peer.begin("resp_1")
        client.send({"type": "response.steer", "input": [message_item("Tides, please")]})
        self.network.settle()
        self.peer.end("x", "resp_1", kind="response.incomplete", incomplete_details={"reason": "steered"})
        self.peer.begin("resp_2")
        self.peer.end("", "resp_2", items=[HIDDEN])
        self.network.settle()
        asked = self.peer.events[-1]
        self.assertEqual((asked["type"], asked["previous_response_id"]), ("response.create", "resp_2"))
        self.assertEqual(asked["input"][0]["output"], RESULT)
        self.assertEqual(self.names(asked), ["shell", "bmcp_sky_now", "bmcp_sky_tides"])
        self.peer.answer("High water.", response_id="resp_3")
        self.network.settle()
        self.assertEqual(client.types[-1], "response.completed")
        self.assertNotIn(b"bmcp_sky", b"".join(client.messages))
        self.assertEqual([row.prompt for row in self.exchanges[1].prompts], ["Tides, please"])

    def test_bytes_of_other_members(self) -> None:
        """Only the members that tools need change: every other byte of a message stays."""
        self.script = [[words("Hi.")]]
        client = self.connect()
        message = b'{ "type":"response.create","model":"gpt-5.5", "x":1.0e2,"y":"\\u00e9", "input":"Hi" }'
        client.send(message)
        self.network.settle()
        sent = self.peer.messages[0]
        self.assertTrue(sent.startswith(message[:-2]), sent)
        self.assertEqual([*json.loads(sent)], ["type", "model", "x", "y", "input", "tools"])

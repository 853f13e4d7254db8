"""Injected tools, seen from both sides: what the client gets, what the provider gets, and what is recorded."""

import re
from typing import Any

import orjson
from attrs import evolve
from twisted.internet.defer import fail

from aibridge.testing import Ending, RawReply, Reply, ToolCall, Usage

from .apis import CHAT, MESSAGES, RESPONSES, Api
from .gateway import ChainTestCase
from .toolbox import RESULT, URL, ScriptedToolbox

HIDDEN_ID = "call_of_the_gateways"
CALL = ToolCall("bmcp_sky_tides", {"at": "hidden-argument"}, id=HIDDEN_ID)
OWN_CALL = ToolCall("look", {"at": "it"}, id="call_of_the_clients")
CALLS = Reply(thinking="I look.", text="One moment. ", tool_calls=[CALL], usage=Usage(input=10, output=5))
WORDS = Reply(thinking="I know.", text="High water.", usage=Usage(input=20, output=7))
OWN = Reply(tool_calls=[OWN_CALL], usage=Usage(input=10, output=5))
KEEP_ALIVE = {"messages": b'event: ping\ndata: {"type": "ping"}\n\n', "chat": b": keep-alive\n"}


class ToolsTestCase(ChainTestCase):
    """A gateway with two tools, before a provider whose frames come without a pause."""

    def setUp(self) -> None:
        super().setUp()
        self.toolbox = ScriptedToolbox("now", "tides")
        self.clients: list[Any] = []
        self.start(toolbox=self.toolbox)

    def connect(self) -> Any:
        self.clients.append(super().connect())
        return self.clients[-1]

    def sent(self) -> list[dict[str, Any]]:
        """The bodies of the requests to the provider."""
        return [orjson.loads(request.body) for request in self.provider.requests]


class RoundsContract:
    """The behaviour in every API."""

    api: Api

    def test_no_trace(self: Any) -> None:
        """Neither the call nor its id, arguments or result reach the client, streamed or not."""
        for stream in (True, False):
            self.provider.say(CALLS, WORDS)
            answer = self.answer(self.api, stream=stream)
            self.assertEqual((answer.status, answer.whole), (200, True))
            for said in (b"One moment.", b"High"):
                self.assertIn(said.split()[0], bytes(answer.body))
            for hidden in (HIDDEN_ID, "hidden-argument", RESULT):
                self.assertNotIn(hidden.encode(), bytes(answer.body))
            self.assertEqual(answer.body.count(self.api.last), 1 if stream else 0)
            self.assertIn(RESULT.encode(), self.provider.requests[-1].body)

    def test_mixed(self: Any) -> None:
        """Of calls of both kinds the client gets its own; the gateway's is run all the same."""
        for stream in (True, False):
            self.provider.say(evolve(CALLS, tool_calls=[CALL, OWN_CALL]))
            answer = self.answer(self.api, stream=stream)
            self.assertIn(OWN_CALL.id.encode(), bytes(answer.body))
            self.assertNotIn(HIDDEN_ID.encode(), bytes(answer.body))
        self.assertEqual(len(self.toolbox.runs), 2)

    def test_exact(self: Any) -> None:
        """If no tool is called, the client gets the provider's bytes, and the provider the client's except for ``tools``."""
        for stream in (True, False):
            for members in ({}, {"tools": self.api.tools(["look"])}):
                self.provider.say(OWN)
                body = self.api.body("ping", stream=stream, **members)
                client = self.connect()
                client.send("POST", self.api.path, body)
                self.network.wait(3)
                received = self.provider.requests[-1].body
                reply = evolve(OWN, id=list(self.provider.sent)[-1])
                self.assertEqual(client.answer.body, self.direct(received, self.api, reply).body)
                self.assertEqual(without_tools(received), without_tools(body))
                offered = [tool.get("name") or tool["function"]["name"] for tool in orjson.loads(received)["tools"]]
                ours, own = ["bmcp_sky_now", "bmcp_sky_tides"], ["look"] if members else []
                self.assertEqual(offered, ours + own if self.api is MESSAGES else own + ours)

    def test_records(self: Any) -> None:
        """Each round has a row of figures; thoughts, injected calls with their server, and the client's calls are recorded."""
        self.provider.say(CALLS, evolve(WORDS, tool_calls=[OWN_CALL]))
        self.answer(self.api, stream=True)
        exchange = self.exchange
        self.assertEqual((exchange.end, exchange.ended.upstream_requests), (("completed", 200), 2))
        self.assertEqual([(row.input_tokens, row.output_tokens) for row in exchange.usages], [(10, 5), (20, 7)])
        self.assertEqual([row.provider_response_id for row in exchange.usages], list(self.provider.sent))
        self.assertEqual([row.prompt for row in exchange.prompts], ["ping"])
        thoughts = [] if self.api is CHAT else ["I look.", "I know."]
        self.assertEqual([row.content for row in exchange.thoughts], thoughts)
        injected, own = exchange.tools if exchange.tools[0].injected else exchange.tools[::-1]
        self.assertEqual((injected.injected, injected.tool, injected.server_url), (True, "tides", URL))
        self.assertEqual(
            (injected.input, injected.output), ({"at": "hidden-argument"}, [{"type": "text", "text": RESULT}])
        )
        self.assertEqual((injected.invocation_error, injected.duration_ms), (None, 12.0))
        self.assertEqual((own.injected, own.tool, own.server_url), (False, "look", None))

    def test_failed_tool(self: Any) -> None:
        """A failed call's error goes to the model and into the records, and the conversation goes on."""
        self.toolbox.error = "the sky is down"
        self.provider.say(CALLS, WORDS)
        answer = self.answer(self.api, stream=True)
        self.assertTrue(answer.whole)
        self.assertIn(b"the sky is down", self.provider.requests[-1].body)
        self.assertEqual([row.invocation_error for row in self.exchange.tools], ["the sky is down"])
        self.assertEqual(self.exchange.end, ("completed", 200))

    def test_failing_toolbox(self: Any) -> None:
        """A host's toolbox that fails is a failed call, too: the model is told, and the log has the reason."""
        for failing in (lambda call: 1 / 0, lambda call: fail(ZeroDivisionError())):
            self.patch(self.toolbox, "call", failing)
            self.provider.say(CALLS, WORDS)
            answer = self.answer(self.api, stream=True)
            self.assertTrue(answer.whole)
            self.assertIn(b"the gateway failed to call bmcp_sky_", self.provider.requests[-1].body)
            self.assertEqual(self.exchanges[-1].end, ("completed", 200))
            self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_metrics(self: Any) -> None:
        """Calls are counted by server and tool."""
        self.provider.say(evolve(CALLS, tool_calls=[CALL, evolve(CALL, id="another")]), WORDS)
        self.answer(self.api)
        [family] = [f for f in self.bridge.metrics.registry.collect() if f.name == "injected_tool_invocations"]
        [sample] = [sample for sample in family.samples if sample.name.endswith("_total")]
        self.assertEqual((sample.labels["server"], sample.labels["name"], sample.value), ("sky", "tides", 2))

    def test_keep_alive(self: Any) -> None:
        """While a slow tool runs, the client gets a keep-alive every ten seconds; then the response goes on."""
        self.toolbox.slow = True
        self.provider.say(CALLS, WORDS)
        client = self.ask(self.api, stream=True)
        self.network.wait(2)
        before = bytes(client.answer.body)
        self.network.wait(35)
        self.assertEqual(bytes(client.answer.body)[len(before) :], self.keep_alives(before, 3))
        self.toolbox.finish()
        self.network.wait(2)
        self.assertTrue(client.answer.whole)
        self.assertIn(self.api.last, bytes(client.answer.body))

    def test_figures_while_a_tool_runs(self: Any) -> None:
        """While a slow tool runs, prompt and figures of the answer are recorded already, so that no crash loses them."""
        for stream in (True, False):
            self.toolbox.slow = True
            self.provider.say(CALLS, WORDS)
            client = self.ask(self.api, stream=stream)
            self.network.wait(3)
            exchange = self.exchanges[-1]
            [row] = exchange.usages
            self.assertEqual((row.input_tokens, row.output_tokens, len(exchange.prompts)), (10, 5, 1))
            self.assertIsNone(exchange.ended)
            self.toolbox.finish()
            self.toolbox.runs.clear()
            self.network.wait(3)
            self.assertTrue(client.answer.whole)
            exchange = self.exchanges[-1]
            self.assertEqual([usage.id == row.id for usage in exchange.usages], [True, False])
            self.assertEqual((exchange.end, len(exchange.prompts), len(exchange.tools)), (("completed", 200), 1, 1))

    def test_left_while_a_tool_runs(self: Any) -> None:
        """If the client leaves, the call is cancelled, no further request is made, and the rows say that the client left."""
        for stream in (True, False):
            self.toolbox.slow = True
            self.provider.say(evolve(CALLS, tool_calls=[CALL, evolve(CALL, id="another")]))
            client = self.ask(self.api, stream=stream)
            self.network.wait(2)
            asked = len(self.provider.requests)
            client.leave()
            self.network.settle()
            self.assertEqual([run.cancelled for run in self.toolbox.runs], [[True], [True]])
            self.assertEqual((self.exchanges[-1].ended.status, self.bridge.in_flight), ("cancelled", 0))
            self.assertEqual([row.invocation_error for row in self.exchanges[-1].tools], ["cancelled", "cancelled"])
            self.assertEqual(len(self.provider.requests), asked)
            self.toolbox.runs.clear()

    def test_left_before_the_call(self: Any) -> None:
        """No tool runs for a client that has left before, though its response is read to the end for the figures."""
        self.start({"on_disconnect": "drain"}, toolbox=self.toolbox)
        self.provider.say(evolve(CALLS, text="word " * 50))
        client = self.ask(self.api, stream=True)
        self.network.wait(0.2)
        client.leave()
        self.network.wait(5)
        self.assertEqual((self.exchange.ended.status, self.toolbox.runs), ("cancelled", []))
        self.assertTrue(self.exchange.figures["metadata"]["complete"])

    def test_stopped_while_a_tool_runs(self: Any) -> None:
        """A gateway that stops does not wait for tools: the client gets an error, and the call is recorded."""
        self.toolbox.slow = True
        self.provider.say(CALLS)
        client = self.ask(self.api, stream=True)
        self.network.wait(2)
        stopped = self.bridge.stopService()
        self.network.wait(3)
        self.successResultOf(stopped)
        self.assertEqual([run.cancelled for run in self.toolbox.runs], [[True]])
        self.assertTrue(self.api.error_event(bytes(client.answer.body)))
        self.assertEqual((self.exchange.ended.status, self.exchange.tools[0].invocation_error), ("failed", "cancelled"))

    def test_too_many_rounds(self: Any) -> None:
        """A model that calls tools without end is stopped with an error of the API; no tool runs in vain."""
        self.start(toolbox=self.toolbox, max_rounds=3)
        self.provider.say(*[evolve(CALLS, tool_calls=[evolve(CALL, id=f"call_{n}")]) for n in range(6)])
        client = self.ask(self.api, stream=True)
        self.network.wait(3)
        self.assertEqual((client.answer.whole, client.closed), (False, True))
        self.assertIn("3 rounds", self.api.error_event(bytes(client.answer.body))["message"])
        answer = self.answer(self.api)
        self.assertEqual(answer.whole, True)
        self.assertTrue(self.api.error_of(answer.json))
        self.assertEqual((len(self.provider.requests), len(self.toolbox.runs)), (6, 4))
        self.assertEqual([exchange.ended.status for exchange in self.exchanges], ["failed", "failed"])

    def test_error_in_a_later_round(self: Any) -> None:
        """A later round's failure ends the stream with an error event, or passes on as it is if nothing was sent yet."""
        body = b'{"detail": "not in the form of any API"}'
        error = RawReply(status=529, headers={"content-type": "application/json"}, chunks=[body])
        self.provider.say(CALLS, error)
        client = self.ask(self.api, stream=True)
        self.network.wait(3)
        self.assertEqual((client.answer.whole, client.closed), (False, True))
        self.assertTrue(self.api.error_event(bytes(client.answer.body)))
        self.provider.say(CALLS, error)
        answer = self.answer(self.api)
        self.assertEqual((answer.status, bytes(answer.body)), (529, body))
        self.assertEqual([exchange.ended.status for exchange in self.exchanges], ["failed", "failed"])
        self.assertEqual([len(exchange.usages) for exchange in self.exchanges], [1, 1])

    def test_body_in_a_later_round(self: Any) -> None:
        """A JSON body can't continue a stream; its connection is closed, not kept unread."""
        whole = RawReply(headers={"content-type": "application/json"}, chunks=[b'{"id": "another"}'])
        self.provider.say(CALLS, whole)
        client = self.ask(self.api, stream=True)
        self.network.wait(3)
        self.assertEqual((client.answer.whole, client.closed), (False, True))
        self.assertTrue(self.api.error_event(bytes(client.answer.body)))
        self.assertNotIn(b"another", client.answer.body)
        self.assertEqual(self.exchanges[-1].ended.status, "failed")

    def test_cut_in_a_later_round(self: Any) -> None:
        """The client gets an error too if the provider breaks off or can't be reached any more."""
        for second in (evolve(WORDS, stop_after=2, ending=Ending.CUT), RawReply(status=None, ending=Ending.CUT)):
            self.provider.say(CALLS, second)
            client = self.ask(self.api, stream=True)
            self.network.wait(3)
            self.assertEqual((client.answer.whole, client.closed), (False, True))
            self.assertTrue(self.api.error_event(bytes(client.answer.body)))
            self.assertEqual(self.exchanges[-1].ended.status, "failed")

    def test_not_offered(self: Any) -> None:
        """No tools are offered if the client forbids them, for housekeeping, or if only a structured output is wanted."""
        for members in (self.forbidding, {"model": "claude-haiku-9"}, self.structured):
            self.provider.say(WORDS)
            body = self.api.body("ping", **members)
            client = self.connect()
            client.send("POST", self.api.path, body)
            self.network.wait(2)
            self.assertEqual(self.provider.requests[-1].body, body)

    def test_chosen_by_the_client(self: Any) -> None:
        """A request for a structured output with tools of the client is offered the gateway's tools too."""
        self.provider.say(WORDS)
        self.answer(self.api, **self.structured, tools=self.api.tools(["look"]))
        self.assertEqual(len(self.sent()[-1]["tools"]), 3)

    def test_keep_alive_before_the_last_event(self: Any) -> None:
        """So it is if the client's own tools were called too, and the last event waits for the gateway's."""
        self.toolbox.slow = True
        self.provider.say(evolve(CALLS, tool_calls=[CALL, OWN_CALL]))
        client = self.ask(self.api, stream=True)
        self.network.wait(2)
        before = bytes(client.answer.body)
        self.network.wait(15)
        self.assertEqual(bytes(client.answer.body)[len(before) :], self.keep_alives(before, 1))
        self.toolbox.finish()
        self.network.wait(2)
        self.assertTrue(client.answer.whole)
        self.assertIn(self.api.last, bytes(client.answer.body))

    def tearDown(self: Any) -> None:
        """In every stream of the Responses API, numbers follow each other without a gap."""
        for answer in [answer for client in self.clients for answer in client.answers if self.api is RESPONSES]:
            numbers = [int(each) for each in re.findall(rb'"sequence_number": ?(\d+)', bytes(answer.body))]
            self.assertEqual(numbers, list(range(len(numbers))))

    def keep_alives(self: Any, before: bytes, count: int) -> bytes:
        """The keep-alives after the bytes that came before."""
        if self.api is not RESPONSES:
            return KEEP_ALIVE[self.api.name] * count
        last = int(re.findall(rb'"sequence_number": ?(\d+)', before)[-1])
        form = b'event: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n'
        return b"".join(form % (last + 1 + number) for number in range(count))


class MessagesTools(RoundsContract, ToolsTestCase):
    """Messages."""

    api = MESSAGES
    forbidding = {"tool_choice": {"type": "none"}}
    structured = {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}


class ChatTools(RoundsContract, ToolsTestCase):
    """Chat completions."""

    api = CHAT
    forbidding = {"tool_choice": "none"}
    structured = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    }


class ResponsesTools(RoundsContract, ToolsTestCase):
    """Responses."""

    api = RESPONSES
    forbidding = {"tool_choice": "none"}
    structured = {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}}


def without_tools(body: bytes) -> bytes:
    """Return a request's text without its tools."""
    head, separator, rest = body.partition(b'"tools":')
    if not separator:
        return body.rstrip().removesuffix(b"}").rstrip()
    decoder_end = _end_of_array(rest)
    return (head + rest[decoder_end:]).rstrip().removesuffix(b"}").rstrip().rstrip(b",").rstrip()


def _end_of_array(text: bytes) -> int:
    depth = 0
    for position, byte in enumerate(text):
        depth += (byte in b"[{") - (byte in b"]}")
        if depth == 0 and byte in b"]":
            return position + 1
    raise AssertionError(text)

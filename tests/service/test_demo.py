"""The provider of ``--demo``, as its users meet it."""

import json

import anthropic
import openai
from hypothesis import given
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from aibridge.service.demo import DemoProvider, answer, choose_call, example
from aibridge.testing import FakeProvider, Tool

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
}
WEATHER_EXAMPLE = {"city": "demo", "unit": "C"}


class AnswerTests(SynchronousTestCase):
    """What the demo's model says to a request, in each wire format."""

    def ask(self, path, **document):
        response = StubTreq(FakeProvider(answer)).post(f"http://p/v1/{path}", json={"model": "m", **document})
        return self.successResultOf(self.successResultOf(response).json())

    def test_messages(self):
        """A plain question gets a thought and a text."""
        blocks = self.ask("messages", messages=[{"role": "user", "content": "ping"}])["content"]
        self.assertEqual([block["type"] for block in blocks], ["thinking", "text"])
        self.assertIn("ping", blocks[1]["text"])

    def test_messages_tool_round_trip(self):
        """Where tools are offered it calls one; to the result it answers with a text that tells it."""
        tools = [{"name": "weather", "input_schema": WEATHER}]
        asked = {"role": "user", "content": [{"type": "text", "text": "how is it?"}]}
        call = self.ask("messages", messages=[asked], tools=tools)["content"][-1]
        self.assertEqual((call["name"], call["input"]), ("weather", WEATHER_EXAMPLE))
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "sunny"}]}
        turns = [asked, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        reminder = {"role": "system", "content": "be brief"}
        said = self.ask("messages", messages=[*turns, reminder], tools=tools)["content"][-1]
        self.assertIn("sunny", said["text"])

    def test_messages_structured_output(self):
        """A request for structured output without tools gets JSON that fits the schema."""
        wanted = {"format": {"type": "json_schema", "schema": WEATHER}}
        said = self.ask("messages", messages=[{"role": "user", "content": "x"}], tools=[], output_config=wanted)
        self.assertEqual(json.loads(said["content"][0]["text"]), WEATHER_EXAMPLE)

    def test_chat_tool_round_trip(self):
        """The same in chat completions."""
        tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
        asked = {"role": "user", "content": "how is it?"}
        message = self.ask("chat/completions", messages=[asked], tools=tools)["choices"][0]["message"]
        (call,) = message["tool_calls"]
        self.assertEqual(json.loads(call["function"]["arguments"]), WEATHER_EXAMPLE)
        turns = [asked, message, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
        said = self.ask("chat/completions", messages=turns, tools=tools)["choices"][0]["message"]
        self.assertIn("sunny", said["content"])

    def test_chat_structured_output(self):
        """JSON that fits, in chat completions."""
        wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}
        said = self.ask("chat/completions", messages=[], response_format=wanted)
        self.assertEqual(json.loads(said["choices"][0]["message"]["content"]), WEATHER_EXAMPLE)

    def test_responses_tool_round_trip(self):
        """The same in responses, with reasoning and a comment before the call."""
        tools = [{"type": "function", "name": "weather", "parameters": WEATHER}]
        asked = {"role": "user", "content": [{"type": "input_text", "text": "how is it?"}]}
        output = self.ask("responses", input=[asked], tools=tools)["output"]
        self.assertEqual([item["type"] for item in output], ["reasoning", "message", "function_call"])
        result = {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "sunny"}
        said = self.ask("responses", input=[asked, *output, result], tools=tools)["output"][-1]
        self.assertIn("sunny", said["content"][0]["text"])

    def test_responses_structured_output(self):
        """JSON that fits, in responses."""
        wanted = {"format": {"type": "json_schema", "name": "w", "schema": WEATHER}}
        said = self.ask("responses", input="x", text=wanted)
        self.assertEqual(json.loads(said["output"][-1]["content"][0]["text"]), WEATHER_EXAMPLE)

    def test_tools_that_are_not_called(self):
        """The provider's own tools, deferred ones, namespaces and forbidden ones are left alone."""
        function = {"type": "function", "name": "f", "parameters": {}}
        for extra in (
            {"tools": [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": [function]}]},
            {"tools": [function | {"defer_loading": True}]},
            {"tools": [function], "tool_choice": "none"},
        ):
            output = self.ask("responses", input="x", **extra)["output"]
            self.assertEqual([item["type"] for item in output], ["reasoning", "message"])
        tools = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "defer_loading": True}]
        said = self.ask("messages", messages=[{"role": "user", "content": "x"}], tools=tools)
        self.assertEqual(said["stop_reason"], "end_turn")

    def test_the_tool_that_must_be_called(self):
        """A tool that the request insists on is the one that is called."""
        functions = [{"type": "function", "name": name, "parameters": {}} for name in ("f", "g")]
        output = self.ask("responses", input="x", tools=functions, tool_choice={"type": "function", "name": "g"})
        self.assertEqual(output["output"][-1]["name"], "g")

    def test_figures_follow_from_lengths(self):
        """The same request costs the same, a longer one more, most of a long one comes from the cache."""
        short, again, long = (
            self.ask("messages", messages=[{"role": "user", "content": "x" * n}])["usage"] for n in (9, 9, 9000)
        )
        self.assertEqual(short, again)
        self.assertEqual((short["cache_read_input_tokens"], long["cache_read_input_tokens"]), (0, 2048))

    def test_known_clients_get_a_harmless_call(self):
        """Of the tools of a known client, one that does nothing but say hello."""
        for names, chosen in [(["Agent", "Bash", "Write"], "Bash"), (["write_stdin", "exec_command"], "exec_command")]:
            call = choose_call([Tool(name) for name in names])
            self.assertEqual(call.name, chosen)
            self.assertIn("hello from aibridge", str(call.arguments))


class ExampleTests(SynchronousTestCase):
    """Values made up for a JSON Schema."""

    def test_kinds(self):
        """What each kind of schema becomes."""
        for schema, value in [
            ({"type": "string"}, "demo"),
            ({"type": "number"}, 1),
            ({"type": "boolean"}, True),
            ({"type": ["null", "string"]}, None),
            ({"type": "array", "items": {"type": "string"}}, []),
            ({"type": "object"}, {}),
            ({"enum": ["a", "b"], "type": "string"}, "a"),
            ({"const": 7}, 7),
            ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
            ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"type": "boolean"}}}, True),
            ({"properties": {"a": {}, "b": {}}, "required": ["a"]}, {"a": "demo"}),
            ({}, "demo"),
        ]:
            self.assertEqual(example(schema), value, schema)

    @given(st.dictionaries(st.text(), st.sampled_from(["string", "integer", "boolean", "array", "object"])))
    def test_all_that_is_required(self, kinds):
        """An object has its required members and no others."""
        schema = {"properties": {name: {"type": kind} for name, kind in kinds.items()}, "required": list(kinds)}
        self.assertEqual(set(example(schema)), set(kinds))


class DemoProviderTests(TestCase):
    """The listening demo."""

    @inlineCallbacks
    def test_official_sdks(self):
        """Its URL serves both APIs where clients look for them, and it stops with connections open."""
        demo = DemoProvider(reactor)
        url = yield demo.start()
        self.addCleanup(demo.stop)
        claude = anthropic.Anthropic(base_url=f"{url}/anthropic", api_key="k", max_retries=0)
        gpt = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="k", max_retries=0)
        self.addCleanup(claude.close)
        self.addCleanup(gpt.close)
        asked = [{"role": "user", "content": "ping"}]
        message = yield deferToThread(claude.messages.create, model="m", max_tokens=9, messages=asked)
        response = yield deferToThread(gpt.responses.create, model="m", input="ping")
        self.assertIn("ping", message.content[-1].text)
        self.assertIn("ping", response.output_text)

    def test_pace(self):
        """Frames of a stream are 20 ms apart."""
        clock = MemoryReactorClock()
        self.successResultOf(DemoProvider(clock).start())
        channel = clock.tcpServers[0][1].buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        self.addCleanup(channel.connectionLost, Failure(ConnectionDone()))
        body = b'{"model":"m","stream":true}'
        path = b"/anthropic/v1/messages"
        channel.dataReceived(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body))
        counted = [transport.value().count(b"event: ")]
        for _ in range(3):
            clock.advance(0.02)
            counted.append(transport.value().count(b"event: "))
        self.assertEqual(counted, [1, 2, 3, 4])

"""Providers that refuse what the gateway adds to requests: it learns from that, and clients don't notice."""

from typing import Any

import orjson
from attrs import evolve

from aibridge.testing import Ending, FakeProvider, Question, RawReply, Reply, ToolCall, Usage, quiet_site

from .apis import APIS, CHAT, MESSAGES, Api
from .gateway import PROVIDER_PORT, ChainTestCase
from .toolbox import ScriptedToolbox

JSON = {"content-type": "application/json"}
DAY = 24 * 3600.0
WORDS = Reply(text="Fine.", usage=Usage(input=3, output=2))
CALL = Reply(tool_calls=[ToolCall("bmcp_sky_tides", {}, id="c1")])

NO_TOOLS = [
    (400, {"error": {"message": "registry.ollama.ai/library/gemma:latest does not support tools"}}),
    (400, {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser'}}),
    (404, {"error": {"message": "No endpoints found that support tool use. To learn more", "code": 404}}),
    (400, {"error": {"message": "`tool calling` is not supported with this model", "type": "invalid_request_error"}}),
    (400, {"error": {"message": "Unsupported parameter: 'tools' is not supported with this model."}}),
    (400, {"error": {"message": "Function calling is not enabled for models/gemma-3-27b-it", "code": 400}}),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "'m' does not support tools."}}),
    (400, {"error": {"message": "This model doesn't support tool use in streaming mode."}}),
    (500, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}),
    (422, {"detail": [{"loc": ["body", "tools"], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}]}),
]
OTHERS = [
    (400, {"error": {"message": "tools.7.custom.input_schema: does not support oneOf at the top level"}}),
    (400, {"error": {"message": "prompt is too long"}}),
    (401, {"error": {"message": "this key does not support tools"}}),
    (429, {"error": {"message": "tools are not available now"}}),
    (400, {"error": {"message": "Unsupported parameter: 'parallel_tool_calls' is not supported with this model."}}),
]


def refusal(status: int, body: Any, **more: Any) -> RawReply:
    return RawReply(status=status, headers=JSON, chunks=[orjson.dumps(body)], **more)


class RefusingTestCase(ChainTestCase):
    """A provider that refuses a member of requests."""

    refused = ""

    def setUp(self) -> None:
        super().setUp()
        self.refusal = refusal(*NO_TOOLS[0])
        self.script: Any = lambda question: self.refusal if self.refused in question.document else WORDS
        self.provider = FakeProvider(lambda question: self.script(question), clock=self.network)
        self.network.serve(PROVIDER_PORT, quiet_site(self.provider, self.network))
        self.start(toolbox=ScriptedToolbox("now", "tides"))

    def members(self) -> list[bool]:
        """For each request to the provider, whether it had that member."""
        return [self.refused in orjson.loads(request.body) for request in self.provider.requests]


class ToolsTests(RefusingTestCase):
    """Models without tools."""

    refused = "tools"

    def test_learnt(self) -> None:
        """The request is sent again as the client made it, once; later ones have no tools, for a day."""
        for api in APIS:
            for stream in (True, False):
                self.provider.requests.clear()
                self.start(toolbox=ScriptedToolbox("now"))
                answer = self.answer(api, stream=stream)
                self.assertEqual((answer.status, answer.whole, self.members()), (200, True, [True, False]))
                self.assertEqual(self.exchanges[-1].ended.upstream_requests, 2)
                self.assertEqual(self.exchanges[-1].end, ("completed", 200))
                self.answer(api, stream=stream)
                self.answer(api, model="another")
                self.assertEqual(self.members(), [True, False, False, True, False])
                self.network.advance(DAY)
                self.answer(api)
                self.assertEqual(self.members()[5:], [True, False])

    def test_as_the_client_sent_it(self) -> None:
        """The repeated request has the client's bytes."""
        body = MESSAGES.body("ping")
        client = self.connect()
        client.send("POST", MESSAGES.path, body)
        self.network.wait(2)
        self.assertEqual(self.provider.requests[-1].body, body)

    def test_words(self) -> None:
        """The refusals of the field are understood, and no other error is taken for one."""
        for status, body in NO_TOOLS:
            self.start(toolbox=ScriptedToolbox("now"))
            self.refusal = refusal(status, body)
            self.assertEqual(self.answer(CHAT).status, 200, body)
        for status, body in OTHERS:
            self.start(toolbox=ScriptedToolbox("now"))
            self.provider.requests.clear()
            self.refusal = refusal(status, body)
            answer = self.answer(CHAT)
            self.assertEqual((answer.status, bytes(answer.body)), (status, orjson.dumps(body)))
            self.assertEqual(len(self.provider.requests), 1)

    def test_clients_own_tools(self) -> None:
        """A client that offers tools itself gets the refusal: leaving out the gateway's would change nothing."""
        answer = self.answer(CHAT, tools=CHAT.tools(["look"]))
        self.assertEqual((answer.status, self.members()), (400, [True]))

    def test_other_reasons(self) -> None:
        """If the request is refused without tools too, the client gets that refusal, and nothing is learnt."""
        self.script = lambda question: self.refusal
        for _ in range(2):
            answer = self.answer(CHAT)
            self.assertEqual((answer.status, bytes(answer.body)), (400, orjson.dumps(NO_TOOLS[0][1])))
        self.assertEqual(self.members(), [True, False, True, False])

    def test_within_a_conversation(self) -> None:
        """A request that continues a conversation with the gateway's tools is not repeated."""
        self.provider.say(CALL, evolve(WORDS, id="msg_2"), self.refusal, self.refusal)
        said = self.answer(MESSAGES).json["content"]
        history = [{"role": "user", "content": "ping"}, {"role": "assistant", "content": said}]
        answer = self.answer(MESSAGES, messages=[*history, {"role": "user", "content": "and?"}])
        self.assertEqual((answer.status, len(self.provider.requests)), (400, 3))

    def test_large(self) -> None:
        """An error too large to be read for this reaches the client whole."""
        body = b'{"error": {"message": "' + b"x" * 200_000 + b' does not support tools"}}'
        self.refusal = RawReply(status=400, headers=JSON, chunks=[body[:1000], body[1000:]])
        answer = self.answer(CHAT)
        self.assertEqual((answer.status, bytes(answer.body), self.members()), (400, body, [True]))

    def test_left_while_it_is_read(self) -> None:
        """A client that leaves before the error's body is there ends the request."""
        self.refusal = RawReply(status=400, headers=JSON, chunks=[b"{"], ending=Ending.STALL)
        client = self.ask(CHAT)
        self.network.wait(1)
        client.leave()
        self.network.wait(1)
        self.assertEqual((self.exchange.ended.status, self.bridge.in_flight), ("cancelled", 0))

    def test_slow(self) -> None:
        """An error whose body does not end is relayed like any other: the provider has its usual time."""
        self.refusal = RawReply(status=400, headers=JSON, chunks=[b"{"], ending=Ending.STALL)
        client = self.ask(CHAT)
        self.network.wait(30)
        self.assertEqual((client.answer.status, self.members()), (504, [True]))

    def test_counted(self) -> None:
        """What was learnt is counted, and operators see it."""
        self.answer(CHAT)
        labels = {"provider": "openai", "kind": "tools"}
        registry = self.bridge.metrics.registry
        self.assertEqual(registry.get_sample_value("provider_refusals_learned_total", labels), 1)
        self.assertEqual(self.bridge.refusals(), {"anthropic": [], "openai": [{"model": "model-1", "kind": "tools"}]})
        self.network.advance(DAY)
        self.assertEqual(self.bridge.refusals()["openai"], [])


class DescriptionTests(RefusingTestCase):
    """Models that accept only short descriptions of tools."""

    refused = "tools"

    def test_learnt(self) -> None:
        """They get shortened ones, in a conversation that has begun too, and beside the client's own tools."""
        toolbox = ScriptedToolbox("now")
        toolbox.description = "é" * 3000
        self.start(toolbox=toolbox)
        longest = []

        def script(question: Question) -> Reply | RawReply:
            tools = question.document["tools"]
            lengths = [len((tool.get("function") or tool).get("description", "")) for tool in tools]
            longest.append(max(lengths))
            place = lengths.index(max(lengths))
            words = f"Invalid 'tools[{place}].function.description': string too long. Expected a string with maximum length 1024"
            return refusal(400, {"error": {"message": words}}) if max(lengths) > 1024 else WORDS

        self.script = script
        for members in ({}, {}, {"tools": CHAT.tools(["look"])}):
            self.assertEqual(self.answer(CHAT, **members).status, 200)
        self.network.advance(DAY)
        history = [{"role": "user", "content": "ping"}, {"role": "assistant", "content": "Fine."}]
        self.assertEqual(self.answer(CHAT, messages=[*history, *history[:1]]).status, 200)
        self.assertEqual(longest, [3000, 1024, 1024, 1024, 3000, 1024])


class SchemaTests(RefusingTestCase):
    """Providers that refuse the schema of one tool, for reasons of their own."""

    refused = "tools"

    def test_learnt(self) -> None:
        """The tool is left out for that provider and model, and all others are offered."""
        offers: list[list[str]] = []
        for api in APIS:
            for own in ([], ["look"]):
                offers.clear()
                self.start(toolbox=ScriptedToolbox("ebb", "moon", "tides"))

                def script(question: Question) -> Reply | RawReply:
                    tools = question.document["tools"]
                    names = [(tool.get("function") or tool)["name"] for tool in tools]
                    offers.append(names)
                    for bad in ("bmcp_sky_moon", "bmcp_sky_ebb"):
                        if bad in names:
                            words = f"tools.{names.index(bad)}.custom.input_schema: too odd"
                            if "input_schema" not in tools[0]:
                                words = f"Invalid schema for function '{bad}': too odd"
                            return refusal(400, {"error": {"message": words}})
                    return WORDS

                self.script = script
                for _ in range(2):
                    self.assertEqual(self.answer(api, tools=api.tools(own)).status, 200)
                self.assertEqual([len(names) - len(own) for names in offers], [3, 2, 1, 1])
                self.assertEqual({*offers[-1]}, {*own, "bmcp_sky_tides"})
        self.assertEqual(
            self.bridge.refusals()["openai"][0], {"model": "model-1", "kind": "tool", "tool": "bmcp_sky_moon"}
        )

    def test_clients_own(self) -> None:
        """The refusal of a client's own tool is the client's."""
        for api, words in (
            (MESSAGES, "tools.2.custom.input_schema: odd"),
            (CHAT, "Invalid schema for function 'look'"),
        ):
            self.provider.requests.clear()
            self.refusal = refusal(400, {"error": {"message": words}})
            self.assertEqual(self.answer(api, tools=api.tools(["look"])).status, 400)
            self.assertEqual(len(self.provider.requests), 1)


class UsageTests(RefusingTestCase):
    """Providers that refuse ``stream_options``."""

    refused = "stream_options"

    def ask_stream(self, api: Api = CHAT, **members: Any) -> Any:
        client = self.connect()
        client.send(
            "POST",
            api.path,
            api.body("ping", **{"stream": False} | members).replace(b'"stream": false', b'"stream": true'),
        )
        self.network.wait(3)
        return client.answer

    def test_learnt(self) -> None:
        """A stream for which the client did not ask for figures is asked for without them, and later ones at once."""
        for status in (400, 422):
            for toolbox in (None, ScriptedToolbox("now")):
                self.provider.requests.clear()
                self.start(toolbox=toolbox)
                self.refusal = refusal(status, {"error": {"message": "Unrecognized request argument: stream_options"}})
                for _ in range(2):
                    answer = self.ask_stream()
                    self.assertEqual((answer.status, answer.whole), (200, True))
                self.assertEqual(self.members(), [True, False, False])

    def test_clients_own(self) -> None:
        """If the client sent it, the refusal is the client's."""
        self.refusal = refusal(422, {"detail": "stream_options: Extra inputs are not permitted"})
        answer = self.ask_stream(stream_options={"include_usage": True})
        self.assertEqual((answer.status, self.members()), (422, [True]))

    def test_both(self) -> None:
        """A provider that refuses both is asked three times at first, and then once."""
        words = {"tools": "this model does not support tools", "stream_options": "stream_options is not permitted"}

        def script(question: Question) -> Reply | RawReply:
            named = next((name for name in words if name in question.document), None)
            return WORDS if named is None else refusal(400, {"error": {"message": words[named]}})

        self.script = script
        for _ in range(2):
            self.assertEqual(self.ask_stream().status, 200)
        self.assertEqual(self.members(), [True, True, False, False])

"""Which of the gateway's tools a request is offered, and what becomes of calls of others."""

from typing import Any

import orjson
from attrs import evolve
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from aibridge.interfaces import IToolFilter
from aibridge.testing import Reply, ToolCall, Usage

from .apis import APIS, CHAT, MESSAGES, RESPONSES, Api
from .gateway import ChainTestCase
from .toolbox import ScriptedToolbox

WORDS = Reply(text="High water.", usage=Usage(input=20, output=7))


class ChoiceTestCase(ChainTestCase):
    """A gateway whose requests' tools can be looked at."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def offered(self) -> list[str]:
        """The names of the tools in the latest request to the provider."""
        tools = orjson.loads(self.provider.requests[-1].body).get("tools", [])
        return [tool.get("name") or tool["function"]["name"] for tool in tools]

    def offer_to(self, api: Api, **members: Any) -> list[str]:
        self.provider.say(WORDS)
        self.assertEqual(self.answer(api, **members).status, 200)
        return self.offered()


class LimitTests(ChoiceTestCase):
    """More tools than a provider takes."""

    def warnings(self) -> list[str]:
        return [event["names"] for event in self.events if "max_tools" in (event.get("log_format") or "")]

    def test_openai(self) -> None:
        """OpenAI takes 128, the client's among them; the last by name are left out, and the log names them once."""
        self.start(toolbox=ScriptedToolbox(*[f"t{n:03d}" for n in range(126)]))
        own = [f"own{n}" for n in range(5)]
        for api in (CHAT, RESPONSES, CHAT):
            names = self.offer_to(api, tools=api.tools(own))
            self.assertEqual(names, [*own, *[f"bmcp_sky_t{n:03d}" for n in range(123)]])
        self.assertEqual(self.warnings(), ["bmcp_sky_t123, bmcp_sky_t124, bmcp_sky_t125"])
        self.assertEqual(len(self.offer_to(CHAT)), 126)
        self.assertEqual(len(self.offer_to(MESSAGES, tools=MESSAGES.tools(own))), 131)

    def test_settings(self) -> None:
        """`max_tools` of the provider counts the client's tools, that of the gateway does not."""
        self.start({"max_tools": 4}, toolbox=ScriptedToolbox("a", "b", "c", "d"), max_tools=3)
        for api in APIS:
            self.assertEqual(len(self.offer_to(api)), 3)
            self.assertEqual(len(self.offer_to(api, tools=api.tools(["x", "y"]))), 4)
            self.assertEqual(len(self.offer_to(api, tools=api.tools([*"tuvwxy"]))), 6)

    def test_within_a_conversation(self) -> None:
        """A conversation keeps its tools in their order when the client takes tools away, and loses the last for more."""
        self.start({"max_tools": 4}, toolbox=ScriptedToolbox("a", "b", "c"))
        first = evolve(WORDS, id="msg_1")
        self.provider.say(first)
        said = self.answer(MESSAGES, tools=MESSAGES.tools(["x", "y"])).json["content"]
        self.assertEqual(self.offered(), ["bmcp_sky_a", "bmcp_sky_b", "x", "y"])
        history = [{"role": "user", "content": "ping"}, {"role": "assistant", "content": said}]
        for own, kept in (([], 2), (["x"], 2), (["x", "y", "z"], 1)):
            question = [*history, {"role": "user", "content": "and?"}]
            names = self.offer_to(MESSAGES, messages=question, tools=MESSAGES.tools(own))
            self.assertEqual(names, ["bmcp_sky_a", "bmcp_sky_b"][:kept] + own)


class ChosenTests(ChoiceTestCase):
    """Providers and models that get no tools."""

    def test_provider(self) -> None:
        """`tools = false` at a provider: every request goes on as it came."""
        self.start({"tools": False}, toolbox=ScriptedToolbox("a"))
        for api in APIS:
            body = api.body("ping")
            self.provider.say(WORDS)
            client = self.connect()
            client.send("POST", api.path, body)
            self.network.wait(2)
            self.assertEqual(self.provider.requests[-1].body, body)

    def test_models(self) -> None:
        """A toolbox may keep its tools for some models, or for some providers."""

        @implementer(IToolFilter)
        class Choosy(ScriptedToolbox):
            def serves(self, server: str, provider: str, model: str) -> bool:
                return (server, provider) == ("sky", "openai") and model.startswith("big")

        self.start(toolbox=Choosy("a"))
        self.assertEqual(self.offer_to(CHAT, model="big-1"), ["bmcp_sky_a"])
        self.assertEqual(self.offer_to(CHAT, model="small-1"), [])
        self.assertEqual(self.offer_to(MESSAGES, model="big-1"), [])

    def test_clients_name(self) -> None:
        """Under the name of a client's tool there is no other; its calls are the client's, streamed or not."""
        self.start(toolbox=(toolbox := ScriptedToolbox("now", "tides")))
        call = ToolCall("bmcp_sky_tides", {"city": "x"}, id="call_of_the_clients")
        for api in APIS:
            for stream in (True, False):
                self.provider.say(evolve(WORDS, tool_calls=[call]))
                answer = self.answer(api, stream=stream, tools=api.tools(["bmcp_sky_tides"]))
                self.assertEqual(sorted(self.offered()), ["bmcp_sky_now", "bmcp_sky_tides"])
                self.assertIn(b"call_of_the_clients", bytes(answer.body))
        self.assertEqual(toolbox.runs, [])


class SchemaTests(ChoiceTestCase):
    """Schemas that the APIs don't accept as they are."""

    def test_wrapped(self) -> None:
        """A choice at the top is offered as one argument; the tool and the record get what is in it."""
        choice = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
        toolbox = ScriptedToolbox("tides", "now")
        toolbox.schemas = {"tides": choice, "now": {"type": "string"}}
        self.start(toolbox=toolbox)
        call = ToolCall("bmcp_sky_tides", {"arguments": {"a": 1}}, id="call_hidden")
        for api in APIS:
            for stream in (True, False):
                self.provider.say(Reply(tool_calls=[call], usage=Usage(input=1, output=1)), WORDS)
                self.assertTrue(self.answer(api, stream=stream).whole)
                self.assertEqual(self.offered(), ["bmcp_sky_tides"])
                self.assertEqual(orjson.loads(toolbox.runs[-1].call.arguments), {"a": 1})
                self.assertEqual(self.exchanges[-1].tools[0].input, {"a": 1})


class UnknownTests(ChoiceTestCase):
    """Calls of a tool of the gateway's that nobody offers."""

    def test_invented(self) -> None:
        """The model is told so by the gateway, and the client sees nothing of it, streamed or not."""
        self.start(toolbox=(toolbox := ScriptedToolbox("now")))
        call = ToolCall("bmcp_sky_invented", {"a": "hidden-argument"}, id="call_hidden")
        for api in APIS:
            for stream in (True, False):
                self.provider.say(Reply(text="I look.", tool_calls=[call], usage=Usage(input=1, output=1)), WORDS)
                answer = self.answer(api, stream=stream)
                self.assertEqual((answer.status, answer.whole), (200, True))
                for hidden in (b"bmcp_sky_invented", b"call_hidden", b"hidden-argument"):
                    self.assertNotIn(hidden, bytes(answer.body))
                self.assertIn(b"there is no tool bmcp_sky_invented", self.provider.requests[-1].body)
                [row] = self.exchanges[-1].tools
                self.assertEqual((row.injected, row.tool), (True, "bmcp_sky_invented"))
                self.assertEqual(row.invocation_error, "there is no tool bmcp_sky_invented")
        self.assertEqual(toolbox.runs, [])

    def test_forbidden(self) -> None:
        """So it is in a conversation that began without tools because the client forbade them."""
        self.start(toolbox=ScriptedToolbox("now"))
        call = ToolCall("bmcp_sky_now", {}, id="call_hidden")
        self.provider.say(Reply(tool_calls=[call], usage=Usage(input=1, output=1)), WORDS)
        answer = self.answer(CHAT, tool_choice="none")
        self.assertEqual(answer.json["choices"][0]["message"]["content"], "High water.")

"""Fallbacks: providers that serve a conversation whose own provider can't."""

from typing import Any

import orjson

from aibridge import Actor, AnthropicProvider, BreakerSettings, OpenAIProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.testing import CannedServer, FakeProvider, Question, RawReply, Reply, ToolCall, Usage, quiet_site

from .apis import APIS, CHAT, MESSAGES, OWN, RESPONSES, SECRET, Api
from .client import Answer
from .gateway import GATEWAY_PORT, UPSTREAM, ChainTestCase
from .toolbox import ScriptedToolbox

OTHER_PORT = 9500
OTHER = f"http://192.0.2.9:{OTHER_PORT}"
DOWN = "http://192.0.2.9:9501"
PROXY_PORT = 3128
OTHER_SECRET = "sk-other-0123456789abcdef-never-seen"
BREAKER = BreakerSettings(failure_threshold=2, interval=10.0, timeout=30.0, max_requests=1)


def error(status: int) -> RawReply:
    body = orjson.dumps({"type": "error", "error": {"type": "overloaded_error", "message": f"no ({status})"}})
    return RawReply(status=status, headers={"content-type": "application/json"}, chunks=[body])


class FailoverTestCase(ChainTestCase):
    """Two providers for each API: the second one takes over."""

    def setUp(self) -> None:
        super().setUp()
        self.other = FakeProvider(lambda question: self.other_says(question), clock=self.network)
        self.other_says: Any = lambda question: Reply(text="Here.", usage=Usage(input=5, output=1))
        self.network.serve(OTHER_PORT, quiet_site(self.other, self.network))
        self.serve()

    def serve(self, base: str = UPSTREAM, settings: dict[str, Any] | None = None, **bridge: Any) -> None:
        """Start a gateway whose own providers are at `base`."""
        common: dict[str, Any] = {"api_key": SECRET, "fallback": ["unfit", "spare"]} | (settings or {})
        spare: dict[str, Any] = {"api_key": OTHER_SECRET}
        made = [
            AnthropicProvider(base_url=base, **common | {"fallback": ["openai", "spare"]}),
            OpenAIProvider(base_url=base + "/v1", **common | {"fallback": ["spare-openai"]}),
            AnthropicProvider(name="spare", base_url=OTHER, **spare),
            OpenAIProvider(name="spare-openai", base_url=OTHER + "/v1", **spare),
        ]
        self.bridge = RequestBridge(made, self.recorder, reactor=self.network, **bridge)
        self.site = GatewaySite(self.bridge, **self.limits, reactor=self.network)
        self.started.append((self.bridge, self.site))
        self.network.serve(GATEWAY_PORT, self.site)

    def of_session(self, api: Api, session: str = "s", **members: Any) -> Answer:
        headers = {"User-Agent": "claude-cli/2.0", "X-Claude-Code-Session-Id": session}
        return self.answer(api, headers=headers, **members)


def second_turn(api: Api) -> dict[str, Any]:
    """The members of a request whose conversation has an answer in it."""
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    return {"input" if api is RESPONSES else "messages": turns}


class MovingTests(FailoverTestCase):
    """Requests that a fallback serves."""

    def test_overloaded(self) -> None:
        """A provider that says 503 or 529 before any answer is left, and the row says who served."""
        for api in APIS:
            for status in (503, 529):
                for stream in (False, True):
                    self.provider.say(error(status))
                    answer = self.answer(api, stream=stream)
                    self.assertEqual((answer.status, answer.whole), (200, True))
                    self.assertIn(b"Here.", answer.body)
                    begun = self.exchanges[-1].begun
                    spare = "spare" if api is MESSAGES else "spare-openai"
                    self.assertEqual((begun.provider_name, begun.provider), (spare, api.provider))
                    self.assertEqual(begun.metadata, {"fallback_from": api.provider})
                    self.assertEqual(begun.credential_hint, "sk-o...en")
                    self.assertEqual(self.exchanges[-1].ended.upstream_requests, 2)
                    self.assertEqual(self.exchanges[-1].end, ("completed", 200))
                    usage = self.exchanges[-1].usages[0]
                    self.assertEqual((usage.input_tokens, usage.output_tokens), (5, 1))

    def test_same_bytes(self) -> None:
        """The fallback gets the client's bytes and its own credential, and nothing of the first one's."""
        self.provider.say(error(529))
        body = MESSAGES.body("ping")
        client = self.connect()
        client.send("POST", MESSAGES.path, body)
        self.network.wait(2)
        [request] = self.other.requests
        self.assertEqual((request.body, request.headers.getRawHeaders("x-api-key")), (body, [OTHER_SECRET]))
        self.assertNotIn(SECRET, repr(list(request.headers.getAllRawHeaders())))

    def test_no_connection(self) -> None:
        """A provider that can't be reached is left."""
        self.serve(DOWN)
        for api in APIS:
            self.assertEqual(self.answer(api).status, 200)
            self.assertTrue(self.exchanges[-1].begun.provider_name.startswith("spare"))

    def test_proxy_refuses(self) -> None:
        """A provider whose proxy lets nobody through is left, too."""
        self.network.serve(PROXY_PORT, CannedServer(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"))
        self.serve(settings={"proxy": f"http://192.0.2.3:{PROXY_PORT}"})
        self.assertEqual(self.answer(MESSAGES).status, 200)
        self.assertEqual(self.exchange.begun.provider_name, "spare")

    def test_no_connection_in_time(self) -> None:
        """A provider whose machine never responds is left, too."""
        self.network.unreachable = True
        client = self.connect()
        client.send("POST", MESSAGES.path, MESSAGES.body("ping"))
        self.network.wait(9)
        self.network.unreachable = False
        self.network.wait(3)
        self.assertEqual(client.answer.status, 200)
        self.assertEqual(self.exchange.begun.metadata, {"fallback_from": "anthropic"})

    def test_open_circuit(self) -> None:
        """While the circuit is open the fallback serves at once."""
        self.serve(settings={"circuit_breaker": BREAKER})
        for _ in range(2):
            self.provider.say(error(503))
            self.answer(MESSAGES)
        before = len(self.provider.requests)
        self.assertEqual(self.answer(MESSAGES).status, 200)
        self.assertEqual((len(self.provider.requests), len(self.other.requests)), (before, 3))
        self.assertEqual(self.exchanges[-1].begun.metadata, {"fallback_from": "anthropic"})
        self.assertEqual(self.exchanges[-1].ended.upstream_requests, 1)

    def test_counted_for_who_served(self) -> None:
        """Metrics count the request for the provider that served it, and nothing stays in flight."""
        self.provider.say(error(503))
        self.answer(MESSAGES)
        registry, found = self.bridge.metrics.registry, {}
        for name in ("anthropic", "spare"):
            labels = {"provider": name, "model": "model-1", "route": "/v1/messages"}
            found[name] = registry.get_sample_value("interceptions_inflight", labels)
        self.assertEqual(found, {"anthropic": 0.0, "spare": 0.0})
        metrics = {
            sample.labels["provider"]: sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "interceptions_total"
        }
        self.assertEqual(metrics, {"spare": 1.0})

    def test_all_fail(self) -> None:
        """The last provider's error passes if none can serve."""
        self.provider.say(error(503))
        self.other_says = lambda question: error(529)
        answer = self.answer(MESSAGES)
        self.assertEqual((answer.status, answer.json["error"]["message"]), (529, "no (529)"))
        self.assertEqual(self.exchanges[-1].end, ("failed", 529))

    def test_row_before_the_request(self) -> None:
        """The row names the fallback before that is asked, and says that it has begun before."""
        seen: list[tuple[str, int]] = []

        def say(question: Question) -> Reply:
            rows = self.recorder.interceptions.values()
            seen.extend((each.provider_name, each.upstream_requests) for each in rows)
            return Reply(text="Here.")

        self.other_says = say
        self.provider.say(error(503))
        self.answer(MESSAGES)
        self.assertEqual(seen, [("spare", 1)])


class StayingTests(FailoverTestCase):
    """Requests that no fallback may serve."""

    def refused(self, api: Api, **rest: Any) -> None:
        self.provider.say(error(503))
        before = len(self.other.requests)
        answer = self.answer(api, **rest)
        self.assertEqual((answer.status, len(self.other.requests)), (503, before))
        self.assertEqual(self.exchanges[-1].begun.provider_name, api.provider)

    def test_mid_conversation(self) -> None:
        """A conversation that has begun stays where it is."""
        for api in APIS:
            self.refused(api, **second_turn(api))

    def test_mid_conversation_allowed(self) -> None:
        """It moves if the operator wants that."""
        self.serve(settings={"fallback_mid_conversation": True})
        for api in APIS:
            self.provider.say(error(503))
            self.assertEqual(self.answer(api, **second_turn(api)).status, 200)

    def test_bound(self) -> None:
        """What means something to one provider only stays there, even if the rest may move."""
        self.serve(settings={"fallback_mid_conversation": True})
        document = [{"role": "user", "content": [{"type": "document", "source": {"type": "file", "file_id": "f_1"}}]}]
        for members in (
            {"container": "c_1"},
            {"thread": {"type": "create"}},
            {"fallback_credit_token": "t"},
            {"messages": document},
        ):
            self.refused(MESSAGES, **members)
        self.refused(RESPONSES, previous_response_id="resp_1")
        self.refused(RESPONSES, conversation="conv_1")

    def test_words_about_files(self) -> None:
        """A request whose text only speaks of files may move."""
        self.provider.say(error(503))
        prompt = [{"role": "user", "content": 'What is "file_id"? {"file_id": "f_1"}'}]
        self.assertEqual(self.answer(MESSAGES, messages=prompt).status, 200)

    def test_own_credential(self) -> None:
        """A client's own credential is for its provider only."""
        self.refused(MESSAGES, headers={"x-api-key": OWN})
        self.assertNotIn(OWN, repr([list(each.headers.getAllRawHeaders()) for each in self.other.requests]))

    def test_other_errors(self) -> None:
        """Other errors pass as they are."""
        for status in (400, 401, 429, 500):
            self.provider.say(error(status))
            self.assertEqual(self.answer(MESSAGES).status, status)
        self.assertEqual(len(self.other.requests), 0)

    def test_broken_answer(self) -> None:
        """An answer that has begun is never begun again by another provider."""
        self.provider.say(Reply(text="a word and another " * 20, stop_after=3))
        self.answer(MESSAGES, stream=True)
        self.assertEqual(len(self.other.requests), 0)


class KeepingTests(FailoverTestCase):
    """Conversations that have moved."""

    def test_stays_with_the_fallback(self) -> None:
        """A conversation that has moved stays where it is when its first provider is back; a new one goes there."""
        self.provider.say(error(503))
        self.of_session(MESSAGES)
        before = len(self.provider.requests)
        self.assertEqual(self.of_session(MESSAGES, **second_turn(MESSAGES)).status, 200)
        self.assertEqual((len(self.provider.requests), len(self.other.requests)), (before, 2))
        self.assertEqual(self.exchanges[-1].begun.metadata, {"fallback_from": "anthropic"})
        self.of_session(MESSAGES, "another", **second_turn(MESSAGES))
        self.of_session(MESSAGES)
        self.assertEqual(len(self.provider.requests), before + 2)

    def test_stored_responses(self) -> None:
        """What goes on from a response that a fallback stores goes there, without a session too."""
        self.serve(authenticate=lambda request: Actor("ann"))
        self.other_says = lambda question: Reply(text="Here.", id="resp_there")
        self.provider.say(error(503))
        self.assertEqual(self.answer(RESPONSES).status, 200)
        before = len(self.provider.requests)
        self.assertEqual(self.answer(RESPONSES, previous_response_id="resp_there").status, 200)
        self.assertEqual((len(self.provider.requests), len(self.other.requests)), (before, 2))
        self.assertEqual(self.exchanges[-1].begun.provider_name, "spare-openai")
        self.answer(RESPONSES, previous_response_id="resp_here")
        self.assertEqual(len(self.provider.requests), before + 1)

    def test_fetched_responses(self) -> None:
        """A response that a fallback stores is read, counted with and deleted there, by whoever made it."""
        for settings in ({"authenticate": lambda request: Actor(request.getHeader("x-user") or "ann")}, {}):
            self.serve(**settings)  # type: ignore[arg-type]
            self.other_says = lambda question: Reply(text="Here.", id="resp_there")
            self.provider.say(error(503))
            self.assertEqual(self.answer(RESPONSES).status, 200)
            before = len(self.provider.requests)
            body = orjson.dumps({"previous_response_id": "resp_there"})
            for method, path, content in (
                ("GET", "resp_there", b""),
                ("GET", "resp_there/input_items?limit=1", b""),
                ("POST", "input_tokens", body),
                ("DELETE", "resp_there", b""),
            ):
                client = self.connect()
                client.send(method, f"/openai/v1/responses/{path}", content)
                self.network.wait(1)
                request = self.other.requests[-1]
                self.assertEqual((request.uri, request.method), (f"/v1/responses/{path}".encode(), method))
                self.assertEqual(request.headers.getRawHeaders("authorization"), [f"Bearer {OTHER_SECRET}"])
            self.assertEqual(len(self.provider.requests), before)
        client = self.connect()
        client.send("GET", "/openai/v1/responses/resp_here", b"")
        self.network.wait(1)
        self.assertEqual(len(self.provider.requests), before + 1)

    def test_with_tools(self) -> None:
        """The fallback's rounds have the gateway's tools, and what is hidden is found again by it."""
        self.serve(toolbox=ScriptedToolbox("now"))

        def say(question: Question) -> Reply:
            if question.tool_result is None and question.prompt == "ping":
                return Reply(tool_calls=[ToolCall("bmcp_sky_now", {}, id="c1")])
            return Reply(text="Noon.")

        self.other_says = say
        for api in (MESSAGES, CHAT):
            self.other.requests.clear()
            self.provider.say(error(503))
            answer = self.of_session(api)
            self.assertEqual((answer.status, answer.whole, len(self.other.requests)), (200, True, 2))
            self.assertEqual(len(self.exchanges[-1].tools), 1)


class WrongTests(FailoverTestCase):
    """Fallbacks that can't be."""

    def test_unknown(self) -> None:
        """A fallback has to be another provider."""
        for name in ("nobody", "anthropic"):
            with self.assertRaisesRegex(ValueError, f"anthropic.fallback: no other provider is named '{name}'"):
                RequestBridge([AnthropicProvider(fallback=[name])], self.recorder, reactor=self.network)

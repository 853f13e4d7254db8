"""Providers that have other names for models, and that refuse parts of clients' requests."""

from typing import Any

import orjson

from aibridge.providers.refused import RefusedSettings
from aibridge.testing import RawReply, Reply, ToolCall, Usage

from .apis import APIS, CHAT, MESSAGES
from .gateway import ChainTestCase
from .toolbox import ScriptedToolbox

JSON = {"content-type": "application/json"}
DAY = 24 * 3600.0
NAMES = {r"^claude-(opus|sonnet)-(.+)$": "eu.anthropic.claude-{1}-{2}-v1:0", "^(gpt)-?": "{1}"}
NEW, OLD = "new-thing-2026-11-01", "interleaved-thinking-2025-05-14"


def refusal(message: str, status: int = 400) -> RawReply:
    """An error of Anthropic's API."""
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return RawReply(status=status, headers=JSON, chunks=[orjson.dumps(error)])


class ModelTests(ChainTestCase):
    """The table of models."""

    def setUp(self) -> None:
        super().setUp()
        self.start(providers={"models": NAMES})

    def test_names(self) -> None:
        """The provider is asked for its own name; every other byte stays, and the row has the client's name."""
        for api in APIS:
            self.answer(api, model="claude-opus-4-6")
            sent = self.provider.requests[-1].body
            self.assertEqual(orjson.loads(sent)["model"], "eu.anthropic.claude-opus-4-6-v1:0")
            if api is not CHAT:  # there the figures are asked for
                without = sent.replace(b"eu.anthropic.", b"").replace(b"-v1:0", b"")
                self.assertEqual(without, api.body("ping", model="claude-opus-4-6"))
            self.assertEqual(self.exchanges[-1].begun.model, "claude-opus-4-6")
            self.assertEqual(self.exchanges[-1].usages[0].served_model, "eu.anthropic.claude-opus-4-6-v1:0")

    def test_no_match(self) -> None:
        """A model that no pattern matches is refused with 400, which names the table; the provider is not asked."""
        for api in APIS:
            answer = self.answer(api, model="llama-4")
            self.assertEqual(answer.status, 400)
            self.assertIn(f"providers.{api.path.split('/')[1]}.models", answer.json["error"]["message"])
            self.assertEqual(answer.json.get("type"), "error" if api is MESSAGES else None)
        self.assertEqual((len(self.provider.requests), self.exchanges), (0, []))

    def test_count_tokens(self) -> None:
        """Requests that count tokens have the provider's name, too."""
        client = self.connect()
        client.send("POST", MESSAGES.path + "/count_tokens", MESSAGES.body("ping", model="claude-opus-4-6"))
        self.network.wait(1)
        self.assertEqual(client.answer.status, 200)
        self.assertEqual(orjson.loads(self.provider.requests[-1].body)["model"], "eu.anthropic.claude-opus-4-6-v1:0")

    def test_embeddings(self) -> None:
        """Other requests that name a model have the provider's name, too, and are refused without one."""
        for path in ("/openai/v1/embeddings", "/openai/v1/images/generations"):
            for model, status in (("gpt-image", 404), ("llama-4", 400)):
                client = self.connect()
                client.send("POST", path, orjson.dumps({"input": "x", "model": model}))
                self.network.wait(1)
                self.assertEqual(client.answer.status, status)
            self.assertEqual(self.provider.requests[-1].body, b'{"input":"x","model":"gpt"}')

    def test_every_round(self) -> None:
        """Later rounds of an answer with injected tools have the provider's name as well."""
        self.start(providers={"models": NAMES}, toolbox=ScriptedToolbox("now"))
        self.provider.say(Reply(tool_calls=[ToolCall("bmcp_sky_now", {}, id="c1")]), Reply(text="Noon."))
        self.answer(MESSAGES, model="claude-opus-4-6")
        names = [orjson.loads(request.body)["model"] for request in self.provider.requests]
        self.assertEqual(names, ["eu.anthropic.claude-opus-4-6-v1:0"] * 2)


class RefusedTests(ChainTestCase):
    """The table of refused flags and fields, and what is learnt."""

    def use(self, **refused: Any) -> None:
        """Start a gateway with this table."""
        self.provider.requests.clear()
        self.start(providers={"refused": RefusedSettings(**refused)})

    def ask_with(self, *betas: str, **members: Any) -> Any:
        """The answer to a request with these flags and members."""
        headers = [("anthropic-beta", ",".join(betas))] if betas else []
        return self.answer(MESSAGES, headers=headers, **members)

    def betas(self) -> list[str | None]:
        """The flags of each request to the provider."""
        values = [request.headers.getRawHeaders("anthropic-beta") for request in self.provider.requests]
        return [",".join(value) if value else None for value in values]

    def refuse(self, *flags: str, message: str = "Unexpected value(s) {} for the `anthropic-beta` header.") -> None:
        """Let the provider refuse these flags."""

        def script(question: Any) -> Any:
            sent = (question.request.headers.getRawHeaders("anthropic-beta") or [""])[0].split(",")
            found = ", ".join(f"`{flag}`" for flag in sent if flag in flags)
            return refusal(message.format(found)) if found else Reply(text="Fine.", usage=Usage(input=3, output=2))

        self.provider._script = script

    def test_configured(self) -> None:
        """Flags and fields of the table are left out, and every other byte stays."""
        self.use(betas=("oauth-*",), fields=("tools.*.defer_loading", "metadata"))
        tools = [{"name": "a", "input_schema": {}, "defer_loading": True}, {"name": "b", "input_schema": {}}]
        self.ask_with("oauth-2025-04-20", OLD, tools=tools, metadata={"user_id": "u"})
        self.assertEqual(self.betas(), [OLD])
        without = MESSAGES.body("ping", tools=[{"name": "a", "input_schema": {}}, tools[1]])
        self.assertEqual(self.provider.requests[-1].body, without)
        self.ask_with("oauth-2025-04-20")
        self.assertEqual(self.betas(), [OLD, None])

    def test_untouched(self) -> None:
        """A request that has nothing of the table keeps its bytes, its flags as they are written, too."""
        self.use(betas=("oauth-*",), fields=("metadata",))
        self.answer(MESSAGES, headers=[("anthropic-beta", f"{OLD} , x")])
        self.assertEqual((self.betas(), self.provider.requests[-1].body), ([f"{OLD} , x"], MESSAGES.body("ping")))

    def test_learns_flag(self) -> None:
        """A refused flag costs one 400 in all; the report names it, and it is forgotten after a day."""
        self.use(learn=True)
        self.refuse(NEW)
        for _ in range(3):
            self.assertEqual(self.ask_with(OLD, NEW).status, 200)
        self.assertEqual(self.betas(), [f"{OLD},{NEW}", OLD, OLD, OLD])
        self.assertEqual(self.exchanges[0].ended.upstream_requests, 2)
        [report] = self.bridge.refusals()["anthropic"]
        self.assertEqual((report["kind"], report["beta"]), ("beta", NEW))
        counted = {"provider": "anthropic", "kind": "beta"}
        self.assertEqual(self.bridge.metrics.registry.get_sample_value("provider_refusals_learned_total", counted), 1)
        self.network.advance(DAY)
        self.ask_with(NEW)
        self.assertEqual(self.betas()[4:], [NEW, None])

    def test_off(self) -> None:
        """Without learning the 400 passes as it came."""
        for learn in (False, None):
            self.use(learn=learn)
            self.refuse(NEW)
            answer = self.ask_with(NEW)
            self.assertEqual((answer.status, len(self.provider.requests)), (400, 1))
            self.assertIn(NEW, answer.json["error"]["message"])

    def test_unnamed_flag(self) -> None:
        """If a cloud does not say which flag it means, all go that it has not accepted before."""
        self.use(learn=True)
        self.refuse(NEW, message="invalid beta flag")
        self.ask_with(OLD)
        self.ask_with(OLD, NEW, "other-2026-01-01")
        self.ask_with(OLD, NEW)
        self.assertEqual(self.betas(), [OLD, f"{OLD},{NEW},other-2026-01-01", OLD, OLD])

    def test_field(self) -> None:
        """A refused field is left out, in every tool, together with the flag that it belongs to."""
        self.use(learn=True)
        message = "tools.1.custom.defer_loading: Extra inputs are not permitted"

        def script(question: Any) -> Any:
            tools = question.document.get("tools", ())
            return refusal(message) if any("defer_loading" in tool for tool in tools) else Reply(text="Fine.")

        self.provider._script = script
        tools = [{"name": name, "input_schema": {}, "defer_loading": True} for name in "ab"]
        for _ in range(2):
            self.assertEqual(self.ask_with(OLD, "advanced-tool-use-2025-11-20", tools=tools).status, 200)
        self.assertEqual(self.betas(), [f"{OLD},advanced-tool-use-2025-11-20", OLD, OLD])
        kept = MESSAGES.body("ping", tools=[{"name": name, "input_schema": {}} for name in "ab"])
        self.assertEqual(self.provider.requests[-1].body, kept)
        kinds = {(each["kind"], each.get("beta") or each.get("field")) for each in self.bridge.refusals()["anthropic"]}
        self.assertIn(("field", "tools.*.custom.defer_loading"), kinds)
        self.assertIn(("beta", "advanced-tool-use-2025-11-20"), kinds)

    def test_extraneous_key(self) -> None:
        """Bedrock's other words for a refused field are understood, too."""
        self.use(learn=True)
        self.provider.say(
            refusal("Malformed input request: #/tools/1: extraneous key [strict] is not permitted, please reformat"),
            refusal("Malformed input request: #: extraneous key [metadata] is not permitted, please reformat"),
        )
        tools = [{"name": name, "input_schema": {}} for name in "ab"]
        answer = self.ask_with(tools=[{**tool, "strict": True} for tool in tools], metadata={"user_id": "u"})
        self.assertEqual((answer.status, len(self.provider.requests)), (200, 3))
        self.assertEqual(self.provider.requests[-1].body, MESSAGES.body("ping", tools=tools))

    def test_flag_with_field(self) -> None:
        """A field goes with its flag."""
        self.use(learn=True)
        self.refuse("context-management-2025-06-27")
        self.ask_with("context-management-2025-06-27", context_management={"edits": []})
        self.assertEqual(self.provider.requests[-1].body, MESSAGES.body("ping"))
        self.assertEqual(self.betas(), ["context-management-2025-06-27", None])

    def test_other_errors(self) -> None:
        """Other errors, and refusals of what a request can't do without, pass as they came, after one request."""
        for error in (
            refusal("prompt is too long"),
            refusal("messages: Extra inputs are not permitted"),
            refusal("nothing.here: Extra inputs are not permitted"),
            refusal(f"Unexpected value(s) `{NEW}` for the `anthropic-beta` header.", 403),
            refusal(f"Unexpected value(s) `{NEW}-and-more` for the `anthropic-beta` header."),
        ):
            self.use(learn=True)
            self.provider.say(error)
            answer = self.ask_with(NEW)
            self.assertEqual((answer.status, bytes(answer.body)), (error.status, error.chunks[0]))
            self.assertEqual(len(self.provider.requests), 1)

    def test_refused_for_good(self) -> None:
        """A request that is refused without the flag or the field, too, gets that error after one repetition."""
        for message in (f"beta {NEW} is bad", "metadata: Extra inputs are not permitted"):
            self.use(learn=True)
            self.provider._script = lambda question, message=message: refusal(message)
            answer = self.ask_with(NEW, metadata={"user_id": "u"})
            self.assertEqual((answer.status, len(self.provider.requests)), (400, 2))
            self.assertEqual(self.bridge.refusals()["anthropic"], [])

    def test_counting_tokens(self) -> None:
        """Parts that were seen to be refused are left out where tokens are only counted, too."""
        self.use(learn=True)
        self.refuse(NEW)
        self.ask_with(OLD, NEW)
        client = self.connect()
        headers = {"Content-Type": "application/json", "anthropic-beta": f"{OLD},{NEW}"}
        client.send("POST", "/anthropic/v1/messages/count_tokens", MESSAGES.body("ping"), headers)
        self.network.wait(1)
        self.assertEqual(self.betas(), [f"{OLD},{NEW}", OLD, OLD])

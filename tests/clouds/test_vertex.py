"""Vertex AI, with tokens that end."""

import gzip
from typing import Any

import orjson

from aibridge.clouds import lookup
from aibridge.clouds.bearer import Token
from aibridge.clouds.lookup import Found, NothingFound
from aibridge.providers import vertex
from aibridge.providers.vertex import VertexProvider
from aibridge.testing import RawReply, Reply, ToolCall, Usage

from ..chain.apis import MESSAGES
from ..chain.toolbox import ScriptedToolbox
from .gateway import MODEL, UPSTREAM, CloudTestCase
from .scripted import KNOWN_BETAS, ScriptedVertex, flags

FIRST = "ya29.first-token-of-the-test"
NEW = "new-thing-2026-11-01"
PATH = "/v1/projects/proj-1/locations/europe-west1"


class VertexTests(CloudTestCase):
    """A gateway before Vertex."""

    def setUp(self) -> None:
        super().setUp()
        self.token: str | None = FIRST
        self.patch(lookup, "time", self.network.seconds)
        self.start_vertex()

    def find(self) -> Found[Token]:
        """The token that Google gives now, for a quarter of an hour."""
        if self.token is None:
            raise NothingFound("there are no application default credentials")
        return Found(Token(b"Bearer " + self.token.encode(), "ya29...st"), self.network.seconds() + 900)

    def start_vertex(self, settings: Any = None, **changes: Any) -> None:
        """A gateway with other settings."""
        self.patch(vertex, "find_google_token", self.find)
        given = {"project": "proj-1", "region": "europe-west1", "base_url": f"{UPSTREAM}/v1"}
        self.serve(ScriptedVertex(), VertexProvider(**{**given, **changes}), **(settings or {}))

    def test_answers(self) -> None:
        """Answers pass as they are; the model stands in the URL, with its date behind an ``@``."""
        for stream in (True, False):
            self.cloud.say(Reply(text="Hello.", usage=Usage(input=11, output=22)))
            answer = self.say(stream=stream, path="/vertex/v1/messages?beta=true")
            self.assertEqual((answer.status, answer.whole), (200, True), bytes(answer.body))
            action = "streamRawPredict" if stream else "rawPredict"
            request = self.cloud.requests[-1]
            uri = f"{PATH}/publishers/anthropic/models/claude-sonnet-4-5@20250929:{action}"
            self.assertEqual(request.uri.decode(), uri)
            document = orjson.loads(request.body)
            self.assertEqual((document.get("model"), document["stream"]), (None, stream))
            self.assertEqual(document["anthropic_version"], "vertex-2023-10-16")
            exchange = self.exchanges[-1]
            begun, [usage] = exchange.begun, exchange.usages
            self.assertEqual((begun.provider, begun.model, begun.credential_hint), ("vertex", MODEL, "ya29...st"))
            self.assertEqual((usage.input_tokens, usage.served_model), (11, MODEL))

    def test_betas_stay_a_header(self) -> None:
        """Flags stay in their header, as Anthropic's SDK sends them, and the client's credentials are dropped."""
        self.assertEqual(self.say(headers={"anthropic-beta": ",".join(KNOWN_BETAS)}).status, 200)
        [request] = self.cloud.requests
        self.assertEqual(flags(request), list(KNOWN_BETAS))
        self.assertEqual(request.headers.getRawHeaders("authorization"), [f"Bearer {FIRST}"])

    def test_new_flag(self) -> None:
        """A flag that Vertex does not know costs one 400 in all."""
        for _ in range(3):
            self.assertEqual(self.say(headers={"anthropic-beta": f"{KNOWN_BETAS[0]},{NEW}"}).status, 200)
        self.assertEqual(
            [flags(each) for each in self.cloud.requests], [[KNOWN_BETAS[0], NEW], *[[KNOWN_BETAS[0]]] * 3]
        )

    def test_counting(self) -> None:
        """Tokens are counted at the place that Vertex has for that, with the model in the body."""
        answer = self.say(path="/vertex/v1/messages/count_tokens")
        self.assertEqual((answer.status, answer.json), (200, {"input_tokens": 7}))
        self.assertTrue(self.cloud.requests[-1].uri.endswith(b"/models/count-tokens:rawPredict"))

    def test_tokens_end(self) -> None:
        """A token is renewed ahead; one that ends between two rounds of an answer is replaced before the second."""
        self.say()
        self.network.advance(601)
        self.token = "ya29.second-token-of-the-test"
        self.cloud.tokens.add(self.token)  # type: ignore[attr-defined]
        self.say()  # renewed in the background of this one
        self.cloud.tokens.discard(FIRST)  # type: ignore[attr-defined]
        self.assertEqual(self.say().status, 200)
        toolbox = ScriptedToolbox("now")
        toolbox.slow = True
        self.start_vertex({"toolbox": toolbox})
        self.cloud.tokens = {self.token}  # type: ignore[attr-defined]
        self.cloud.say(Reply(tool_calls=[ToolCall("bmcp_sky_now", {}, id="c1")]), Reply(text="Noon."))
        client = self.connect()
        client.send("POST", "/vertex/v1/messages", MESSAGES.body("ping", model=MODEL))
        self.network.settle()
        for _ in range(10):
            self.network.advance(100)
        self.token = "ya29.third-token-of-the-test"
        self.cloud.tokens = {self.token}  # type: ignore[attr-defined]
        toolbox.finish()
        self.network.wait(3)
        self.assertIn(b"Noon.", client.answer.body)

    def test_errors(self) -> None:
        """Google's errors get Anthropic's shape, packed or not."""
        self.cloud.tokens = set()  # type: ignore[attr-defined]
        self.assertEqual(self.error(self.say()), (401, "authentication_error", "Invalid credentials."))
        self.cloud.tokens = {FIRST}  # type: ignore[attr-defined]
        body = b'{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED"}}'
        for packed, coding in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
            self.cloud.say(RawReply(status=429, headers={"retry-after": "7", **coding}, chunks=[packed]))
            answer = self.say()
            self.assertEqual(self.error(answer), (429, "rate_limit_error", "Quota exceeded."))
            self.assertEqual((answer.header("retry-after"), answer.header("content-encoding")), ("7", None))

    def test_replaced(self) -> None:
        """A token that Google refuses, though it has not ended, is replaced for later requests."""
        self.say()
        self.token = "ya29.second-token-of-the-test"
        self.cloud.tokens = {self.token}  # type: ignore[attr-defined]
        self.network.advance(5)
        self.assertEqual([self.say().status for _ in range(2)], [401, 200])

    def test_no_credentials(self) -> None:
        """Without credentials the client gets 503, which says so, as the report does."""
        self.token = None
        self.start_vertex()
        self.assertEqual(
            self.error(self.say())[2], "no credentials for google: there are no application default credentials."
        )
        self.assertEqual(self.bridge.credentials(), {"vertex": "there are no application default credentials"})

    def test_own_token(self) -> None:
        """A client's own token of Google comes before the gateway's."""
        self.cloud.tokens = {"ya29.own-token-of-a-client"}  # type: ignore[attr-defined]
        headers = {"Authorization": "Bearer ya29.own-token-of-a-client", "x-api-key": ""}
        self.assertEqual(self.say(headers=headers).status, 200)
        self.assertEqual(self.exchanges[-1].begun.credential_kind, "byok")

    def test_missing_routes(self) -> None:
        """Routes that Vertex does not have are 404 in the API's shape."""
        for path in ("/vertex/v1/messages/batches", "/vertex/v1/models"):
            self.assertEqual(self.error(self.say(path=path))[:2], (404, "not_found_error"))

    def test_places(self) -> None:
        """The base URL is that of the region, as Anthropic's SDK has it."""
        for region, host in (
            ("europe-west1", "europe-west1-aiplatform.googleapis.com"),
            ("global", "aiplatform.googleapis.com"),
            ("us", "aiplatform.us.rep.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
        ):
            provider = VertexProvider(project="p", region=region)
            self.assertEqual((provider.base_url, provider.warnings()), (f"https://{host}/v1", []))
        self.assertEqual(
            provider.url(b"/v1/chat/completions", b""),
            b"https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/endpoints/openapi/chat/completions",
        )

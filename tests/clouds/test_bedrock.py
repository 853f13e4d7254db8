"""Bedrock by its three doors, with signatures that are checked over what arrives."""

import gzip
import os
from typing import Any
from urllib.parse import unquote

import orjson
from botocore.credentials import ReadOnlyCredentials

from aibridge import AnthropicProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.providers.bedrock import BedrockProvider
from aibridge.providers.refused import RefusedSettings
from aibridge.testing import RawReply, Reply, ToolCall, Usage, quiet_site
from aibridge.upstream.circuit_breaker import BreakerSettings

from ..chain.apis import CHAT, MESSAGES
from ..chain.gateway import GATEWAY_PORT
from ..chain.gateway import UPSTREAM as GATEWAY_UPSTREAM
from ..chain.toolbox import ScriptedToolbox
from .gateway import CLOUD_PORT, MODEL, UPSTREAM, CloudTestCase
from .scripted import KEYS, KNOWN_BETAS, ScriptedBedrock, chunks_of, flags
from .test_costs import cloud_prices

NAMES = {"^claude-(opus|sonnet|haiku)-(.*)$": "eu.anthropic.claude-{1}-{2}-v1:0"}
ID = f"eu.anthropic.{MODEL}-v1:0"
BASES = {"messages": f"{UPSTREAM}/anthropic", "mantle": f"{UPSTREAM}/mantle/anthropic", "invoke": UPSTREAM}
REPLY = Reply(text="Es wäre schön.", thinking="Hm.", usage=Usage(input=11, output=22, cache_read=33))
NEW = "new-thing-2026-11-01"


class BedrockTestCase(CloudTestCase):
    """A gateway before Bedrock."""

    def start_at(self, api: str, cloud: ScriptedBedrock | None = None, settings: Any = None, **changes: Any) -> None:
        """A gateway before one of its doors."""
        given = {"name": "aws", "region": "eu-central-1", "api": api, "models": NAMES, "base_url": BASES[api]}
        self.serve(cloud or ScriptedBedrock(), BedrockProvider(**{**given, **changes}), **(settings or {}))

    def documents(self) -> list[Any]:
        """The bodies that arrived."""
        return [orjson.loads(request.body) for request in self.cloud.requests]


class DoorTests(BedrockTestCase):
    """What every door must do."""

    def test_answers(self) -> None:
        """Answers are as Anthropic's own API gives them, byte for byte, and recorded as such."""
        for api in BASES:
            for stream in (True, False):
                self.start_at(api)
                self.cloud.say(REPLY)
                answer = self.say(stream=stream)
                self.assertEqual((answer.status, answer.whole), (200, True), bytes(answer.body))
                text = bytes(answer.body).decode()
                self.assertIn("schön", text)
                kind = "text/event-stream" if stream else "application/json"
                self.assertEqual(answer.header("content-type").partition(";")[0], kind)  # type: ignore[union-attr]
                if stream:
                    self.assertTrue(text.startswith("event: message_start\ndata: {"))
                    self.assertTrue(text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n'))
                exchange = self.exchanges[-1]
                begun, [usage] = exchange.begun, exchange.usages
                self.assertEqual((begun.provider, begun.provider_name, begun.model), ("bedrock", "aws", MODEL))
                self.assertEqual((begun.credential_kind, begun.credential_hint), ("centralized", "AKID...56"))
                self.assertEqual((usage.input_tokens, usage.output_tokens, usage.served_model), (11, 22, MODEL))
                self.assertEqual((exchange.end, len(exchange.thoughts)), (("completed", 200), 1))

    def test_names(self) -> None:
        """Each door gets the model's name as it knows it."""
        for api, name in (("messages", ID), ("mantle", f"anthropic.{MODEL}")):
            self.start_at(api)
            for asked in (MODEL, f"{MODEL}[1m]"):
                self.say(model=asked)
            self.assertEqual([each["model"] for each in self.documents()], [name] * 2)

    def test_clients_credentials(self) -> None:
        """Nothing of a client's own credentials or signatures arrives."""
        headers = {
            "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDOTHER/20260101/x/y/aws4_request",
            "X-Amz-Date": "20260101T000000Z",
            "X-Amz-Security-Token": "t",
            "X-Amz-Content-Sha256": "x",
            "Cookie": "a=b",
        }
        for api in BASES:
            self.start_at(api)
            self.assertEqual(self.say(headers=headers).status, 200)
            [request] = self.cloud.requests
            self.assertNotIn("AKIDOTHER", str(list(request.headers.getAllRawHeaders())))
            self.assertFalse(request.headers.hasHeader("x-amz-content-sha256"))

    def test_every_round(self) -> None:
        """Each round of an answer with injected tools is signed over the bytes of that round."""
        for api in BASES:
            for stream in (True, False):
                self.start_at(api, settings={"toolbox": ScriptedToolbox("now")})
                self.cloud.say(Reply(tool_calls=[ToolCall("bmcp_sky_now", {}, id="c1")]), Reply(text="Noon."))
                answer = self.say(stream=stream)
                self.assertEqual((answer.status, answer.whole), (200, True), bytes(answer.body))
                self.assertIn(b"Noon.", answer.body)
                self.assertNotIn(b"bmcp", answer.body)
                first, second = self.documents()
                self.assertEqual((len(first["messages"]), len(second["messages"])), (1, 3))
                self.assertEqual(self.exchanges[-1].ended.upstream_requests, 2)  # type: ignore[union-attr]

    def test_new_flag(self) -> None:
        """A flag that Bedrock does not know costs one 400 in all, though the error does not name it."""
        for api in BASES:
            self.start_at(api)
            headers = {"anthropic-beta": f"{KNOWN_BETAS[0]},{NEW}"}
            self.say(headers={"anthropic-beta": KNOWN_BETAS[0]})
            for _ in range(3):
                self.assertEqual(self.say(headers=headers).status, 200)
            sent = [
                flags(request) or document.get("anthropic_beta")
                for request, document in zip(self.cloud.requests, self.documents(), strict=True)
            ]
            old = [KNOWN_BETAS[0]]
            self.assertEqual(sent, [old, [*old, NEW], old, old, old])
            learnt = [(each["kind"], each["beta"], each["model"]) for each in self.bridge.refusals()["aws"]]
            self.assertEqual(learnt, [("beta", NEW, MODEL)])
            self.assertEqual(self.metric("provider_refusals_learned_total", provider="aws", kind="beta"), 1)

    def test_new_field(self) -> None:
        """So does a field."""
        tools = [{"name": "a", "input_schema": {}, "defer_loading": True}]
        for api in BASES:
            self.start_at(api)
            for _ in range(2):
                self.assertEqual(self.say(tools=tools, new_member=1).status, 200)
            self.assertEqual(len(self.cloud.requests), 4)  # one 400 for each of two fields
            self.assertNotIn("new_member", self.documents()[-1])
            self.assertEqual(self.documents()[-1]["tools"], [{"name": "a", "input_schema": {}}])

    def test_learning_off(self) -> None:
        """Without learning the refusal passes, in Anthropic's shape and with Amazon's id of the request."""
        for api in BASES:
            self.start_at(api, refused=RefusedSettings(learn=False))
            answer = self.say(headers={"anthropic-beta": NEW})
            self.assertEqual(self.error(answer), (400, "invalid_request_error", "invalid beta flag"))
            self.assertEqual((answer.header("x-amzn-requestid"), len(self.cloud.requests)), ("amzn-1", 1))

    def test_errors(self) -> None:
        """Errors of Amazon's get Anthropic's shape; a signature with wrong keys is such an error."""
        for api in BASES:
            self.start_at(api, ScriptedBedrock(ReadOnlyCredentials(KEYS.access_key, "other", None)))
            status, kind, words = self.error(self.say())
            self.assertEqual((status, kind), (403, "authentication_error"))
            self.assertIn("signature we calculated does not match", words)
            self.assertEqual(self.exchanges[-1].end, ("failed", 403))
            self.start_at(api)
            headers = {"content-type": "application/json", "x-amzn-errortype": "ThrottlingException"}
            self.cloud.say(RawReply(status=429, headers=headers, chunks=[b'{"message":"Too many tokens"}']))
            self.assertEqual(self.error(self.say(stream=True)), (429, "rate_limit_error", "Too many tokens"))

    def test_no_model(self) -> None:
        """A model that is not in the table is refused with 400, which names the table."""
        for api in BASES:
            self.start_at(api)
            self.assertIn("providers.aws.models", self.error(self.say(model="gpt-5"))[2])
            self.assertEqual(self.cloud.requests, [])

    def test_circuit(self) -> None:
        """Failures of the cloud open the circuit."""
        for api in BASES:
            self.start_at(api, circuit_breaker=BreakerSettings(failure_threshold=2))
            error = RawReply(status=503, headers={}, chunks=[b'{"message":"away"}'])
            self.cloud.say(error, error)
            self.assertEqual([self.say().status for _ in range(2)], [503, 503])
            self.assertEqual((self.error(self.say())[0], len(self.cloud.requests)), (503, 2))

    def test_redirect(self) -> None:
        """A redirect is not followed: the signature goes to nobody else."""
        for api in BASES:
            self.start_at(api)
            headers = {"location": f"{UPSTREAM}/elsewhere"}
            self.cloud.say(RawReply(status=307, headers=headers, chunks=[b"{}"]))
            self.assertEqual((self.say().status, len(self.cloud.requests)), (307, 1))

    def test_counting(self) -> None:
        """Tokens are counted where the door can do that; where it can't the client gets 404."""
        for api in ("messages", "mantle"):
            self.start_at(api)
            answer = self.say(path="/aws/v1/messages/count_tokens")
            self.assertEqual((answer.status, answer.json), (200, {"input_tokens": 7}))
            self.assertEqual(self.documents()[-1]["model"], ID if api == "messages" else f"anthropic.{MODEL}")
        self.start_at("invoke")
        self.assertEqual(self.error(self.say(path="/aws/v1/messages/count_tokens"))[:2], (404, "not_found_error"))

    def test_missing_routes(self) -> None:
        """Routes that Bedrock does not have are 404 in the API's own shape, although another provider has them."""
        for api in BASES:
            self.start_at(api)
            for path in ("/aws/v1/messages/batches", "/aws/v1/models", "/aws/v1/files"):
                self.assertEqual(self.error(self.say(path=path))[:2], (404, "not_found_error"))
            answer = self.say(path="/aws/v1/responses/compact")
            self.assertEqual((answer.status, answer.json.keys()), (404, {"error"}))

    def test_openai(self) -> None:
        """OpenAI's routes lead to the place where Bedrock has them, signed."""
        self.start_at("messages", models={})
        answer = self.say(CHAT, model="openai.gpt-oss-120b-1:0")
        self.assertEqual(self.cloud.requests[-1].uri, b"/openai/v1/chat/completions")
        self.assertEqual(answer.status, 404)  # this cloud does not have them
        self.assertIn("unknown operation", answer.body.decode())

    def test_bearer(self) -> None:
        """With a Bedrock API key requests are not signed; a client's own such key comes first."""
        for api in BASES:
            self.start_at(api, auth="bearer", api_key="ABSKconfigured-0123456789")
            self.cloud.bearer = "ABSKconfigured-0123456789"
            self.assertEqual(self.say().status, 200)
            self.assertFalse(self.cloud.requests[-1].headers.hasHeader("x-amz-date"))
            self.cloud.bearer = "bedrock-api-key-own-0123456789"
            self.assertEqual(
                self.say(headers={"x-api-key": "", "Authorization": f"Bearer {self.cloud.bearer}"}).status, 200
            )
            self.assertEqual(self.exchanges[-1].begun.credential_kind, "byok")

    def test_no_credentials(self) -> None:
        """Without credentials the client gets 503, which says so, as the report does; nothing is sent."""
        os.environ.pop("AWS_ACCESS_KEY_ID")
        for api in BASES:
            self.start_at(api)
            status, _, words = self.error(self.say())
            self.assertEqual((status, words.startswith("no credentials for aws: ")), (503, True), words)
            self.assertNotEqual(self.bridge.credentials()["aws"], "ok")
            self.assertEqual((self.cloud.requests, self.exchanges), ([], []))
            os.environ["AWS_ACCESS_KEY_ID"] = KEYS.access_key
            self.network.advance(10)
            self.assertEqual((self.say().status, self.bridge.credentials()), (200, {"aws": "ok"}))
            os.environ.pop("AWS_ACCESS_KEY_ID")
            self.recorder.interceptions.clear()

    def test_untouched(self) -> None:
        """The door that speaks Anthropic's API gets the client's own bytes, flags and query."""
        self.start_at("messages", models={})
        self.cloud.models.add(MODEL)  # type: ignore[attr-defined]
        self.say(path="/aws/v1/messages?beta=true", headers={"anthropic-beta": KNOWN_BETAS[0] + " "})
        [request] = self.cloud.requests
        self.assertEqual(request.body, MESSAGES.body("ping", model=MODEL))
        self.assertEqual((request.uri, flags(request)), (b"/anthropic/v1/messages?beta=true", [KNOWN_BETAS[0]]))


class InvokeTests(BedrockTestCase):
    """The door with a framing of its own."""

    def test_request(self) -> None:
        """What Anthropic's API has in members and headers stands in the URL and in other members."""
        self.start_at("invoke")
        self.say(stream=True, path="/aws/v1/messages?beta=true", headers={"anthropic-beta": ", ".join(KNOWN_BETAS)})
        [request], [document] = self.cloud.requests, self.documents()
        self.assertEqual(request.uri, f"/model/{ID}/invoke-with-response-stream".encode())
        self.assertEqual(
            (document["anthropic_version"], document["anthropic_beta"]), ("bedrock-2023-05-31", list(KNOWN_BETAS))
        )
        self.assertEqual(document["messages"], [{"role": "user", "content": "ping"}])

    def test_versions(self) -> None:
        """A client's version goes on if Bedrock knows it; the configured one comes first."""
        for sent, configured, version in (
            ("2026-10-21", "", "2026-10-21"),
            ("2023-06-01", "", "bedrock-2023-05-31"),
            ("2026-10-21", "bedrock-2023-05-31", "bedrock-2023-05-31"),
        ):
            self.start_at("invoke", anthropic_version=configured)
            self.assertEqual(self.say(headers={"anthropic-version": sent}).status, 200)
            self.assertEqual(self.documents()[-1]["anthropic_version"], version)

    def test_arn(self) -> None:
        """The slash of an ARN stands in the URL as ``%2F``, and the signature is right."""
        arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123"
        self.start_at("invoke", models={".*": arn})
        self.cloud.models.add(arn)  # type: ignore[attr-defined]
        self.assertEqual(self.say().status, 200)
        self.assertEqual(self.cloud.requests[-1].uri.decode(), f"/model/{arn.replace('/', '%2F')}/invoke")
        self.assertEqual(unquote(self.cloud.requests[-1].uri.decode()), f"/model/{arn}/invoke")

    def test_exceptions(self) -> None:
        """An exception in the middle of a stream reaches the client as an error event of Anthropic's."""
        for name, kind in (
            ("throttlingException", "rate_limit_error"),
            ("modelTimeoutException", "timeout_error"),
            ("serviceUnavailableException", "overloaded_error"),
            ("internalServerException", "api_error"),
        ):
            self.start_at("invoke")
            self.cloud.exception = (name, "It was too much.")  # type: ignore[attr-defined]
            self.cloud.say(REPLY)
            answer = self.say(stream=True)
            data = bytes(answer.body).rpartition(b"event: error\ndata: ")[2]
            self.assertEqual(orjson.loads(data)["error"], {"type": kind, "message": "It was too much."})
            self.assertTrue(bytes(answer.body).startswith(b"event: message_start\n"))
            self.assertEqual(self.exchanges[-1].ended.status, "failed")  # type: ignore[union-attr]
            self.assertEqual(self.exchanges[-1].ended.error, kind)  # type: ignore[union-attr]

    def test_damaged(self) -> None:
        """A wrong checksum and a cut in a message end the answer as an error, and never as a whole answer."""
        for damage in (lambda stream: stream[:-30] + b"\0" + stream[-29:], lambda stream: stream[:-5]):
            self.start_at("invoke")
            self.cloud.damage = damage  # type: ignore[attr-defined]
            answer = self.say(stream=True)
            self.assertIn(b'event: error\ndata: {"type":"error","error":{"type":"api_error"', bytes(answer.body))
            self.assertNotIn(b"message_stop", answer.body)
            self.assertEqual(self.exchanges[-1].ended.status, "failed")  # type: ignore[union-attr]

    def test_packed(self) -> None:
        """A proxy on the way may pack the event stream."""
        self.start_at("invoke")
        events = b'event: ping\ndata: {"type":"ping"}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        headers = {"content-type": "application/vnd.amazon.eventstream", "content-encoding": "gzip"}
        self.cloud.say(RawReply(headers=headers, chunks=[gzip.compress(chunks_of(events))]))
        self.assertEqual(bytes(self.say(stream=True).body), events)

    def test_user_profile(self) -> None:
        """The header of a user's profile becomes a member of the body, as Anthropic's SDK has it."""
        self.start_at("invoke")
        self.assertEqual(self.say(headers={"anthropic-user-profile-id": "up_1"}).status, 200)
        self.assertEqual(self.documents()[-1]["user_profile_id"], "up_1")
        self.assertFalse(self.cloud.requests[-1].headers.hasHeader("anthropic-user-profile-id"))


class FailoverTests(BedrockTestCase):
    """A cloud that takes over for Anthropic."""

    def test_takes_over(self) -> None:
        """A conversation's first request goes on at the cloud, in its names and signed; the row has its price."""
        for api in BASES:
            self.cloud = ScriptedBedrock()
            self.network.serve(CLOUD_PORT, quiet_site(self.cloud, self.network))
            aws = {"name": "aws", "region": "eu-central-1", "api": api, "models": NAMES, "base_url": BASES[api]}
            first = AnthropicProvider(base_url=GATEWAY_UPSTREAM, api_key="k", byok="ignore", fallback=("aws",))
            bridge = RequestBridge(
                [first, BedrockProvider(**aws)],  # type: ignore[arg-type]
                self.recorder,
                prices=cloud_prices(),
                reactor=self.network,
            )
            self.started.append((bridge, GatewaySite(bridge, **self.limits, reactor=self.network)))
            self.network.serve(GATEWAY_PORT, self.started[-1][1])
            self.provider.say(RawReply(status=529, headers={}, chunks=[b"{}"]))
            self.cloud.say(REPLY)
            answer = self.say(path="/anthropic/v1/messages")
            self.assertEqual((answer.status, len(self.cloud.requests)), (200, 1), bytes(answer.body))
            begun, [usage] = self.exchanges[-1].begun, self.exchanges[-1].usages
            self.assertEqual(
                (begun.provider, begun.provider_name, begun.credential_hint), ("bedrock", "aws", "AKID...56")
            )
            self.assertEqual(begun.metadata["fallback_from"], "anthropic")
            self.assertEqual(usage.cost_nanousd, 410_190)  # at the prices of the region
            self.assertEqual(usage.metadata["invoked_model"], f"anthropic.{MODEL}" if api == "mantle" else ID)

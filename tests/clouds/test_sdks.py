"""The vendors' SDKs in front of clouds, on sockets, with credentials that are looked up in threads."""

import os
from typing import Any

import anthropic
import openai
import orjson
from twisted.internet import reactor

from aibridge import RequestBridge
from aibridge.clouds.bearer import Token
from aibridge.clouds.lookup import Found
from aibridge.providers import vertex
from aibridge.providers.azure import AzureProvider
from aibridge.providers.bedrock import BedrockProvider
from aibridge.providers.foundry import FoundryProvider
from aibridge.providers.vertex import VertexProvider
from aibridge.testing import FakeProvider, LoopbackServer, Reply, ToolCall, Usage

from ..chain.toolbox import ScriptedToolbox
from ..integration.gateway import GatewayTestCase, on_asyncio
from .gateway import MODEL
from .scripted import KEYS, KNOWN_BETAS, ScriptedBedrock, ScriptedCloud, ScriptedFoundry, ScriptedVertex, flags

ASKED: Any = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "ping"}]}
NAMES = {"^claude-(.*)$": "eu.anthropic.claude-{1}-v1:0"}
REPLY = Reply(text="Es wäre schön.", usage=Usage(input=11, output=22))
CALL = Reply(tool_calls=[ToolCall("bmcp_sky_now", {}, id="c1")])


class _OpenAI(FakeProvider):
    """OpenAI's API below Azure's paths."""

    def render(self, request: Any) -> int:
        request.postpath = request.uri.partition(b"?")[0].split(b"/")[-1:]
        if request.postpath == [b"completions"]:
            request.postpath = [b"chat", b"completions"]
        return super().render(request)


async def _stream(client: Any, asked: Any) -> Any:
    """The message of a stream."""
    async with client.messages.stream(**asked) as streamed:
        return await streamed.get_final_message()


class CloudSDKTests(GatewayTestCase):
    """A gateway before all clouds."""

    async def setUp(self) -> None:
        super().setUp()
        keys = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key}
        self.patch(os, "environ", {"HOME": "/nonexistent", "PATH": os.environ["PATH"], **keys})
        token = Found(Token(b"Bearer ya29.first-token-of-the-test", "ya29...st"))
        self.patch(vertex, "find_google_token", lambda: token)
        self.openai = _OpenAI(clock=reactor)
        clouds = [ScriptedBedrock(), ScriptedVertex(), ScriptedFoundry(), self.openai]
        bedrock, google, foundry, azure = [await self.start_cloud(cloud) for cloud in clouds]
        aws: Any = {"region": "eu-central-1", "models": NAMES}
        providers = [
            BedrockProvider(name="messages", api="messages", base_url=f"{bedrock}/anthropic", **aws),
            BedrockProvider(name="mantle", api="mantle", base_url=f"{bedrock}/mantle/anthropic", **aws),
            BedrockProvider(name="invoke", api="invoke", base_url=bedrock, **aws),
            VertexProvider(project="proj-1", region="europe-west1", base_url=f"{google}/v1"),
            FoundryProvider(base_url=f"{foundry}/anthropic", api_key=ScriptedFoundry.key, byok="ignore"),
            AzureProvider(base_url=f"{azure}/openai/v1", api_key="azure-key-0123456789", byok="ignore"),
        ]
        bridge = RequestBridge(providers, self.recorder, toolbox=ScriptedToolbox("now"), reactor=reactor)
        self.addCleanup(bridge.shutdown)
        self.url = self.listen(bridge)
        self.clouds: dict[str, Any] = dict(
            zip(("messages", "mantle", "invoke", "vertex", "foundry"), [clouds[0]] * 3 + clouds[1:3], strict=True)
        )

    async def start_cloud(self, cloud: Any) -> str:
        """The URL of a cloud."""
        server = LoopbackServer(reactor, cloud)
        self.addCleanup(server.stop)
        return await server.start()

    def client(self, kind: Any, **options: Any) -> Any:
        """A client, which is closed at the end."""
        made = kind(max_retries=0, **options)
        self.addCleanup(lambda: on_asyncio(made.close()))
        return made

    async def converse(self, client: Any, cloud: ScriptedCloud) -> None:
        """A stream and a whole answer, each after a round with an injected tool."""
        cloud.say(CALL, REPLY, CALL, REPLY)

        for ask in (_stream(client, ASKED), client.messages.create(**ASKED)):
            message = await on_asyncio(ask)
            self.assertEqual([block.text for block in message.content], ["Es wäre schön."])
            self.assertEqual((message.model, message.stop_reason), (MODEL, "end_turn"))
        self.assertEqual(cloud.replies, [])

    async def test_anthropics(self) -> None:
        """Anthropic's plain SDK has its answers of every cloud; all that is recorded is right."""
        for name, cloud in self.clouds.items():
            await self.converse(
                self.client(anthropic.AsyncAnthropic, api_key="sk-dummy", base_url=f"{self.url}/{name}"), cloud
            )
            begun, ended = self.exchanges[-1].begun, self.exchanges[-1].ended
            kind = "bedrock" if name in ("messages", "mantle", "invoke") else name
            self.assertEqual((begun.provider, begun.provider_name, begun.model), (kind, name, MODEL))
            self.assertEqual(
                (begun.credential_kind, ended.status, ended.upstream_requests), ("centralized", "completed", 2)
            )
            self.assertEqual([row.output_tokens for row in self.exchanges[-1].usages][-1], 22)

    async def test_anthropics_errors(self) -> None:
        """Refusals of clouds raise the SDK's own classes, with the cloud's words."""
        for name in self.clouds:
            client = self.client(anthropic.AsyncAnthropic, api_key="sk-dummy", base_url=f"{self.url}/{name}")
            asked = {**ASKED, "model": "claude-unknown"}
            if name == "foundry":  # it has a deployment for every name
                continue
            error = await self.assertFailure(on_asyncio(client.messages.create(**asked)), anthropic.APIStatusError)
            self.assertIn(error.status_code, (400, 404))
            self.assertTrue(error.body["error"]["message"])

    async def test_foundrys(self) -> None:
        """The SDK that is made for Foundry works, too."""
        client = self.client(anthropic.AsyncAnthropicFoundry, api_key="sk-dummy", base_url=f"{self.url}/foundry")
        await self.converse(client, self.clouds["foundry"])

    async def test_amazons(self) -> None:
        """The SDK that is made for Bedrock has its framing of streams, from each door; its signature goes no further."""
        for name in ("messages", "mantle", "invoke"):
            client = self.client(
                anthropic.AsyncAnthropicBedrock,
                base_url=f"{self.url}/{name}",
                aws_access_key="AKIDOTHER",
                aws_secret_key="other",
                aws_region="us-east-1",
            )
            cloud = self.clouds[name]
            for model in (MODEL, f"eu.anthropic.{MODEL}-v1:0"):
                cloud.say(CALL, REPLY, CALL, REPLY)
                asked = {**ASKED, "model": model, "extra_headers": {"anthropic-beta": KNOWN_BETAS[0]}}
                for ask in (_stream(client, asked), client.messages.create(**asked)):
                    message = await on_asyncio(ask)
                    self.assertEqual([block.text for block in message.content], ["Es wäre schön."])
                self.assertEqual(self.exchanges[-1].begun.model, model)
                self.assertEqual(self.exchanges[-1].ended.status, "completed")
            sent = cloud.requests[-1]
            self.assertIn(KNOWN_BETAS[0], flags(sent) or orjson.loads(sent.body)["anthropic_beta"])

    async def test_amazons_errors(self) -> None:
        """An exception in the middle of a stream reaches Amazon's SDK as one."""
        client = self.client(
            anthropic.AsyncAnthropicBedrock,
            base_url=f"{self.url}/invoke",
            aws_access_key="AKIDOTHER",
            aws_secret_key="other",
            aws_region="us-east-1",
        )
        self.clouds["invoke"].exception = ("throttlingException", "Too many tokens.")
        error = await self.assertFailure(on_asyncio(_stream(client, ASKED)), anthropic.APIStatusError)
        self.assertIn("Too many tokens.", str(error))

    async def test_googles(self) -> None:
        """The SDK that is made for Vertex works, too; the token that it was given is not Google's, and is dropped."""
        client = self.client(
            anthropic.AsyncAnthropicVertex,
            base_url=f"{self.url}/vertex",
            project_id="any",
            region="anywhere",
            access_token="made-up",
        )
        await self.converse(client, self.clouds["vertex"])
        counted = await on_asyncio(client.messages.count_tokens(model=MODEL, messages=ASKED["messages"]))
        self.assertEqual(counted.input_tokens, 7)

    async def test_openais(self) -> None:
        """OpenAI's plain SDK, and the one that is made for Azure."""
        plain = self.client(openai.AsyncOpenAI, api_key="sk-dummy", base_url=f"{self.url}/azure/v1")
        azure = self.client(
            openai.AsyncAzureOpenAI, api_key="sk-dummy", azure_endpoint=f"{self.url}/azure", api_version="2025-04-01"
        )
        for client in (plain, azure):
            self.openai.say(CALL, REPLY, CALL, REPLY)
            made = await on_asyncio(client.chat.completions.create(model="gpt-5.5", messages=ASKED["messages"]))
            self.assertEqual(made.choices[0].message.content, "Es wäre schön.")
            response = await on_asyncio(client.responses.create(model="gpt-5.5", input="ping"))
            self.assertEqual(response.output_text, "Es wäre schön.")
            self.assertEqual(self.exchanges[-1].begun.provider, "azure")
        self.assertEqual(
            {request.headers.getRawHeaders("api-key")[0] for request in self.openai.requests}, {"azure-key-0123456789"}
        )

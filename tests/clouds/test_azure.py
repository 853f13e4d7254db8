"""Azure OpenAI, Foundry and Copilot."""

import gzip
from typing import Any

import orjson

from aibridge import AnthropicProvider
from aibridge.clouds.bearer import Token
from aibridge.clouds.lookup import Found
from aibridge.providers import azure, foundry
from aibridge.providers.azure import AzureProvider
from aibridge.providers.copilot import CopilotProvider
from aibridge.providers.foundry import FoundryProvider
from aibridge.settings import InvalidSetting
from aibridge.testing import FakeProvider, Reply, Usage, quiet_site

from ..chain.apis import CHAT, MESSAGES, RESPONSES
from .gateway import CLOUD_PORT, UPSTREAM, CloudTestCase
from .scripted import ScriptedFoundry

KEY = "azure-key-0123456789abcdef"
JWT = "eyJhbGciOi.token-of-entra.x"


class _Azure(FakeProvider):
    """OpenAI's API at any path that ends as its own paths do."""

    def render(self, request: Any) -> int:
        path = request.uri.partition(b"?")[0]
        tail = next(
            (
                end
                for end in (b"chat/completions", b"embeddings", b"responses", b"models", b"messages")
                if path.endswith(end)
            ),
            b"",
        )
        request.postpath = tail.split(b"/")
        return super().render(request)


class AzureTestCase(CloudTestCase):
    """A gateway before a server of OpenAI's API."""

    def serve_openai(self, provider: Any) -> None:
        self.openai = _Azure(clock=self.network)
        self.serve(self.openai, provider)  # type: ignore[arg-type]
        self.network.serve(CLOUD_PORT, quiet_site(self.openai, self.network))

    def sent(self) -> tuple[str, list[str] | None, list[str] | None]:
        """The target of the last request, and its two headers of credentials."""
        request = self.openai.requests[-1]
        return request.uri.decode(), *(request.headers.getRawHeaders(name) for name in ("api-key", "authorization"))  # type: ignore[return-value]


class AzureTests(AzureTestCase):
    """Type ``azure``."""

    def test_version_1(self) -> None:
        """Without a version requests go to ``/openai/v1``, with the key in Azure's header."""
        self.serve_openai(AzureProvider(base_url=f"{UPSTREAM}/openai/v1", api_key=KEY, byok="ignore"))
        for api, path in ((CHAT, "chat/completions"), (RESPONSES, "responses")):
            for stream in (True, False):
                self.assertEqual(self.say(api, stream=stream, model="gpt-5.5").status, 200)
                self.assertEqual(self.sent(), (f"/openai/v1/{path}", [KEY], None))
        begun = self.exchanges[-1].begun
        self.assertEqual(
            (begun.provider, begun.credential_kind, begun.credential_hint), ("azure", "centralized", "azur...ef")
        )

    def test_deployments(self) -> None:
        """With a version, chat completions go to a deployment: the configured one, or that of the model's name."""
        given = {"base_url": f"{UPSTREAM}/openai", "api_key": KEY, "byok": "ignore", "api_version": "2025-04-01"}
        for changes, deployment in (
            ({}, "gpt%2F5"),
            ({"models": {"^gpt/(.*)$": "my-{1}"}}, "my-5"),
            ({"deployment": "all"}, "all"),
        ):
            self.serve_openai(AzureProvider(**{**given, **changes}))  # type: ignore[arg-type]
            self.say(CHAT, model="gpt/5")
            self.assertEqual(
                self.sent()[0], f"/openai/deployments/{deployment}/chat/completions?api-version=2025-04-01"
            )
            self.say(RESPONSES, model="gpt/5")
            self.assertEqual(self.sent()[0], "/openai/responses?api-version=2025-04-01")

    def test_embeddings(self) -> None:
        """Embeddings go to their deployment as well, whichever path the client has."""
        self.serve_openai(AzureProvider(base_url=f"{UPSTREAM}/openai", api_key=KEY, byok="ignore", api_version="2025"))
        for path in ("/azure/v1/embeddings", "/azure/openai/deployments/small/embeddings"):
            self.say(CHAT, path=path, model="small")
            self.assertEqual(self.sent()[0], "/openai/deployments/small/embeddings?api-version=2025")

    def test_azures_client(self) -> None:
        """Azure's own client names the deployment in its path, and a version of the API, which is kept if there is one."""
        self.serve_openai(AzureProvider(base_url=f"{UPSTREAM}/openai/v1", api_key=KEY, byok="ignore"))
        path = "/azure/openai/deployments/gpt/chat/completions?api-version=2025-01-01&x=1"
        self.assertEqual(self.say(CHAT, path=path).status, 200)
        self.assertEqual(self.sent()[0], "/openai/v1/chat/completions?x=1")
        self.assertEqual(orjson.loads(self.openai.requests[-1].body)["model"], "gpt")
        self.serve_openai(AzureProvider(base_url=f"{UPSTREAM}/openai", api_key=KEY, byok="ignore", api_version="2025"))
        for model in ("gpt", "another"):
            self.assertEqual(self.say(CHAT, path=path, model=model).status, 200)
            self.assertEqual(self.sent()[0], "/openai/deployments/gpt/chat/completions?api-version=2025-01-01&x=1")
            self.assertEqual(self.exchanges[-1].begun.model, "gpt")
        self.serve_openai(
            AzureProvider(base_url=f"{UPSTREAM}/openai/v1", api_key=KEY, byok="ignore", models={"^gpt-5$": "gpt"})
        )
        for model, status in (("gpt-5", 200), ("gpt", 200), ("other", 400)):
            self.assertEqual(self.say(CHAT, path=path.replace("/gpt/", f"/{model}/")).status, status)
            self.assertEqual(orjson.loads(self.openai.requests[-1].body)["model"], "gpt")
        client = self.connect()
        packed = gzip.compress(b'{"messages": [{"role": "user", "content": "ping"}]}')
        client.send("POST", path, packed, {"Content-Encoding": "gzip"})
        self.network.wait(1)
        self.assertEqual((client.answer.status, self.exchanges[-1].begun.model), (200, "gpt"))
        client = self.connect()
        client.send("POST", path, b"[]")
        self.network.wait(1)
        self.assertEqual(client.answer.status, 400)

    def test_own(self) -> None:
        """A client's own key or token goes in the header in which Azure reads it."""
        self.serve_openai(AzureProvider(base_url=f"{UPSTREAM}/openai/v1"))
        self.say(CHAT, headers={"Authorization": "Bearer own-key-0123456789", "x-api-key": ""})
        self.assertEqual(self.sent()[1:], (["own-key-0123456789"], None))
        self.say(CHAT, headers={"Authorization": f"Bearer {JWT}", "x-api-key": ""})
        self.assertEqual(self.sent()[1:], (None, [f"Bearer {JWT}"]))
        self.assertEqual(self.exchanges[-1].begun.credential_kind, "byok")
        self.assertEqual(self.say(CHAT, headers={"Authorization": "", "x-api-key": ""}).status, 401)

    def test_entra(self) -> None:
        """With Entra each request has a token for Azure's scope."""
        scopes = []

        def find(scope: str) -> Found[Token]:
            scopes.append(scope)
            return Found(Token(f"Bearer {JWT}".encode(), "eyJh...x"))

        self.patch(azure, "find_entra_token", find)
        self.serve_openai(AzureProvider(base_url=f"{UPSTREAM}/openai/v1", auth="entra", byok="ignore"))
        self.assertEqual(self.say(CHAT).status, 200)
        self.assertEqual(
            (self.sent()[1:], scopes), ((None, [f"Bearer {JWT}"]), ["https://cognitiveservices.azure.com/.default"])
        )

    def test_settings(self) -> None:
        """Settings that can't be used are refused by name."""
        for settings, name in (
            ({}, "resource"),
            ({"resource": "a.b"}, "resource"),
            ({"resource": "a", "deployment": "d"}, "deployment"),
        ):
            error = self.assertRaises(InvalidSetting, AzureProvider, **settings)
            self.assertEqual(error.name, name)
        self.assertEqual(AzureProvider(resource="r").base_url, "https://r.openai.azure.com/openai/v1")
        self.assertEqual(AzureProvider(resource="r", api_version="v").base_url, "https://r.openai.azure.com/openai")


class FoundryTests(CloudTestCase):
    """Type ``foundry``."""

    def test_key(self) -> None:
        """The key goes in both of Foundry's headers, and answers pass as they are."""
        cloud = ScriptedFoundry()
        self.serve(cloud, FoundryProvider(base_url=f"{UPSTREAM}/anthropic", api_key=cloud.key, byok="ignore"))
        for stream in (True, False):
            self.cloud.say(Reply(text="Hello.", usage=Usage(input=11, output=22)))
            self.assertEqual(self.say(stream=stream).status, 200)
        self.assertEqual(orjson.loads(self.cloud.requests[-1].body)["model"], "claude-sonnet-4-5-20250929")
        self.assertEqual(self.cloud.requests[-1].body, MESSAGES.body("ping", model="claude-sonnet-4-5-20250929"))
        self.assertEqual(self.exchanges[-1].begun.provider, "foundry")
        self.assertEqual(self.say(path="/foundry/v1/messages/count_tokens").json, {"input_tokens": 7})
        self.assertEqual(self.error(self.say(path="/foundry/v1/models"))[:2], (404, "not_found_error"))

    def test_own(self) -> None:
        """A client's own key goes in both headers, whichever it used; a wrong one is refused in Anthropic's shape."""
        cloud = ScriptedFoundry()
        self.serve(cloud, FoundryProvider(base_url=f"{UPSTREAM}/anthropic"))
        for headers in (
            {"Authorization": f"Bearer {cloud.key}", "x-api-key": ""},
            {"Authorization": "", "x-api-key": cloud.key},
            {"Authorization": "", "x-api-key": "", "api-key": cloud.key},
        ):
            self.assertEqual(self.say(headers=headers).status, 200)
        self.assertEqual(self.error(self.say())[:2], (401, "authentication_error"))

    def test_entra(self) -> None:
        """With Entra each request has a token for Foundry's scope, and no key."""
        scopes = []

        def find(scope: str) -> Found[Token]:
            scopes.append(scope)
            return Found(Token(f"Bearer {JWT}".encode(), "eyJh...x"))

        self.patch(foundry, "find_entra_token", find)
        cloud = ScriptedFoundry()
        cloud.token = JWT
        self.serve(cloud, FoundryProvider(base_url=f"{UPSTREAM}/anthropic", auth="entra", byok="ignore"))
        self.assertEqual((self.say().status, scopes), (200, ["https://ai.azure.com/.default"]))
        self.assertEqual(self.exchanges[-1].begun.credential_hint, "eyJh...x")

    def test_learns(self) -> None:
        """A field that Foundry refuses costs one 400 in all."""
        cloud = ScriptedFoundry()
        self.serve(cloud, FoundryProvider(base_url=f"{UPSTREAM}/anthropic", api_key=cloud.key, byok="ignore"))
        for _ in range(2):
            self.assertEqual(self.say(new_member=1).status, 200)
        self.assertEqual(len(self.cloud.requests), 3)


class CopilotTests(AzureTestCase):
    """Type ``copilot``."""

    def test_own_token_only(self) -> None:
        """The user's own bearer token goes on, alone, with the headers that Copilot asks for; without it: 401."""
        self.serve_openai(CopilotProvider(base_url=UPSTREAM))
        headers = {
            "Authorization": "Bearer ghu_own-token-0123456789",
            "Copilot-Integration-Id": "vscode-chat",
            "Editor-Version": "v/1",
        }
        for path in ("/copilot/chat/completions", "/copilot/v1/chat/completions"):
            self.assertEqual(self.say(CHAT, path=path, headers=headers).status, 200)
            self.assertEqual(self.sent(), ("/chat/completions", None, ["Bearer ghu_own-token-0123456789"]))
        request = self.openai.requests[-1]
        self.assertEqual(request.headers.getRawHeaders("copilot-integration-id"), ["vscode-chat"])
        self.assertEqual(request.headers.getRawHeaders("editor-version"), ["v/1"])
        self.assertFalse(request.headers.hasHeader("x-api-key"))
        self.assertEqual(self.exchanges[-1].begun.credential_kind, "byok")
        answer = self.say(CHAT, path="/copilot/chat/completions", headers={"Authorization": ""})
        self.assertEqual((answer.status, answer.json["error"]["code"]), (401, "invalid_api_key"))

    def test_passed(self) -> None:
        """Routes of Copilot's own clients pass."""
        provider = CopilotProvider()
        for path in ("/models", "/agents/x", "/mcp", "/mcp/", "/mcp/x", "/.well-known/oauth-protected-resource/mcp"):
            route = provider.route(b"GET", path)
            self.assertIsNone(route.format)
            url = f"https://api.githubcopilot.com{path}".encode()
            self.assertEqual(provider.url(path.encode(), b""), url)

    def test_messages(self) -> None:
        """Messages keep their path, and have errors of Anthropic's shape."""
        self.serve_openai(CopilotProvider(base_url=UPSTREAM))
        self.assertEqual(self.say(headers={"Authorization": "Bearer ghu_own-token-0123456789"}).status, 200)
        self.assertEqual(self.sent()[0], "/v1/messages")
        self.assertEqual(self.error(self.say(headers={"Authorization": ""}))[:2], (401, "authentication_error"))

    def test_key(self) -> None:
        """A key of the gateway's own is refused in the configuration."""
        for keys in ({"api_key": "k"}, {"api_keys": ("k", "l")}):
            self.assertEqual([self.assertRaises(InvalidSetting, CopilotProvider, **keys).name], [*keys])

    def test_plain_provider(self) -> None:
        """Providers that take requests as they are adapt nothing."""
        self.assertFalse(AnthropicProvider().adapts)

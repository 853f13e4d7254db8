"""What crosses the gateway and what doesn't: headers and paths, as bytes on the provider's socket."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from ..chain.apis import CHAT, MESSAGES, OWN, SECRET
from .gateway import GatewayTestCase
from .wire import Wire, head

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
FROM_PROVIDER = (
    b"request-id: req_1",
    b"anthropic-ratelimit-tokens-remaining: 9",
    b"openai-processing-ms: 5",
    b"retry-after: 3",
    b"X-Odd: \xff",
)
NOT_FROM_PROVIDER = (
    b"Keep-Alive: timeout=5",
    b"Proxy-Authenticate: Basic",
    b"Trailer: X-Any",
    b"Upgrade: h2c",
    b"X-Hop: 1",
    b"Connection: x-hop",
    b"X-AIBridge-Interception-Id: theirs",
)

CROSS = (
    b"User-Agent: claude-cli/2.1",
    b"anthropic-version: 2023-06-01",
    b"anthropic-beta: a, b",
    b"session_id: 1234",
    b"X-Stainless-Lang: js",
    b"traceparent: 00-1-2-01",
    b"X-Forwarded-User: alice",
    b"X-AI: x",
    b"X-Aibridged: x",
    b"X-Odd: \xff\xc3\xa9",
    b"X-Empty:",
)
"""These arrive with the bytes of their values."""

STAY = (
    b"X-AIBridge-Key: mallory",
    b"X-AIBridge-Interception-Id: mallory",
    b"x-aibridge-anything: mallory",
    b"X_AIBridge_Key: mallory",
    b"X-AI-Bridge-Actor-ID: mallory",
    b"X-AI-BRIDGE-ACTOR-ID: mallory",
    b"x-ai-bridge-actor-metadata-team: mallory",
    b"X_AI_Bridge_Actor_ID: mallory",
    b"X-AI_Bridge-Actor_Metadata-Team: mallory",
    b"Cookie: session=mallory",
    b"cookie: session=mallory",
    b"Proxy-Authorization: Basic mallory",
    b"Proxy-Connection: mallory",
    b"Keep-Alive: mallory",
    b"TE: mallory",
    b"Trailer: mallory",
    b"Upgrade: mallory",
    b"Content_Length: mallory",
    b"Transfer_Encoding: mallory",
    b"X_Api_Key: mallory",
    b"Expect: 100-continue",
    b"Connection: x-named, X_Also\r\nX-Named: mallory\r\nX-Also: mallory",
    b"Connection: ,x-named,\r\nConnection: x-also\r\nX-Named: mallory\r\nx-also: mallory",
)
"""These don't, and nothing of what they say."""

NAMED = (b"authorization", b"x-api-key", b"host", b"content-length", b"x-ai-bridge-actor-id", b"content-type")
"""What a client may name as belonging to its connection without gaining anything."""

ROUTES = {
    b"/openai/v1/models": b"/v1/models",
    b"/openai/v1/models/": b"/v1/models/",
    b"/openai/v1/models/org%2Fmodel": b"/v1/models/org%2Fmodel",
    b"/openai/v1/models/caf%C3%A9?a=%2e%2e//;": b"/v1/models/caf%C3%A9?a=%2e%2e//;",
    b"/openai/v1/models?": b"/v1/models",
    b"/anthropic/v1/models/claude": b"/v1/models/claude",
}
"""A target, and what the provider is asked for."""

NO_ROUTES = (
    b"/",
    b"//",
    b"/openai",
    b"/openai/",
    b"/OpenAI/v1/models",
    b"/openai/V1/models",
    b"/openai/v1/Models",
    b"/%6fpenai/v1/models",
    b"/openai%2fv1/models",
    b"/openai/v1%2fmodels",
    b"/openai/%761/models",
    b"/openai/v1/files",
    b"/openai/v1/models/../files",
    b"/openai/v1/models/..%2ffiles",
    b"/openai/v1/models/%2e%2e/files",
    b"/openai/v1/models/%2E%2e%2Ffiles",
    b"/openai/v1/models/.%2e/files",
    b"/openai/v1/models/./x",
    b"/openai/v1/models/%252e%252e/files",
    b"/openai/v1/models/%25252e%25252e/files",
    b"/openai/v1/models/%c0%ae%c0%ae/files",
    b"/openai/v1/models/%e0%80%ae%e0%80%ae/files",
    b"/openai/v1/models/%c0%af../files",
    b"/openai/v1/models/%ff",
    b"/openai/v1/models//x",
    b"/openai//v1/models",
    b"//openai/v1/models",
    b"/openai/v1/models/;x",
    b"/openai/v1/models;x=/../files",
    b"/openai/v1/models/%3bx",
    b"/openai/v1/models\\..\\files",
    b"/openai/v1/models/%5c..%5cfiles",
    b"/openai/v1/models/x%00",
    b"/openai/v1/models/x%0d%0aX-Any:%20y",
    b"/openai/v1/models/x%23y%3f/../z",
    b"/openai/v1/models#x",
    b"/openai/v1/modelsx",
    b"/openai/v1@evil.test/models",
    b"/openai/@evil.test/v1/models",
    b"/openai/v1/models/..",
    b"/openai/..%2f..%2fadmin",
    b"http://gateway.test/openai/v1/files",
    b"http://evil.test/openai/v1/models/../files",
    b"https://evil.test",
    b"/anthropic/../openai/v1/models",
)
"""Each of them is 404."""


class _Speaking(Protocol):
    """A provider that notes the bytes of each request, and answers all alike."""

    def dataReceived(self, data: bytes) -> None:
        factory: Any = self.factory
        factory.heard += data
        if factory.heard.endswith(factory.awaited):
            self.transport.write(factory.says)  # type: ignore[union-attr]


class CrossingTestCase(GatewayTestCase):
    """A gateway before such a provider."""

    async def setUp(self) -> None:
        super().setUp()
        self.factory: Any = Factory.forProtocol(_Speaking)
        self.factory.noisy = False
        self.factory.says = ANSWER + b"\r\n".join(FROM_PROVIDER + NOT_FROM_PROVIDER) + b"\r\n\r\n{}"
        port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.provider_host = b"127.0.0.1:%d" % port.getHost().port
        self.bridge = self.make_bridge(f"http://127.0.0.1:{port.getHost().port}")
        self.url = self.listen(self.bridge)
        self.wire: Any = await self.connect(self.url, Wire())

    async def ask(self, first: bytes, *lines: bytes, body: bytes = b"") -> tuple[bytes, list[bytes]]:  # type: ignore[override]
        """The request as it arrived at the provider: its first line, and its headers; nothing where none did."""
        self.factory.heard = b""
        self.factory.awaited = b"\r\n\r\n" + body
        before = len(self.wire.answers)
        sized = [b"Content-Length: %d" % len(body)] if body else []
        self.wire.raw(head(*lines, *sized, first=first) + body)
        await self.wire.done(before + 1)
        head_line, *fields = self.factory.heard.partition(b"\r\n\r\n")[0].split(b"\r\n")
        return head_line, fields

    async def of_each_kind(self, *lines: bytes) -> list[list[bytes]]:
        """The headers that arrived: of a request that is recorded, and of one that is passed through, for each API."""
        arrived = []
        for api in (MESSAGES, CHAT):
            for first, body in (
                (b"POST %b HTTP/1.1" % api.path.encode(), api.body()),
                (b"GET /%b/v1/models HTTP/1.1" % api.provider.encode(), b""),
            ):
                _, fields = await self.ask(first, *lines, body=body)
                self.assertEqual(self.wire.answer.status, 200, lines)
                arrived.append(fields)
        return arrived


class HeaderTests(CrossingTestCase):
    """Headers, each on every kind of route."""

    async def test_cross(self) -> None:
        """What isn't the gateway's business arrives, byte for byte."""
        for fields in await self.of_each_kind(*CROSS):
            values = {(name.lower(), value.strip()) for name, _, value in (field.partition(b":") for field in fields)}
            for line in CROSS:
                name, _, value = line.partition(b":")
                self.assertIn((name.lower(), value.strip()), values)

    async def test_stay(self) -> None:
        """What is, doesn't, however it is written."""
        plain = await self.of_each_kind()
        for line in STAY:
            self.assertEqual([sorted(each) for each in await self.of_each_kind(line)], [*map(sorted, plain)], line)

    async def test_named_by_connection(self) -> None:
        """Naming what the gateway itself adds takes nothing of it away, nor of the host or the length."""
        for name in NAMED:
            for fields in await self.of_each_kind(b"Connection: " + name, b"X-Api-Key: " + OWN.encode()):
                names = [field.partition(b":")[0].lower() for field in fields]
                self.assertEqual(names.count(b"x-api-key"), 1)
                self.assertIn(b"Host: " + self.provider_host, fields)
                self.assertNotIn(b"connection", names)
                self.assertLessEqual(names.count(b"content-length"), 1)

    async def test_credentials(self) -> None:
        """One credential arrives: the client's own in its header, or else the configured one in the usual one."""
        for sent in ([], [b"Authorization: Bearer " + OWN.encode()], [b"X-API-KEY: " + OWN.encode()]):
            messages, models, chat, _ = await self.of_each_kind(*sent)
            wanted = sent[0].lower() if sent else b"x-api-key: " + SECRET.encode()
            for fields in (messages, models):
                self.assertEqual([each.lower() for each in fields if b"sk-" in each], [wanted])
            wanted = sent[0].lower() if sent else b"authorization: bearer " + SECRET.encode()
            self.assertEqual([each.lower() for each in chat if b"sk-" in each], [wanted])

    async def test_to_the_client(self) -> None:
        """Of the provider's headers all arrive but those of its connection."""
        for _ in await self.of_each_kind():
            continue
        for answer in self.wire.answers:
            found = {(name.lower(), value) for name, values in answer.headers.getAllRawHeaders() for value in values}
            for line in FROM_PROVIDER:
                name, _, value = line.partition(b": ")
                self.assertIn((name.lower(), value), found)
            names = {name for name, _ in found}
            self.assertFalse(names & {line.partition(b":")[0].lower() for line in NOT_FROM_PROVIDER[:-1]})
            self.assertNotIn((b"x-aibridge-interception-id", b"theirs"), found)
            self.assertFalse(names & {b"server", b"connection"})


class PathTests(CrossingTestCase):
    """Targets, as they stand in the request's first line."""

    async def test_routes(self) -> None:
        """Known ones arrive as they were written."""
        for target, wanted in ROUTES.items():
            first, _ = await self.ask(b"GET %b HTTP/1.1" % target)
            self.assertEqual(first, b"GET %b HTTP/1.1" % wanted)

    async def test_no_routes(self) -> None:
        """Anything else is 404, however it is written; the provider hears nothing of it."""
        for target in NO_ROUTES:
            for method in (b"GET", b"POST"):
                first, _ = await self.ask(b"%b %b HTTP/1.1" % (method, target), b"Content-Length: 0")
                self.assertEqual((self.wire.answer.status, first), (404, b""), target)

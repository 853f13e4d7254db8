"""Routes that pass through: nothing of them is read, changed or recorded."""

import gzip
from typing import Any

from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from aibridge.http.client_request import BytesProducer
from aibridge.testing import LoopbackServer

from ..chain.apis import OWN, SECRET
from .gateway import GatewayTestCase

GZIPPED = gzip.compress(b'{"data": []}', mtime=0)


class Echo(Resource):
    """A provider that keeps what it is asked, and answers with headers and bytes of its own."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.held: list[Any] = []

    def render(self, request: Any) -> Any:
        self.asked.append((request.method, request.uri, request.requestHeaders, request.content.read()))
        request.responseHeaders.setRawHeaders("x-request-id", ["req_1"])
        request.responseHeaders.setRawHeaders("set-cookie", ["a=1", "b=2"])
        if b"hold" in request.uri:
            request.write(b"data: first\n\n")
            self.held.append(request)
            return NOT_DONE_YET
        if b"missing" in request.uri:
            request.setResponseCode(404)
        if request.method == b"DELETE":
            request.setResponseCode(204)
            return b""
        request.responseHeaders.setRawHeaders("content-type", ["application/json"])
        request.responseHeaders.setRawHeaders("content-encoding", ["gzip"])
        return GZIPPED


class PassthroughTests(GatewayTestCase):
    """Over sockets, with a plain client of HTTP."""

    async def setUp(self) -> None:
        super().setUp()
        self.echo = Echo()
        server = LoopbackServer(reactor, self.echo)
        self.addCleanup(server.stop)
        self.bridge = self.make_bridge(await server.start(), {"passthrough": ["/embeddings"]})
        self.url = self.listen(self.bridge)
        pool = HTTPConnectionPool(reactor, persistent=False)
        self.http = Agent(reactor, pool=pool)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:  # type: ignore[override]
        """An answer, and its body as it came."""
        fields = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        producer = BytesProducer(body) if body else None
        response = await self.http.request(method.encode(), (self.url + path).encode(), fields, producer)
        return response, await readBody(response)

    async def test_get(self) -> None:
        """GET with its query: status, headers and compressed bytes as they were."""
        response, body = await self.ask("GET", "/openai/v1/models?limit=5&after=a%2Fb", Accept_Encoding="gzip, br")
        method, uri, headers, _ = self.echo.asked[0]
        self.assertEqual((method, uri), (b"GET", b"/v1/models?limit=5&after=a%2Fb"))
        self.assertEqual((response.code, body), (200, GZIPPED))
        self.assertEqual(response.headers.getRawHeaders("content-encoding"), ["gzip"])
        self.assertEqual(response.headers.getRawHeaders("x-request-id"), ["req_1"])
        self.assertEqual(response.headers.getRawHeaders("set-cookie"), ["a=1", "b=2"])
        self.assertEqual(headers.getRawHeaders("accept-encoding"), ["gzip, br"])
        self.assertEqual(self.exchanges, [])

    async def test_raw_path(self) -> None:
        """An escape in a path stays one."""
        await self.ask("GET", "/openai/v1/models/org%2Fmodel%20x")
        self.assertEqual(self.echo.asked[0][1], b"/v1/models/org%2Fmodel%20x")

    async def test_head(self) -> None:
        """HEAD: the head of a GET, and no body."""
        response, body = await self.ask("HEAD", "/anthropic/v1/models")
        self.assertEqual((response.code, body), (200, b""))
        self.assertEqual(response.headers.getRawHeaders("content-length"), [str(len(GZIPPED))])

    async def test_post(self) -> None:
        """POST with its body, byte for byte."""
        sent = b'{ "model" : "m", "\\u00e9": 1.0 }'
        _, body = await self.ask("POST", "/anthropic/v1/messages/count_tokens?beta=true", sent)
        self.assertEqual(self.echo.asked[0][::3], (b"POST", sent))
        self.assertEqual((self.echo.asked[0][1], body), (b"/v1/messages/count_tokens?beta=true", GZIPPED))

    async def test_delete(self) -> None:
        """DELETE, and an answer without a body."""
        response, body = await self.ask("DELETE", "/openai/v1/responses/resp_1")
        self.assertEqual(
            (self.echo.asked[0][:2], response.code, body), ((b"DELETE", b"/v1/responses/resp_1"), 204, b"")
        )

    async def test_their_errors(self) -> None:
        """The provider's own errors pass unchanged."""
        response, body = await self.ask("GET", "/openai/v1/responses/missing")
        self.assertEqual((response.code, body), (404, GZIPPED))

    async def test_forwarded(self) -> None:
        """The provider is told for whom, and under which address, it is asked."""
        given = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "gopher", "X_Forwarded_Host": "evil"}
        await self.ask("GET", "/anthropic/v1/models", **given)
        headers = self.echo.asked[0][2]
        self.assertEqual(headers.getRawHeaders("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"])
        self.assertEqual(headers.getRawHeaders("x-forwarded-proto"), ["http"])
        self.assertEqual(headers.getRawHeaders("x-forwarded-host"), [self.url.removeprefix("http://")])

    async def test_credentials(self) -> None:
        """The configured credential, or the client's own in its place."""
        await self.ask("GET", "/anthropic/v1/models")
        await self.ask("GET", "/anthropic/v1/models", Authorization=f"Bearer {OWN}", Cookie="c=1")
        found = [
            (asked[2].getRawHeaders("x-api-key"), asked[2].getRawHeaders("authorization")) for asked in self.echo.asked
        ]
        self.assertEqual(found, [([SECRET], None), (None, [f"Bearer {OWN}"])])
        self.assertFalse(self.echo.asked[1][2].hasHeader("cookie"))

    async def test_configured_routes(self) -> None:
        """A further route that is configured passes, with what is below it."""
        for path in ("/embeddings", "/embeddings/1"):
            response, _ = await self.ask("POST", f"/openai/v1{path}", b"{}")
            self.assertEqual(response.code, 200)
        self.assertEqual([asked[1] for asked in self.echo.asked], [b"/v1/embeddings", b"/v1/embeddings/1"])

    async def test_anything_else(self) -> None:
        """404 outside of the list, and nothing reaches the provider."""
        for path in ("/openai/v1/files", "/openai/v1/embeddingsx", "/anthropic/v1/organizations", "/openai/files"):
            response, _ = await self.ask("GET", path)
            self.assertEqual(response.code, 404)
        self.assertEqual(self.echo.asked, [])

    async def test_streams(self) -> None:
        """An answer arrives as it comes, and its end too."""
        client = await self.connect(self.url)
        client.send("GET", "/openai/v1/responses/hold?stream=true")
        await client.when(lambda: client.answers and client.answer.body)
        self.assertEqual(bytes(client.answer.body), b"data: first\n\n")
        self.echo.held[0].write(b"data: second\n\n")
        self.echo.held[0].finish()
        await client.done()
        self.assertEqual(bytes(client.answer.body), b"data: first\n\ndata: second\n\n")

    async def test_cut(self) -> None:
        """An answer that breaks off never ends in order."""
        client = await self.connect(self.url)
        client.send("GET", "/openai/v1/responses/hold")
        await client.when(lambda: client.answers and client.answer.body)
        self.echo.held[0].channel.transport.abortConnection()
        await client.when(lambda: client.closed)
        self.assertFalse(client.answer.whole)

    async def test_client_leaves(self) -> None:
        """A client that goes ends the provider's side at once."""
        client = await self.connect(self.url)
        client.send("GET", "/openai/v1/responses/hold")
        await client.when(lambda: client.answers and client.answer.body)
        over = self.echo.held[0].notifyFinish()
        client.leave()
        await self.assertFailure(over, Exception)
        await self.until(lambda: self.bridge.in_flight == 0)

    async def test_what_no_url_can_hold(self) -> None:
        """A control character or a fragment in a path or query is the client's mistake, and reaches nobody."""
        for target in ("/openai/v1/models?a=\x7f", "/openai/v1/models?a=\x01", "/openai/v1/models?a#b"):
            client = await self.connect(self.url)
            client.send("GET", target)
            await client.done()
            self.assertIn(client.answer.status, (400, 404))
        self.assertEqual(self.echo.asked, [])

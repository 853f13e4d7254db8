"""What the gateway refuses itself: the status, the API's own shape, and nothing that reaches the provider."""

import gc
import gzip
import zlib
from typing import Any

import zstandard
from twisted.internet.defer import Deferred

from aibridge.testing import Ending, Reply

from .apis import CHAT, MESSAGES, OWN, RESPONSES, Api
from .client import Answer
from .gateway import ChainTestCase


class RefusalContract:
    """What holds in every API."""

    api: Api

    def post(self: Any, body: bytes, path: str | None = None, **headers: str) -> Answer:
        """What is answered to any body."""
        client = self.connect()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        client.send("POST", path or self.api.path, body, fields)
        self.network.settle()
        answer: Answer = client.answer
        return answer

    def assert_refused(self: Any, answer: Answer, status: int, kind: str | None = None) -> None:
        """That status in the API's shape, with no further try wanted; nothing at the provider, nothing recorded."""
        self.assertEqual((answer.status, answer.header("content-type")), (status, "application/json"))
        self.assertEqual(answer.header("x-should-retry"), "false")
        found = self.api.error_of(answer.json)
        self.assertTrue(answer.whole)
        self.assertEqual((self.network.attempts, self.exchanges), (0, []))
        if kind is not None and self.api.provider == "anthropic":
            self.assertEqual(found, kind)

    def test_not_json(self: Any) -> None:
        """400 for a body that is no JSON, empty, nested without end, or not UTF-8."""
        for body in (b"{", b"", b"[" * 100_000, b'{"model":"\xff"}', b"{'model': 'm'}", b'{"model":"m"} x'):
            self.assert_refused(self.post(body), 400, "invalid_request_error")

    def test_not_an_object(self: Any) -> None:
        """400 for a JSON value that is no object."""
        for body in (b"[]", b'"model"', b"null", b"1"):
            self.assert_refused(self.post(body), 400, "invalid_request_error")

    def test_no_model(self: Any) -> None:
        """400 without the name of a model."""
        for body in (b"{}", b'{"model":null}', b'{"model":""}', b'{"model":7}'):
            self.assert_refused(self.post(body), 400, "invalid_request_error")

    def test_unknown_route(self: Any) -> None:
        """404 for what is not known below the provider's name, however its path is written."""
        base = f"/{self.api.provider}"
        paths = [
            "/v1/files",
            "/v1/models/../files",
            "/v1/models/%2e%2e/files",
            "/v1/models/..%2ffiles",
            "/v1/models/%252e%252e/files",
            "/v1//files",
            "/v1/models;x/../files",
            "/v1/models/..\\files",
            "/v1/messagesx",
            "/v1/responses/../files",
            "/v1/models/.%2e/files",
        ]
        for path in paths:
            self.assert_refused(self.post(self.api.body(), base + path), 404, "not_found_error")

    def test_wrong_method(self: Any) -> None:
        """405 for a method that the route doesn't have."""
        for method in ("GET", "PUT", "DELETE"):
            client = self.connect()
            client.send(method, self.api.path)
            self.network.settle()
            self.assert_refused(client.answer, 405)

    def test_websocket(self: Any) -> None:
        """426 at once to a client that would rather have a WebSocket, before anything is asked of it."""
        self.start(authenticate=lambda request: None)
        client = self.connect()
        client.send("GET", self.api.path, b"", {"Connection": "Upgrade", "Upgrade": "websocket"})
        self.network.settle()
        self.assert_refused(client.answer, 426)

    def test_body_too_large_by_its_length(self: Any) -> None:
        """413 before the first byte of a body whose length says that it is too large, without 100 Continue."""
        client = self.connect()
        client.send("POST", self.api.path, b"", {"Content-Length": str(1 << 30), "Expect": "100-continue"})
        self.network.settle()
        self.assert_refused(client.answer, 413, "request_too_large")
        self.assertEqual(client.informed, [])
        self.network.wait(6)
        self.assertTrue(client.closed)

    def test_body_too_large_by_its_chunks(self: Any) -> None:
        """413 in the midst of a body that doesn't say how long it will be."""
        client = self.connect()
        client.send("POST", self.api.path, b"", {"Transfer-Encoding": "chunked"})
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(17):
            client.raw(chunk)
        self.network.settle()
        self.assert_refused(client.answer, 413, "request_too_large")

    def test_just_not_too_large(self: Any) -> None:
        """A body of just the limit is served."""
        body = self.api.body()
        answer = self.post(body + b" " * ((1 << 20) - len(body)))
        self.network.wait(1)
        self.assertEqual((answer.status, len(self.provider.requests[0].body)), (200, 1 << 20))

    def test_headers_too_large(self: Any) -> None:
        """431 for one header, and for many, that are too large together."""
        for headers in ({"X-Large": "x" * 20_000}, {f"X-{number}": "x" * 1000 for number in range(20)}):
            self.assert_refused(self.post(self.api.body(), **headers), 431)

    def test_head_without_an_end(self: Any) -> None:
        """431 as soon as a head is too large, not when it ends."""
        client = self.connect()
        client.raw(f"POST {self.api.path} HTTP/1.1\r\nX-Large: ".encode() + b"x" * 20_000)
        self.network.settle()
        self.assert_refused(client.answer, 431)

    def test_slow_head(self: Any) -> None:
        """A head that takes too long ends its connection."""
        client = self.connect()
        client.raw(f"POST {self.api.path} HTTP/1.1\r\nX-Slow: ".encode())
        self.network.wait(19)
        self.assertFalse(client.closed)
        self.network.wait(8)
        self.assertTrue(client.closed)

    def test_slow_body(self: Any) -> None:
        """So does a body of which nothing more comes; each piece of it gains time."""
        client = self.connect()
        client.send("POST", self.api.path, b"{", {"Content-Length": "100"})
        self.network.wait(50)
        client.raw(b" ")
        self.network.wait(50)
        self.assertFalse(client.closed)
        self.network.wait(20)
        self.assertTrue(client.closed)
        self.assertEqual(self.exchanges, [])

    def test_nobody(self: Any) -> None:
        """401 where nobody is known to ask."""
        self.start(authenticate=lambda request: None)
        self.assert_refused(self.post(self.api.body(), X_Api_Key=OWN), 401, "authentication_error")

    def test_no_credential(self: Any) -> None:
        """401 that names the setting, where neither the client nor the gateway has a credential."""
        self.start({"api_key": None})
        answer = self.post(self.api.body())
        self.assert_refused(answer, 401, "authentication_error")
        self.assertIn(f"providers.{self.api.provider}.api_key", answer.json["error"]["message"])

    def test_over_capacity(self: Any) -> None:
        """503 with Retry-After over so many requests at once; served again as soon as one is over."""
        self.start(max_concurrent_requests=1)
        first = self.ask(self.api, stream=True)
        self.network.settle()
        second = self.post(self.api.body())
        self.assertEqual((second.status, self.api.error_of(second.json)[:1] != ""), (503, True))
        self.assertGreater(int(second.header("retry-after") or 0), 0)
        self.network.wait(1)
        self.assertTrue(first.answer.whole)
        self.assertEqual((self.answer(self.api).status, len(self.provider.requests)), (200, 2))

    def test_draining(self: Any) -> None:
        """503 with Retry-After while it drains; what is in flight comes to its end, and then it is drained."""
        first = self.ask(self.api, stream=True)
        self.network.settle()
        drained = self.bridge.drain(30)
        second = self.post(self.api.body())
        self.assertEqual((second.status, len(self.provider.requests)), (503, 1))
        self.assertTrue(self.api.error_of(second.json))
        self.assertGreater(int(second.header("retry-after") or 0), 0)
        self.assertNoResult(drained)
        self.network.wait(1)
        self.assertTrue(first.answer.whole)
        self.successResultOf(drained)

    def test_drained_at_last(self: Any) -> None:
        """What takes longer than the time it is given is not waited for, and that is no error."""
        self.provider.say(*[_forever()])
        self.ask(self.api)
        self.network.settle()
        drained: Deferred[None] = self.bridge.drain(5)
        self.network.wait(6)
        self.successResultOf(drained)
        self.assertEqual(self.bridge.in_flight, 1)
        self.bridge.stopService()
        self.network.settle()
        del drained
        gc.collect()  # what nobody handled is told when it is thrown away
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_not_waited_for(self: Any) -> None:
        """Who is in a hurry cancels the wait: that is no error, and the exchange goes on to its end."""
        first = self.ask(self.api, stream=True)
        self.network.settle()
        drained = self.bridge.drain(30)
        drained.cancel()
        self.successResultOf(drained)
        self.network.wait(1)
        self.assertEqual((first.answer.whole, self.bridge.in_flight), (True, 0))

    def test_one_ends_the_wait_of_another(self: Any) -> None:
        """Of several who wait for the end, the first to hear of it may call off the others."""
        self.ask(self.api, stream=True)
        self.network.settle()
        first, second = self.bridge.drain(30), self.bridge.drain(30)
        first.addCallback(lambda _: second.cancel())
        self.network.wait(1)
        self.successResultOf(first)
        self.successResultOf(second)

    def test_compressed(self: Any) -> None:
        """Compressed bodies are read through, and passed on as they came."""
        plain = self.api.body("ping")
        for coding, body in (("gzip", gzip.compress(plain)), ("zstd", zstandard.compress(plain))):
            self.post(body, Content_Encoding=coding)
            self.network.wait(1)
            self.assertEqual(self.provider.requests[-1].body, body)
            self.assertEqual(self.provider.requests[-1].headers.getRawHeaders("content-encoding"), [coding])
        self.assertEqual([each.prompts[0].prompt for each in self.exchanges], ["ping"] * 2)

    def test_bombs(self: Any) -> None:
        """413 for what unpacks to more than is allowed, to whatever."""
        bomb = b" " * (1 << 25)
        packed = {"gzip": gzip.compress(bomb), "deflate": zlib.compress(bomb), "zstd": zstandard.compress(bomb)}
        packed["gzip, gzip"] = gzip.compress(packed["gzip"])
        for coding, body in packed.items():
            self.assert_refused(self.post(body, Content_Encoding=coding), 413, "request_too_large")

    def test_not_compressed(self: Any) -> None:
        """400 for a body that isn't what its coding says, is cut, or of a coding that nobody knows."""
        cut = gzip.compress(self.api.body())[:-9]
        for coding, body in (("gzip", b"{}"), ("zstd", b"{}"), ("gzip", cut), ("br", b"{}")):
            self.assert_refused(self.post(body, Content_Encoding=coding), 400, "invalid_request_error")


class MessagesRefusalTests(RefusalContract, ChainTestCase):
    api = MESSAGES


class ChatRefusalTests(RefusalContract, ChainTestCase):
    api = CHAT

    def test_compressed_stream_whose_usage_is_asked_for(self) -> None:
        """Where a member must be added, the body goes on plain."""
        body = self.api.body(stream=True, stream_options=None)
        self.post(gzip.compress(body), Content_Encoding="gzip")
        self.network.wait(1)
        [received] = self.provider.requests
        self.assertFalse(received.headers.hasHeader("content-encoding"))
        self.assertIn(b'"include_usage":true', received.body)


class ResponsesRefusalTests(RefusalContract, ChainTestCase):
    api = RESPONSES


class ElsewhereTests(ChainTestCase):
    """Paths that belong to no provider, and what isn't HTTP."""

    def get(self, target: str, method: str = "GET") -> Answer:
        client = self.connect()
        client.send(method, target)
        self.network.settle()
        return client.answer

    def test_no_provider(self) -> None:
        """404, in a shape in which both kinds of client find a message."""
        for target in ("/", "/nobody/v1/messages", "/anthropicx/v1/messages", "//anthropic/v1/messages"):
            answer = self.get(target)
            self.assertEqual((answer.status, answer.json["type"]), (404, "error"))
            self.assertTrue(answer.json["error"]["message"])

    def test_probes(self) -> None:
        """Clients' probes of Anthropic are answered without a credential and without the provider."""
        self.start(authenticate=lambda request: None)
        for target in ("/anthropic", "/anthropic/", "/anthropic/api/hello"):
            self.assertEqual(self.get(target).status, 200)
        self.assertEqual(self.network.attempts, 0)

    def test_not_http(self) -> None:
        """400, and the connection is closed."""
        client = self.connect()
        client.raw(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        self.network.wait(6)
        self.assertEqual((client.answer.status, client.closed), (400, True))

    def test_idle_connection(self) -> None:
        """A connection on which nothing is asked is closed after a while, without a word."""
        client = self.connect()
        self.network.wait(76)
        self.assertEqual((client.answers, client.closed), ([], True))


def _forever() -> Any:
    return Reply(stop_after=0, ending=Ending.STALL)

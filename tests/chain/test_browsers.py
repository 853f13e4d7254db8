"""Web pages of other sites, whose browsers ask before they send a request and before they show a response."""

from typing import Any

from aibridge.interfaces import Actor
from aibridge.testing import RawReply

from .apis import CHAT, MESSAGES
from .client import Answer
from .gateway import ChainTestCase

PAGE = "https://chat.test"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


class BrowserTestCase(ChainTestCase):
    """A gateway that some pages may use; everyone needs a key."""

    origins: tuple[str, ...] = (PAGE, "http://localhost:5173")

    def start(self, providers: dict[str, Any] | None = None, **settings: Any) -> None:
        super().start(providers, cors_origins=self.origins, authenticate=lambda request: None, **settings)

    def preflight(self, headers: dict[str, str], path: str = MESSAGES.path, method: str = "OPTIONS") -> Answer:
        client = self.connect()
        client.send(method, path, headers=headers)
        self.network.wait(1)
        return client.answer


class PreflightTests(BrowserTestCase):
    """The browser's question, which has no credential."""

    def test_allowed(self) -> None:
        """A configured page may send its method and its headers; nobody else is asked."""
        answer = self.preflight(PREFLIGHT | {"Access-Control-Request-Headers": "x-api-key, anthropic-version"})
        self.assertEqual((answer.status, bytes(answer.body), answer.whole), (204, b"", True))
        self.assertEqual(answer.header("access-control-allow-origin"), PAGE)
        self.assertIn("POST", answer.header("access-control-allow-methods") or "")
        self.assertEqual(answer.header("access-control-allow-headers"), "x-api-key, anthropic-version")
        self.assertIsNone(answer.header("access-control-allow-private-network"))
        self.assertIn("Origin", answer.header("vary") or "")
        self.assertEqual(([*self.provider.requests], self.exchanges), ([], []))

    def test_any_path(self) -> None:
        """Every path is answered: the request itself then gets an error that the page can read."""
        self.assertEqual(self.preflight(PREFLIGHT, "/nowhere").status, 204)

    def test_private_network(self) -> None:
        """A page of the internet that calls a gateway of this network is allowed to, as its browser asks."""
        answer = self.preflight(PREFLIGHT | {"Access-Control-Request-Private-Network": "true"})
        self.assertEqual(answer.header("access-control-allow-private-network"), "true")

    def test_others(self) -> None:
        """Other pages, and requests that are no preflight, get what everyone gets."""
        for headers in (
            PREFLIGHT | {"Origin": "https://evil.test"},
            PREFLIGHT | {"Origin": "https://chat.test.evil.test"},
            PREFLIGHT | {"Origin": "null"},
            {"Access-Control-Request-Method": "POST"},
        ):
            answer = self.preflight(headers)
            self.assertEqual((answer.status, answer.header("access-control-allow-origin")), (405, None))
        self.assertEqual(self.preflight({"Origin": PAGE}).status, 405)

    def test_sent_unasked(self) -> None:
        """What browsers send for any page without asking is refused, unless the page is listed or the gateway's own."""
        ChainTestCase.start(self, cors_origins=self.origins, authenticate=lambda request: Actor("alice"))
        for origin, media_type, status in (
            ("https://evil.test", "text/plain;charset=UTF-8", 403),
            ("null", "multipart/form-data; boundary=b", 403),
            ("https://evil.test", "", 403),
            ("https://evil.test", "text/plain; charset=json", 403),
            ("https://evil.test", "application/json", 200),  # only after a preflight, which was refused
            (PAGE, "text/plain", 200),
            ("http://gateway.test", "text/plain", 200),
            ("", "text/plain", 200),
        ):
            before, client = len(self.provider.requests), self.connect()
            headers = {"Content-Type": media_type} | ({"Origin": origin} if origin else {})
            client.send("POST", MESSAGES.path, MESSAGES.body("ping"), headers)
            self.network.wait(1)
            self.assertEqual((origin, media_type, client.answer.status), (origin, media_type, status))
            self.assertEqual(len(self.provider.requests) - before, status == 200)

    def test_rebound_name(self) -> None:
        """Where nobody is asked for a credential, a page's own name may lead to the gateway, but opens nothing."""
        ChainTestCase.start(self, cors_origins=self.origins)
        for host, origin, status in (
            ("evil.test", "http://evil.test", 403),
            ("evil.test:8080", "http://evil.test:8080", 403),
            ("evil.test", "", 200),  # no page's
            ("127.0.0.1:8080", "http://127.0.0.1:8080", 200),
            ("[::1]", "http://[::1]", 200),
            ("gateway.localhost", "http://gateway.localhost", 200),
        ):
            before, client = len(self.provider.requests), self.connect()
            headers = {"Host": host, "Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
            client.send("POST", MESSAGES.path, MESSAGES.body("ping"), headers)
            self.network.wait(1)
            self.assertEqual((host, origin, client.answer.status), (host, origin, status))
            self.assertEqual(len(self.provider.requests) - before, status == 200)

    def test_off(self) -> None:
        """Without configured pages there are no such headers at all."""
        ChainTestCase.start(self)
        answer = self.preflight(PREFLIGHT)
        self.assertEqual((answer.status, answer.header("access-control-allow-origin")), (405, None))
        self.assertIsNone(self.answer(MESSAGES, headers={"Origin": PAGE}).header("access-control-allow-origin"))


class ResponseTests(BrowserTestCase):
    """What a page may see of its response."""

    def start(self, providers: dict[str, Any] | None = None, **settings: Any) -> None:
        ChainTestCase.start(self, providers, cors_origins=self.origins, **settings)

    def test_exposed(self) -> None:
        """Status, body and all headers, streamed or not; what the provider says about pages is not passed on."""
        for api in (MESSAGES, CHAT):
            for stream in (False, True):
                self.provider.say(
                    RawReply(
                        headers={
                            "Content-Type": "text/event-stream" if stream else "application/json",
                            "Request-Id": "req_1",
                            "Retry-After": "1",
                            "Access-Control-Allow-Origin": "https://console.test",
                            "Access-Control-Expose-Headers": "nothing",
                            "Vary": "Accept",
                        },
                        chunks=[b"data: {}\n\n" if stream else b"{}"],
                    )
                )
                answer = self.answer(api, stream=stream, headers={"Origin": "http://LOCALHOST:5173"})
                self.assertEqual(answer.headers.getRawHeaders("access-control-allow-origin"), ["http://LOCALHOST:5173"])
                exposed = (answer.header("access-control-expose-headers") or "").split(", ")
                self.assertLess({"x-aibridge-interception-id", "request-id", "retry-after"}, {*exposed})
                self.assertNotIn("access-control-allow-origin", exposed)
                self.assertEqual(answer.headers.getRawHeaders("vary"), ["Accept", "Origin"])

    def test_errors(self) -> None:
        """The gateway's own errors can be read by the page too."""
        client = self.connect()
        client.send("POST", "/nowhere", headers={"Origin": PAGE})
        self.network.wait(1)
        self.assertEqual((client.answer.status, client.answer.header("access-control-allow-origin")), (404, PAGE))
        self.assertIn("x-should-retry", client.answer.header("access-control-expose-headers") or "")

    def test_passed_through(self) -> None:
        """So can what is passed through."""
        client = self.connect()
        client.send("GET", "/anthropic/v1/models", headers={"Origin": PAGE})
        self.network.wait(1)
        self.assertEqual(client.answer.header("access-control-allow-origin"), PAGE)


class AnyPageTests(BrowserTestCase):
    """A gateway for every page."""

    origins = ("*",)

    def test_any(self) -> None:
        """A star allows every origin, and is said back as such."""
        answer = self.preflight(PREFLIGHT | {"Origin": "https://anything.test"})
        self.assertEqual((answer.status, answer.header("access-control-allow-origin")), (204, "*"))


class BufferingTests(ChainTestCase):
    """Proxies in front, which keep what they get for later unless they are told not to."""

    def test_streams(self) -> None:
        """A stream tells nginx not to buffer it; whatever the provider itself says of that stands."""
        self.assertEqual(self.answer(MESSAGES, stream=True).header("x-accel-buffering"), "no")
        self.assertIsNone(self.answer(MESSAGES).header("x-accel-buffering"))
        headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "yes"}
        self.provider.say(RawReply(headers=headers, chunks=[b"data: {}\n\n"]))
        self.assertEqual(self.answer(MESSAGES, stream=True).headers.getRawHeaders("x-accel-buffering"), ["yes"])

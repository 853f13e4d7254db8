"""Clients that were given a wrong base URL, and absolute request targets."""

from aibridge.testing import Reply

from .apis import CHAT, MESSAGES, RESPONSES
from .client import Answer
from .gateway import ChainTestCase

HOST = "gateway.test:8080"
ANTHROPIC_BASE = f"http://{HOST}/anthropic"
OPENAI_BASE = f"http://{HOST}/openai/v1"


class BaseURLTests(ChainTestCase):
    """421 with the base URL to set as its first words, where a path is a known route under another base URL."""

    def send(self, target: str, method: str = "POST", **headers: str) -> Answer:
        """The response to a request without a credential."""
        client = self.connect()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        client.send(method, target, b"{}" if method == "POST" else b"", {"Host": HOST} | fields)
        self.network.wait(1)
        return client.answer

    def assert_advised(self, answer: Answer, base: str) -> None:
        """The response names that base URL first, is final, and nothing reached the provider."""
        message = answer.json["error"]["message"]
        self.assertEqual((answer.status, answer.header("x-should-retry")), (421, "false"), message)
        self.assertTrue(message.startswith(f"Set the base URL to {base}"), message)
        self.assertIn(message.removeprefix(f"Set the base URL to {base}")[0], ":,")
        self.assertEqual((self.network.attempts, self.exchanges), (0, []))

    def test_wrong(self) -> None:
        """Paths that lack the provider's name or /v1, have one twice, or name another provider."""
        for path, base in (
            ("/v1/messages", ANTHROPIC_BASE),
            ("/v1/messages?beta=true", ANTHROPIC_BASE),
            ("/v1/messages/count_tokens", ANTHROPIC_BASE),
            ("/anthropic/v1/v1/messages", ANTHROPIC_BASE),
            ("/anthropic/anthropic/v1/messages", ANTHROPIC_BASE),
            ("/openai/v1/messages", ANTHROPIC_BASE),
            ("/messages", f"{ANTHROPIC_BASE}/v1"),
            ("/anthropic/messages", f"{ANTHROPIC_BASE}/v1"),
            ("/chat/completions", OPENAI_BASE),
            ("/v1/chat/completions", OPENAI_BASE),
            ("/openai/chat/completions", OPENAI_BASE),
            ("/openai/responses", OPENAI_BASE),
            ("/openai/v1/v1/responses", OPENAI_BASE),
            ("/v1/openai/responses", OPENAI_BASE),
            ("/anthropic/v1/chat/completions", OPENAI_BASE),
            ("/v1/responses/resp_1", OPENAI_BASE),
        ):
            self.assert_advised(self.send(path), base)

    def test_client_adds_the_version(self) -> None:
        """A doubled /v1 may also mean that the client adds it itself."""
        message = self.send("/openai/v1/v1/responses").json["error"]["message"]
        self.assertIn(f", or to http://{HOST}/openai if the client adds /v1 itself:", message)

    def test_routes_of_both(self) -> None:
        """Of a route that several providers have, the client's headers tell whose it is."""
        self.assert_advised(self.send("/v1/models", "GET"), OPENAI_BASE)
        self.assert_advised(self.send("/v1/models", "GET", anthropic_version="2023-06-01"), ANTHROPIC_BASE)

    def test_shape(self) -> None:
        """The error has the shape of the API that the path names, or both shapes."""
        self.assertEqual(self.send("/anthropic/v1/v1/messages").json["error"]["type"], "invalid_request_error")
        self.assertEqual(self.send("/openai/responses").json["error"]["code"], "wrong_base_url")
        body = self.send("/v1/messages").json
        self.assertEqual((body["type"], body["error"]["code"]), ("error", "wrong_base_url"))

    def test_hosts(self) -> None:
        """The URL is the one that the client used; a Host that can't be shown is left out."""
        self.assert_advised(self.send("http://other.test/v1/messages"), "http://other.test/anthropic")
        self.assert_advised(self.send("/v1/messages", X_Forwarded_Proto="https"), f"https://{HOST}/anthropic")
        self.assert_advised(self.send("/v1/messages", Host="a(b)"), "…/anthropic")

    def test_no_route_under_any(self) -> None:
        """Other paths stay 404, and so do those that could be read in two ways."""
        for path in (
            "/v1",
            "/v1/files",
            "/openai/v1/v1/files",
            "/openai//v1/models",
            "/v1/../v1/messages",
            "/anthropic/v1/",
        ):
            answer = self.send(path)
            self.assertEqual(answer.status, 404, path)
        message = self.send("/nobody/v1/messages").json["error"]["message"]
        self.assertEqual(message, "No provider is named 'nobody' here: the base URL's path is /anthropic or /openai.")


class AbsoluteTargetTests(ChainTestCase):
    """Clients that send an absolute target, as to a proxy."""

    def test_same_route(self) -> None:
        """The request is served as if its target were the path alone, and its answer is the same."""
        for api in (MESSAGES, CHAT, RESPONSES):
            for root in (f"http://{HOST}", "https://elsewhere.test"):
                self.provider.say(Reply(text="pong"))
                client = self.connect()
                client.send("POST", root + api.path + "?beta=true", api.body("ping"))
                self.network.wait(2)
                self.assertEqual(client.answer.status, 200)
                self.assertEqual(
                    self.provider.requests[-1].uri.decode(), api.path.removeprefix(f"/{api.provider}") + "?beta=true"
                )
        self.assertEqual(len(self.exchanges), 6)

    def test_errors(self) -> None:
        """An error has the shape of the API of the path; the host's name has no part in it."""
        client = self.connect()
        client.send("POST", "http://openai/anthropic/v1/messages", b"[]")
        self.network.settle()
        self.assertEqual((client.answer.status, client.answer.json["type"]), (400, "error"))

    def test_nothing_below(self) -> None:
        """A host alone is 404."""
        for target in ("http://gateway.test", "http://gateway.test/", "http://gateway.test?x"):
            client = self.connect()
            client.send("GET", target)
            self.network.settle()
            self.assertEqual(client.answer.status, 404)

"""Routes of providers, and their URLs."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from aibridge.client.paths import read_path
from aibridge.errors import MethodNotAllowed, RouteUnknown
from aibridge.interfaces import IProvider
from aibridge.providers.anthropic import AnthropicProvider
from aibridge.providers.openai import OpenAIProvider
from aibridge.wire.chat.reader import CHAT
from aibridge.wire.messages.reader import MESSAGES
from aibridge.wire.responses.reader import RESPONSES

ANTHROPIC, OPENAI = AnthropicProvider(), OpenAIProvider()

INTERCEPTED = (
    (ANTHROPIC, "/v1/messages", MESSAGES),
    (OPENAI, "/v1/chat/completions", CHAT),
    (OPENAI, "/v1/responses", RESPONSES),
    (OPENAI, "/v1/responses/compact", RESPONSES),
)
PASSED = (
    (ANTHROPIC, "/v1/models"),
    (ANTHROPIC, "/v1/models/claude-sonnet-5"),
    (ANTHROPIC, "/v1/messages/count_tokens"),
    (ANTHROPIC, "/api/event_logging/batch"),
    (OPENAI, "/v1/models"),
    (OPENAI, "/v1/models/org/model"),
    (OPENAI, "/v1/responses/resp_1"),
    (OPENAI, "/v1/responses/resp_1/input_items"),
    (OPENAI, "/v1/responses/input_tokens"),
    (OPENAI, "/v1/conversations"),
    (OPENAI, "/v1/conversations/conv_1/items"),
)
UNKNOWN = (
    (ANTHROPIC, "/v1"),
    (ANTHROPIC, "/v1/"),
    (ANTHROPIC, "/v1/message"),
    (ANTHROPIC, "/v1/messagesx"),
    (ANTHROPIC, "/v1/messages/batches"),
    (ANTHROPIC, "/v1/Messages"),
    (ANTHROPIC, "/V1/messages"),
    (ANTHROPIC, "/v1/organizations/me"),
    (ANTHROPIC, "/v1/modelsx"),
    (ANTHROPIC, "/v1/files"),
    (ANTHROPIC, "/v1/chat/completions"),
    (ANTHROPIC, "/api/event_logging"),
    (ANTHROPIC, "/api/event_logging/"),
    (ANTHROPIC, "/api/hello/x"),
    (ANTHROPIC, "/api"),
    (OPENAI, ""),
    (OPENAI, "/"),
    (OPENAI, "/v1"),
    (OPENAI, "/v1/chat"),
    (OPENAI, "/v1/chat/completions/x"),
    (OPENAI, "/v1/completions"),
    (OPENAI, "/v1/embeddings/x"),
    (OPENAI, "/v1/images/edits"),
    (OPENAI, "/v1/files/file-1"),
    (OPENAI, "/v1/organization/admin_api_keys"),
    (OPENAI, "/responses"),
    (OPENAI, "/models"),
    (OPENAI, "v1/models"),
)
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")


class RouteTests(SynchronousTestCase):
    """The table of routes."""

    def test_interface(self):
        """Both classes provide the interface."""
        for provider in (ANTHROPIC, OPENAI):
            self.assertTrue(verifyObject(IProvider, provider))

    def test_intercepted(self):
        """Each API's endpoint is intercepted; with a slash at its end it is the same route."""
        for provider, path, wire_format in INTERCEPTED:
            for written in (path, path + "/"):
                route = provider.route(b"POST", written)
                self.assertEqual((route.path, route.format, route.answered_here), (path, wire_format, False))

    def test_intercepted_methods(self):
        """An intercepted route allows POST only, and its error names that."""
        for provider, path, _ in INTERCEPTED:
            for method in METHODS:
                if method == b"POST" or path.endswith("compact"):
                    continue
                for written in (path, path + "/"):
                    error = self.assertRaises(MethodNotAllowed, provider.route, method, written)
                    self.assertIn("POST", error.message)

    def test_passed(self):
        """Known routes pass with any method of HTTP's that says nothing of connections, and none of them is read."""
        for provider, path in PASSED:
            for method in METHODS:
                self.assertIsNone(provider.route(method, path).format)
            for method in (b"TRACE", b"CONNECT", b"BREW", b"get"):
                error = self.assertRaises(MethodNotAllowed, provider.route, method, path)
                self.assertEqual(error.allowed, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
        self.assertIsNone(OPENAI.route(b"GET", "/v1/responses/compact").format)

    def test_unknown(self):
        """Anything else reaches no provider, whatever the method."""
        for provider, path in UNKNOWN:
            for method in METHODS:
                self.assertRaises(RouteUnknown, provider.route, method, path)

    def test_passed_posts(self):
        """Embeddings and images can be asked for, and nothing else can be done below them."""
        for path in ("/v1/embeddings", "/v1/images/generations"):
            self.assertIsNone(OPENAI.route(b"POST", path).format)
            for method in (b"GET", b"DELETE"):
                self.assertRaises(MethodNotAllowed, OPENAI.route, method, path)

    def test_probes(self):
        """The probes of Claude Code, which have no credential, are answered by the gateway."""
        for path in ("", "/", "/api/hello"):
            for method in (b"GET", b"HEAD"):
                self.assertTrue(ANTHROPIC.route(method, path).answered_here)
            self.assertRaises(MethodNotAllowed, ANTHROPIC.route, b"POST", path)

    def test_passthrough(self):
        """Configured paths pass with all paths below them, and no others."""
        provider = OpenAIProvider(passthrough=["/files"])
        self.assertIsNone(provider.route(b"POST", "/v1/files").format)
        self.assertIsNone(provider.route(b"POST", "/v1/files/x/y").format)
        for path in ("/files", "/v1/filesx", "/v1/audio"):
            self.assertRaises(RouteUnknown, provider.route, b"POST", path)
        anthropic = AnthropicProvider(passthrough=["/v1/files"])
        self.assertIsNone(anthropic.route(b"GET", "/v1/files/file_1").format)
        self.assertRaises(RouteUnknown, ANTHROPIC.route, b"GET", "/v1/files/file_1")

    def test_passthrough_is_no_bypass(self):
        """A configured path does not replace an intercepted route."""
        provider = OpenAIProvider(passthrough=["/responses", "/chat"])
        self.assertIs(provider.route(b"POST", "/v1/responses").format, RESPONSES)
        self.assertIs(provider.route(b"POST", "/v1/chat/completions").format, CHAT)

    def test_refusals_say_what_to_do(self):
        """An unknown route names the base URL to set, and a wrong method the ones that are allowed."""
        for provider, base in ((OPENAI, "…/openai/v1"), (AnthropicProvider(name="mine"), "…/mine")):
            error = self.assertRaises(RouteUnknown, provider.route, b"POST", "/x")
            self.assertEqual(
                error.message, f"{provider.name} has no route '/x' here; set the client's base URL to {base}."
            )
        error = self.assertRaises(MethodNotAllowed, OPENAI.route, b"BREW", "/v1/chat/completions")
        self.assertEqual(error.message, "BREW is not allowed for '/v1/chat/completions'; use POST.")

    def test_long_paths(self):
        """An error quotes only the beginning of a long path."""
        error = self.assertRaises(RouteUnknown, OPENAI.route, b"GET", "/x" * 10_000)
        self.assertLess(len(error.message), 400)


class URLTests(SynchronousTestCase):
    """URLs at the provider."""

    def test_mount(self):
        """``/openai/v1`` stands for the base URL; ``/anthropic`` for one without a version."""
        self.assertEqual(OPENAI.url(b"/v1/models", b""), b"https://api.openai.com/v1/models")
        self.assertEqual(ANTHROPIC.url(b"/v1/models", b""), b"https://api.anthropic.com/v1/models")

    def test_bytes(self):
        """Escapes and query travel byte for byte."""
        self.assertEqual(
            OPENAI.url(b"/v1/models/a%2Fb%20", b"x=%2e&y=//"), b"https://api.openai.com/v1/models/a%2Fb%20?x=%2e&y=//"
        )

    def test_base_url(self):
        """Slashes at its end don't double; a path of its own stays."""
        for base in ("http://h:1/a/v1", "http://h:1/a/v1/", "http://h:1/a/v1//"):
            self.assertEqual(OpenAIProvider(base_url=base).url(b"/v1/models", b""), b"http://h:1/a/v1/models")

    def test_mount_written_otherwise(self):
        """A mount in another spelling is refused: what follows could become part of the host."""
        provider = OpenAIProvider(base_url="https://models.test", api_key="k")
        for raw in (
            b"/v1%2Fmodels%2F@evil.test/x",
            b"/v1%2fmodels",
            b"/%761/models",
            b"/v1",
            b"",
            b"/V1/models",
            b"v1/models",
        ):
            self.assertRaises(RouteUnknown, provider.url, raw, b"")

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [b"/", b"v1", b"/v1/", b"%2F", b"%2f", b"models", b"@evil", b":1", b"%40", b"responses", b"x"]
            ),
            max_size=8,
        ),
        st.sampled_from(["https://models.test", "https://models.test/v1"]),
    )
    @example([b"v1", b"%2F", b"models", b"%2F", b"@evil", b"/", b"x"], "https://models.test")
    def test_never_leaves_the_host(self, pieces, base):
        """Every accepted path leads to the provider's own host, below its base URL."""
        provider = OpenAIProvider(base_url=base)
        try:
            path = read_path(b"/openai/" + b"".join(pieces), 0)
            provider.route(b"GET", path.decoded)
            url = provider.url(path.raw, b"")
        except (RouteUnknown, MethodNotAllowed):
            return
        self.assertTrue(url.startswith(base.encode() + b"/"), url)

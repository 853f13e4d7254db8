"""Errors as clients get them."""

import inspect
import json
from types import SimpleNamespace

import anthropic
import openai
from twisted.trial.unittest import SynchronousTestCase

from aibridge import errors
from aibridge.errors import AIBridgeError, ConfigError, GatewayError, RecordingError, encode

try:  # what the SDKs are built on
    import httpx2 as httpx
except ImportError:  # older ones
    import httpx

STATUSES = {
    "BadRequest": 400,
    "ConnectionOver": 400,
    "Unauthorized": 401,
    "MissingCredential": 401,
    "PageRefused": 403,
    "RouteUnknown": 404,
    "MethodNotAllowed": 405,
    "RequestTooSlow": 408,
    "BodyTooLarge": 413,
    "ExpectationFailed": 417,
    "UpgradeRefused": 426,
    "TooManyRequests": 429,
    "BudgetSpent": 429,
    "HeadersTooLarge": 431,
    "UpstreamFailed": 502,
    "UpstreamRefused": 502,
    "UpstreamBroke": 502,
    "Unavailable": 503,
    "RecordingImpossible": 503,
    "OverCapacity": 503,
    "CircuitOpen": 503,
    "Draining": 503,
    "Interrupted": 503,
    "UpstreamTimeout": 504,
}
# What Anthropic itself says, by status: https://docs.claude.com/en/api/errors
ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def _gateway_errors():
    found = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, GatewayError)]
    return {kind.__name__: kind for kind in found if kind is not GatewayError}


class TreeTests(SynchronousTestCase):
    """One tree of errors."""

    def test_all_are_ours(self):
        """A host can catch all of them by one name."""
        for kind in (ConfigError, RecordingError, GatewayError, *_gateway_errors().values()):
            self.assertTrue(issubclass(kind, AIBridgeError))

    def test_statuses(self):
        """Each has its status."""
        found = {name: kind("x").status for name, kind in _gateway_errors().items()}
        self.assertEqual({name: found.get(name) for name in STATUSES}, STATUSES)

    def test_drawn(self):
        """The picture at the head of the file shows each of them, with its status or under one that has it."""
        for name in _gateway_errors():
            self.assertIn(name, errors.__doc__)

    def test_retry_after(self):
        """Errors that another try may help have a Retry-After, and no others."""
        for kind in _gateway_errors().values():
            self.assertEqual(kind.retry_after is not None, kind.status in (429, 503), kind)
            self.assertEqual(kind("x", 7).retry_after, 7)

    def test_final(self):
        """A refusal that another try can't help says so in its headers; others leave that to the client."""
        for kind in _gateway_errors().values():
            final = kind.status in (400, 401, 403, 404, 405, 413, 417, 421, 426, 431)
            is_told = final or kind is errors.BudgetSpent
            self.assertEqual(kind("x").headers.get("X-Should-Retry"), "false" if is_told else None, kind)
            self.assertFalse(final and kind.retry_after, kind)

    def test_budget(self):
        """A cap that is spent has the form at which Codex stops: its words in a header of ASCII, and the time."""
        error = errors.BudgetSpent("The budget of Zoë\nis spent", 7, scope="actor", resets_at=1_800_000_000)
        self.assertEqual(error.openai_headers, {"X-Codex-Promo-Message": "The budget of Zo? is spent"})
        self.assertEqual(error.as_openai()["error"]["resets_at"], 1_800_000_000)
        self.assertEqual((error.openai_type, error.code), ("usage_limit_reached", "insufficient_quota"))

    def test_config(self):
        """A setting's error names its source, its key and the reason."""
        self.assertEqual(
            str(ConfigError("aibridge.toml", "server.workers", "is 0")), "aibridge.toml: server.workers: is 0"
        )
        self.assertEqual(str(ConfigError("aibridge.toml", "", "is missing")), "aibridge.toml: is missing")


class ShapeTests(SynchronousTestCase):
    """Each API's own form."""

    def test_anthropic(self):
        """A type at the head, and a type that Anthropic itself uses."""
        for kind in _gateway_errors().values():
            body = kind("why").as_anthropic()
            self.assertEqual(
                (set(body), body["type"], set(body["error"])), ({"type", "error"}, "error", {"type", "message"})
            )
            self.assertEqual(body["error"]["message"], "why")
            self.assertEqual(body["error"]["type"], ANTHROPIC_TYPES.get(kind.status, body["error"]["type"]))

    def test_openai(self):
        """Message, type, param and code, all of them always there."""
        for kind in _gateway_errors().values():
            body = kind("why").as_openai()
            further = {"resets_at"} if kind is errors.BudgetSpent else set()
            members = {"message", "type", "param", "code"} | further
            self.assertEqual((set(body), set(body["error"])), ({"error"}, members))
            self.assertEqual((body["error"]["message"], body["error"]["param"]), ("why", None))

    def test_either(self):
        """A body for either API has the members of both."""
        body = GatewayError("why").as_either()
        self.assertEqual((body["type"], body["error"]["message"]), ("error", "why"))

    def test_encoded(self):
        """JSON on one line, in ASCII."""
        raw = encode(GatewayError("a\nb\u2028 \u20ac \ud800").as_openai())
        self.assertTrue(raw.isascii())
        self.assertNotIn(b"\n", raw)
        self.assertEqual(json.loads(raw)["error"]["message"], "a\nb\u2028 \u20ac \ud800")


class SDKTests(SynchronousTestCase):
    """The official SDKs raise their own class of error, with the gateway's words in it."""

    def test_classes(self):
        """By status, as with the providers themselves."""
        for sdk, shape in ((anthropic.Anthropic, "as_anthropic"), (openai.OpenAI, "as_openai")):
            for kind in _gateway_errors().values():
                error = self._raised(sdk, kind("why so"), shape)
                self.assertEqual(error.status_code, kind.status)
                self.assertIn("why so", str(error))

    def test_by_name(self):
        """Those that programs catch by name."""
        names = {
            "BadRequest": "BadRequestError",
            "Unauthorized": "AuthenticationError",
            "RouteUnknown": "NotFoundError",
            "TooManyRequests": "RateLimitError",
            "Unavailable": "InternalServerError",
        }
        for name, expected in names.items():
            error = _gateway_errors()[name]("why")
            self.assertTrue(
                issubclass(type(self._raised(openai.OpenAI, error, "as_openai")), getattr(openai, expected))
            )
            self.assertIsInstance(
                self._raised(anthropic.Anthropic, error, "as_anthropic"),
                getattr(anthropic, expected) if name != "Unavailable" else anthropic.APIStatusError,
            )

    def _raised(self, sdk, error, shape):
        def answer(request):
            return httpx.Response(error.status, json=getattr(error, shape)())

        with sdk(api_key="k", base_url="http://gateway.test", max_retries=0, http_client=_client(answer)) as client:
            try:
                client.get("/models", cast_to=SimpleNamespace)
            except (anthropic.APIStatusError, openai.APIStatusError) as raised:
                return raised
        raise AssertionError("nothing was raised")


def _client(answer):
    return httpx.Client(transport=httpx.MockTransport(answer))

"""Request paths that mean the same to everybody, and the refusal of all others."""

from urllib.parse import unquote_to_bytes

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.client.paths import read_path
from aibridge.errors import RouteUnknown

ESCAPING = (
    b"/anthropic/v1/../admin",
    b"/anthropic/..",
    b"/anthropic/v1/..",
    b"/anthropic/./v1/messages",
    b"/anthropic/v1/models/.",
    b"/anthropic/v1/%2e%2e/admin",
    b"/anthropic/v1/.%2E/admin",
    b"/anthropic/v1/%2e%2e%2fadmin",
    b"/anthropic/v1/..%2fadmin",
    b"/anthropic/v1%2f..%2fadmin",
    b"/anthropic/v1/%252e%252e/admin",
    b"/anthropic/v1/%252e",
    b"/anthropic/v1/%25252e%25252e/admin",
    b"/anthropic/v1/models/%253bx",
    b"/anthropic/v1/models/%2500",
    b"/anthropic/v1/models/%5c..%5cadmin",
    b"/anthropic/v1/models\\..\\admin",
    b"/anthropic/v1/models/%255c",
    b"/anthropic//v1/messages",
    b"/anthropic/v1//messages",
    b"/anthropic/%2fv1/messages",
    b"/anthropic/v1/models/%252f",
    b"/anthropic/v1/messages//",
    b"/anthropic/v1/messages;x=1",
    b"/anthropic/v1/..;/admin",
    b"/anthropic/v1/models/%3bx",
    b"/anthropic/v1/models/x%00",
    b"/anthropic/v1/models/x%0d%0aHost:%20evil",
    b"/anthropic/v1/models/%7f",
    b"/anthropic/v1/models#x",
    b"/anthropic/v1/models x",
    b"/anthropic/v1/models?a#x",
    b"/anthropic/v1/models\r\nHost: evil",
    b"/anthropic/v1/models/%ff",
    b"/anthropic/v1/models/%c0%ae%c0%ae/admin",
    b"http://evil",
    b"http://evil/anthropic/../admin",
    b"http://evil#/anthropic/v1/messages",
    b"ftp://evil/anthropic/v1/messages",
    b"anthropic/v1/messages",
    b"*",
    b"",
)

_pieces = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%5c",
        b"\\",
        b";",
        b"%3b",
        b"%25",
        b"%",
        b"2e",
        b"2f",
        b"3B",
        b"5c",
        b"v1",
        b"models",
        b"%41",
        b"%20",
        b"%00",
        b"%C3%A9",
        b"a",
        b"0",
        b"%zz",
        b"\xc3\xa9",
        b"\xff",
        b"%u002e",
    ]
)


class AcceptedTests(SynchronousTestCase):
    """Paths of clients."""

    def check(self, uri, provider, raw, decoded, query=b"", depth=0):
        path = read_path(uri, depth)
        self.assertEqual((path.provider, path.raw, path.decoded, path.query), (provider, raw, decoded, query))

    def test_plain(self):
        """The provider's name, and what follows it."""
        self.check(b"/anthropic/v1/messages", "anthropic", b"/v1/messages", "/v1/messages")
        self.check(b"/anthropic", "anthropic", b"", "")
        self.check(b"/anthropic/", "anthropic", b"/", "/")
        self.check(b"/", "", b"", "")
        self.check(b"//host/v1", "", b"/host/v1", "/host/v1")  # a provider without a name: there is none

    def test_mounted(self):
        """Below other resources it begins where the bridge does."""
        self.check(b"/ai/x/openai/v1/models", "openai", b"/v1/models", "/v1/models", depth=2)
        for uri in (b"/ai", b"/ai/x"):
            self.assertRaises(RouteUnknown, read_path, uri, 2)

    def test_query(self):
        """A query travels byte for byte, whatever it holds."""
        for query in (b"beta=true", b"limit=1000&after=%2e%2e//;", b"a?b", b"x=\xc3\xa9", b"%zz"):
            self.check(b"/anthropic/v1/messages?" + query, "anthropic", b"/v1/messages", "/v1/messages", query)

    def test_escapes(self):
        """Escapes that mean one thing pass, raw as they came; a slash within a model's name too."""
        for raw, decoded in (
            (b"/v1/models/org%2Fmodel", "/v1/models/org/model"),
            (b"/v1/models/a%20b", "/v1/models/a b"),
            (b"/v1/models/caf%C3%A9", "/v1/models/café"),
            (b"/v1/models/a...b", "/v1/models/a...b"),
            (b"/v1/models/.hidden", "/v1/models/.hidden"),
            (b"/v1/models/100%", "/v1/models/100%"),
            (b"/v1/models/ft:gpt@1,x+y", "/v1/models/ft:gpt@1,x+y"),
            (b"/v1/models/what%3f", "/v1/models/what?"),
        ):
            self.check(b"/openai" + raw, "openai", raw, decoded)

    def test_name_is_not_decoded(self):
        """A provider's name is read as it is written, so there is one way to write it."""
        self.check(b"/%61nthropic/v1", "%61nthropic", b"/v1", "/v1")


class RefusedTests(SynchronousTestCase):
    """Paths that somebody could read in another way."""

    def test_each(self):
        """None of them is any route."""
        for uri in ESCAPING:
            self.assertRaises(RouteUnknown, read_path, uri, 0)

    def test_says_nothing_back(self):
        """The answer doesn't repeat what was asked."""
        error = self.assertRaises(RouteUnknown, read_path, b"/anthropic/<script>/..", 0)
        self.assertEqual(error.status, 404)
        self.assertNotIn("script", error.message)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(_pieces, max_size=10).map(b"".join), st.integers(0, 2))
    @example(b"/models/%253b", 0)
    @example(b"/%25%32%65%25%32%65/", 0)
    def test_never_escapes(self, path, depth):
        """Of what is accepted no reader gets a dot segment, an empty one, a parameter or a backslash, decode as he may."""
        try:
            accepted = read_path(b"/mount" * depth + b"/openai/v1" + path, depth)
        except RouteUnknown:
            return
        reading = accepted.raw
        for _ in range(3):
            segments = reading.split(b"/")
            self.assertNotIn(b".", segments)
            self.assertNotIn(b"..", segments)
            self.assertNotIn(b"", segments[1:-1])
            self.assertFalse({*b";\\\x00\r\n"} & {*reading}, reading)
            reading = unquote_to_bytes(reading)
        self.assertEqual(unquote_to_bytes(accepted.raw).decode(), accepted.decoded)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=40), st.integers(0, 3))
    def test_any_bytes(self, uri, depth):
        """Whatever comes is a path or a refusal."""
        for target in (uri, b"/" + uri):
            try:
                self.assertNotIn("/", read_path(target, depth).provider)
            except RouteUnknown:
                continue

"""Which headers cross the gateway."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from aibridge.client.crossing import add_forwarded, to_client
from aibridge.client.crossing import to_provider as raw_to_provider
from aibridge.http.headers import RawHeaders

HOP_BY_HOP = (
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)


def headers(**named):
    return Headers({name.replace("_", "-"): [value] for name, value in named.items()})


def names(found):
    return {name.lower() for name, _ in found.getAllRawHeaders()}


def to_provider(client, **options):
    return raw_to_provider(RawHeaders.of(client), **options)


class ToProviderTests(SynchronousTestCase):
    """What a provider sees of the client's headers."""

    def test_passes(self):
        """The APIs' own headers, the client's and unknown ones pass with every value, in order."""
        client = Headers(
            {
                "anthropic-beta": ["a", "b,c"],
                "User-Agent": ["claude-cli/2.1"],
                "X-Stainless-Lang": ["js"],
                "Content-Encoding": ["zstd"],
                "traceparent": ["00-1-2-01"],
                "X-Odd": [b"\xff caf\xc3\xa9"],
            }
        )
        self.assertEqual(list(to_provider(client).getAllRawHeaders()), list(client.getAllRawHeaders()))

    def test_hop_by_hop(self):
        """Those of the client's own connection don't."""
        for name in (*HOP_BY_HOP, "Host", "Content-Length", "Expect"):
            self.assertEqual(names(to_provider(Headers({name: ["x"]}))), set(), name)

    def test_named_by_connection(self):
        """Nor do those that its ``Connection`` names, in any case, list or line."""
        client = Headers({"Connection": ["close, X-One ,", "x-TWO"], "X-One": ["1"], "X-Two": ["2"], "X-Three": ["3"]})
        self.assertEqual(names(to_provider(client)), {b"x-three"})

    def test_no_credential(self):
        """No credential and no cookie passes by itself; the provider's is added by choice."""
        client = headers(
            Authorization="Bearer a", X_Api_Key="b", Api_Key="e", Cookie="session=c", Proxy_Authorization="d"
        )
        self.assertEqual(names(to_provider(client)), set())

    def test_gateways_own(self):
        """What only the gateway may say, or is said to the gateway, doesn't pass from a client."""
        for name in (
            "X-AIBridge-Key",
            "X-AIBridge-Interception-Id",
            "x-aibridge-anything",
            "X-AI-Bridge-Actor-ID",
            "x-ai-bridge-actor-metadata-team",
            "X-AI-BRIDGE-ACTOR-METADATA-",
        ):
            self.assertEqual(names(to_provider(Headers({name: ["mallory"]}))), set(), name)

    def test_dropped_on_demand(self):
        """Further ones can be left out."""
        client = headers(Accept_Encoding="gzip", Accept="*/*")
        crossed = to_provider(client, readable=True)
        self.assertEqual(names(crossed), {b"accept", b"accept-encoding"})
        self.assertEqual(crossed.getRawHeaders(b"accept-encoding"), [b"identity"])

    def test_client_keeps_its_own(self):
        """The client's headers are as they were."""
        client = headers(Host="here", X_Api_Key="k")
        to_provider(client)
        self.assertEqual(names(client), {b"host", b"x-api-key"})

    @given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=6), max_size=5), st.data())
    def test_any(self, listed, data):
        """A header passes as it is, or not at all."""
        fields = {
            name: ["v"] for name in data.draw(st.lists(st.sampled_from([*listed, "accept", "cookie"]), max_size=4))
        }
        client = Headers({**fields, "connection": [", ".join(listed)]})
        passed = to_provider(client)
        for name, values in passed.getAllRawHeaders():
            self.assertEqual(client.getRawHeaders(name), values)
            self.assertNotIn(name.lower().decode(), [*listed, "connection", "cookie"])


class ToClientTests(SynchronousTestCase):
    """What a client sees of the provider's headers."""

    def test_passes(self):
        """All of the API's own, and each value of those that come more than once."""
        provider = Headers(
            {
                "request-id": ["req_1"],
                "anthropic-ratelimit-tokens-remaining": ["9"],
                "retry-after": ["3"],
                "openai-processing-ms": ["5"],
                "x-should-retry": ["false"],
                "Set-Cookie": ["a=1", "b=2"],
                "Content-Encoding": ["br"],
                "Date": ["then"],
            }
        )
        target = Headers({"date": ["now"], "X-AIBridge-Interception-Id": ["ours"]})
        to_client(provider, target)
        for name, values in provider.getAllRawHeaders():
            self.assertEqual(target.getRawHeaders(name), values)

    def test_hop_by_hop(self):
        """Those of the provider's connection don't pass, nor those that it names."""
        provider = Headers({name: ["x"] for name in HOP_BY_HOP} | {"Connection": ["x-one"], "X-One": ["1"]})
        target = Headers()
        to_client(provider, target)
        self.assertEqual(names(target), set())

    def test_own_interception(self):
        """A provider that is such a gateway itself doesn't take the place of this one's id."""
        target = headers(X_AIBridge_Interception_Id="ours")
        to_client(headers(X_AIBridge_Interception_Id="theirs"), target)
        self.assertEqual(target.getRawHeaders("x-aibridge-interception-id"), ["ours"])


class ForwardedTests(SynchronousTestCase):
    """For whom a request is passed through."""

    def _forwarded(self, sent=None, address=None, secure=False, host=b"gateway:8080", uri=b"/x"):
        request = SimpleNamespace(
            uri=uri,
            getClientAddress=lambda: address or IPv4Address("TCP", "192.0.2.7", 5),
            isSecure=lambda: secure,
            requestHeaders=Headers({"host": [host]} if host else {}),
        )
        found = sent or Headers()
        add_forwarded(found, request)
        return found

    def test_all_three(self):
        """The client's address, the scheme and the host that it asked."""
        found = self._forwarded()
        self.assertEqual(found.getRawHeaders("x-forwarded-for"), ["192.0.2.7"])
        self.assertEqual(found.getRawHeaders("x-forwarded-proto"), ["http"])
        self.assertEqual(found.getRawHeaders("x-forwarded-host"), ["gateway:8080"])
        self.assertEqual(self._forwarded(secure=True).getRawHeaders("x-forwarded-proto"), ["https"])

    def test_absolute_target(self):
        """The host of an absolute target takes the place of the header's."""
        found = self._forwarded(uri=b"http://elsewhere.test:81/openai/v1/models")
        self.assertEqual(found.getRawHeaders("x-forwarded-host"), ["elsewhere.test:81"])

    def test_chain(self):
        """Proxies before this one stay in the list, whatever bytes they wrote."""
        found = self._forwarded(Headers({"x-forwarded-for": [b"203.0.113.9\xff", b"198.51.100.1"]}))
        self.assertEqual(found.getRawHeaders(b"x-forwarded-for"), [b"203.0.113.9\xff, 198.51.100.1, 192.0.2.7"])

    def test_without(self):
        """A peer without an address, or a request without a host, adds nothing made up."""
        found = self._forwarded(address=UNIXAddress(None), host=None)
        self.assertEqual(names(found), {b"x-forwarded-proto"})

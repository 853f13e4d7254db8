"""Credentials in a client's headers."""

from base64 import b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from aibridge.http.headers import RawHeaders
from aibridge.identity.credentials import (
    ALLOW,
    PROVIDER_HEADERS,
    Credential,
    choose_credential,
    is_gateway_credential,
    pop_gateway_credential,
    strip_scheme,
)
from aibridge.record.records import BYOK, CENTRALIZED

KEY = b"aib_" + b"k" * 43
VISIBLE = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if 0x20 < byte < 0x7F))


class SecretTests(SynchronousTestCase):
    """The credential in a header's value."""

    def test_schemes(self) -> None:
        """The scheme is removed, in any spelling, and nothing else is."""
        for value, secret in (
            (b"sk-1", b"sk-1"),
            (b"Bearer sk-1", b"sk-1"),
            (b" bEaReR \t sk-1 ", b"sk-1"),
            (b"Basic dTpw", b"dTpw"),
            (b"Bearer", b""),
            (b"Bearer ", b""),
            (b"Bearersk-1", b"Bearersk-1"),
            (b"", b""),
        ):
            self.assertEqual(strip_scheme(value), secret, value)

    @given(VISIBLE.filter(lambda secret: secret.lower() not in (b"bearer", b"basic")))
    def test_any_secret(self, secret: bytes) -> None:
        """A bearer token is what follows the word."""
        self.assertEqual(strip_scheme(b"Bearer " + secret), secret)
        self.assertEqual(strip_scheme(secret), secret)


class GatewayKeyTests(SynchronousTestCase):
    """Recognition of the gateway's keys."""

    def test_wherever_it_stands(self) -> None:
        """A key is recognized whatever a client puts around it, and even cut short."""
        for value in (
            KEY,
            b"aib_",
            b"aib_short",
            b"Bearer " + KEY,
            b"bearer\t" + KEY,
            b'Bearer "' + KEY + b'"',
            b"Token token=" + KEY,
            b"sk-own, " + KEY,
            b"Basic " + b64encode(KEY + b":"),
            b"basic  " + b64encode(b"user:" + KEY),
        ):
            self.assertTrue(is_gateway_credential(value), value)

    def test_others(self) -> None:
        """A provider's credential is not recognized as a key."""
        for value in (
            b"",
            b"sk-ant-api03-x",
            b"sk-proj-Taib_x",
            b"Bearer sk-aib_",
            b"Basic dTpw",
            b"Basic !",
            b"AIB_x",
        ):
            self.assertFalse(is_gateway_credential(value), value)

    @given(st.lists(st.tuples(st.sampled_from(PROVIDER_HEADERS), VISIBLE, st.booleans()), max_size=6))
    def test_none_is_chosen_for_the_provider(self, fields: list[tuple[bytes, bytes, bool]]) -> None:
        """Of any headers, the provider gets the client's own credentials or the configured one, and never a key."""
        sent = RawHeaders((name, b"Bearer " + (KEY + secret if is_key else secret)) for name, secret, is_key in fields)
        configured = Credential(CENTRALIZED, ((b"x-api-key", b"configured"),))
        chosen = choose_credential(sent, configured, "anthropic", ALLOW).headers
        for _, value in chosen:
            self.assertNotIn(b"aib_k", value)
        self.assertTrue(len(chosen) == 1 or b"api-key" not in dict(chosen))


class TakeTests(SynchronousTestCase):
    """Removal of the gateway's credentials from a request."""

    def pop(self, *fields: tuple[str, bytes]) -> tuple[bytes | None, dict[bytes, Any]]:
        """The removed credential, and the headers that are left."""
        headers = Headers()
        for name, value in fields:
            headers.addRawHeader(name.encode(), value)
        taken = pop_gateway_credential(headers, is_gateway_credential)
        return taken, {name.lower(): values for name, values in headers.getAllRawHeaders()}

    def test_order(self) -> None:
        """The gateway's own header comes first, then those of the provider."""
        other = b"aib_" + b"o" * 43
        self.assertEqual(self.pop(("authorization", b"Bearer " + other), ("x-api-key", KEY)), (KEY, {}))
        self.assertEqual(self.pop(("x-api-key", other), ("X-AIBridge-Key", KEY)), (KEY, {}))
        self.assertEqual(self.pop(("api-key", other), ("authorization", b"Bearer " + KEY)), (KEY, {}))
        self.assertEqual(self.pop(("api-key", KEY), ("authorization", b"own")), (KEY, {b"authorization": [b"own"]}))

    def test_own_header_holds_anything(self) -> None:
        """Any value of the gateway's own header is the gateway's credential."""
        self.assertEqual(self.pop(("X-AIBridge-Key", b"Bearer x"), ("x-api-key", KEY)), (b"x", {}))

    def test_empty(self) -> None:
        """An empty header is as good as none."""
        self.assertEqual(self.pop(("X-AIBridge-Key", b" "), ("x-api-key", KEY)), (KEY, {}))
        self.assertEqual(self.pop(("X-AIBridge-Key", b"")), (None, {}))

    def test_the_others_stay(self) -> None:
        """Of several lines of one header only the gateway's go."""
        taken, rest = self.pop(("Authorization", b"Bearer " + KEY), ("Authorization", b"Bearer sk-own"))
        self.assertEqual((taken, rest), (KEY, {b"authorization": [b"Bearer sk-own"]}))


class SubscriptionTests(SynchronousTestCase):
    """Credentials of subscriptions."""

    def chosen(self, *fields: tuple[bytes, bytes]) -> Credential:
        """The credential of a client with these headers."""
        return choose_credential(RawHeaders.of(Headers({name: [value] for name, value in fields})), None, "p", ALLOW)

    def test_subscriptions(self) -> None:
        """Tokens of Claude's plans and of Copilot are told by their beginning, a ChatGPT login by its account."""
        for value in (b"Bearer sk-ant-oat01-x", b"bearer gho_x", b"Bearer ghu_x", b"Bearer tid=1;exp=2"):
            self.assertTrue(self.chosen((b"authorization", value)).is_subscription, value)
        account = (b"chatgpt-account-id", b"a-1")
        self.assertTrue(self.chosen((b"authorization", b"Bearer eyJ.e.s"), account).is_subscription)
        self.assertTrue(self.chosen((b"x-api-key", b"k"), (b"authorization", b"Bearer sk-ant-oat01-x")).is_subscription)

    def test_keys(self) -> None:
        """Keys of an API have prices, and so has whatever the operator pays for."""
        for value in (b"Bearer sk-ant-api03-x", b"Bearer sk-proj-x", b"Bearer eyJ.e.s", b"Bearer x sk-ant-oat01-x"):
            self.assertFalse(self.chosen((b"authorization", value)).is_subscription, value)
        for kind, subscribed in ((BYOK, True), (CENTRALIZED, False)):
            credential = Credential(kind, ((b"authorization", b"Bearer sk-ant-oat01-x"),))
            self.assertEqual(credential.is_subscription, subscribed)

"""The words for a rejected credential: those for the client, and those for the operator's log."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv6Address
from twisted.internet.defer import maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from aibridge import HeaderAuthenticator, JWTAuthenticator, KeyAuthenticator
from aibridge.errors import Unauthorized
from aibridge.identity.jwks import Keyring
from aibridge.identity.key_store import KeyStore
from aibridge.record import migrations

from ..record.databases import OnSQLite
from .requests import request
from .test_jwt import hmac_token
from .tokens import AUDIENCE, ISSUER, claims, jwks, private_key, public_jwk, segment, token


class TokenTests(SynchronousTestCase):
    """Mode ``jwt``."""

    def rejected(self, fields: "list[tuple[str, str]]", **options: Any) -> str:
        """The operator's reason for refusing such a request."""
        clock = Clock()
        authenticator = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_file="x", reactor=clock, **options)
        authenticator._keyring = Keyring(lambda: succeed(jwks(public_jwk("ES256", "e"))), clock)
        error = self.failureResultOf(maybeDeferred(authenticator.authenticate, request(*fields)), Unauthorized).value
        reason: str = error.reason
        self.assertNotIn("hunter2", error.message + reason)
        self.assertNotIn(reason, error.message)
        return reason

    def test_reasons(self) -> None:
        """The operator learns why a token was refused, the client does not; nothing of it is repeated."""
        now = int(time.time())
        head, payload, signature = token("ES256", "e", sub="hunter2").split(".")
        own: list[tuple[str, str]] = [
            (token("ES256", "e", sub="hunter2", exp=now - 60), "the token has expired"),
            (token("ES256", "e", nbf=now + 600), "the token is not valid yet"),
            (token("ES256", "e", iat=now + 600), "the token is not valid yet"),
            (token("ES256", "e", aud="hunter2"), "the token is for another audience"),
            (token("ES256", "e", iss="https://hunter2"), "the token is from another issuer"),
            (token("ES256", "e", exp=None), "the token lacks one of the claims exp, iss and aud"),
            (token("ES256", "hunter2"), "the token's key id and algorithm fit no key of the issuer"),
            (token("ES256", "e", private_key("ES256", 1)), "the token's signature is wrong"),
            (f"{head}.{payload}.{segment(bytes(64))}", "the token's signature is wrong"),
            (hmac_token(b"hunter2", "e"), "the token's algorithm is not accepted"),
            (
                f"{segment({'alg': 'hunter2', 'kid': 'e'})}.{payload}.{signature}",
                "the token's algorithm is not accepted",
            ),
            (token("ES256", "e", sub=""), "the token's claim sub is missing or empty"),
            (token("ES256", "e", padding="x" * 9000), "the token is longer than 8192 bytes"),
            (f"hunter2.{segment(claims())}.x", "the token is malformed"),
            ("hunter2", "the token is malformed"),
        ]
        for text, reason in own:
            self.assertEqual(self.rejected([("X-AIBridge-Key", text)]), reason)

    def test_not_for_the_gateway(self) -> None:
        """Without a token for the gateway, the operator learns whose the credential is, as far as that is known."""
        for value, reason in (
            (f"Bearer {token('ES256', 'e', aud='hunter2')}", "the token is for another audience"),
            (f"Bearer {token('ES256', 'e', iss='https://hunter2')}", "the token is from another issuer"),
            ("Bearer hunter2", "no token was sent"),
        ):
            self.assertEqual(self.rejected([("Authorization", value)]), reason)
        self.assertEqual(self.rejected([]), "no token was sent")


class HeaderTests(SynchronousTestCase):
    """Mode ``header``."""

    def test_reasons(self) -> None:
        """The operator learns the address that is not trusted, or the header that the proxy didn't send properly."""
        authenticator = HeaderAuthenticator(trusted_proxies=["127.0.0.1"], header="X-User")
        stranger = request(("X-User", "hunter2"), peer=IPv6Address("TCP", "2001:db8::1", 1))
        twice = request(("X-User", "hunter2"), ("X-User", "hunter3"))
        for made, reason in (
            (stranger, "2001:db8::1 is not among the trusted proxies"),
            (twice, "the proxy did not send exactly one plain value of X-User"),
        ):
            error = self.assertRaises(Unauthorized, authenticator.authenticate, made)
            self.assertEqual(error.reason, reason)
            self.assertTrue(error.message.startswith("Not signed in. "), error.message)


class KeyTests(OnSQLite, TestCase):
    """Mode ``keys``."""

    timeout = 20

    async def test_reasons(self) -> None:
        """The first words tell the client what is wrong. The operator learns a key's id, or an unknown key's hint."""
        migrations.upgrade(self.url)
        store = KeyStore(self.url)
        revoked, expired = store.create("alice", {}), store.create("alice", {}, timedelta(microseconds=1))
        ids = [key.id for key in store.all()]
        store.revoke(ids[0])
        authenticate: Callable[[Any], Any] = KeyAuthenticator(self.url, reactor=reactor).authenticate
        for value, words, reason in (
            (revoked, "Gateway key revoked. Ask ", f"key {ids[0]} of alice is revoked"),
            (expired, "Gateway key expired. Ask ", f"key {ids[1]} of alice is expired"),
            ("aib_" + "A" * 41 + "BC", "Unknown gateway key. Check ", "there is no key aib_...BC"),
            ("aib_hunter2", "Unknown gateway key. It is not complete", ""),
            ("sk-hunter2", "Missing gateway key. Send ", ""),
        ):
            with self.assertRaises(Unauthorized) as caught:
                await maybeDeferred(authenticate, request(("api-key", value)))
            error = caught.exception
            self.assertTrue(error.message.startswith(words), error.message)
            self.assertEqual((error.reason, error.headers), (reason, {"X-Should-Retry": "false"}))
            self.assertNotIn(value, error.message + error.reason)

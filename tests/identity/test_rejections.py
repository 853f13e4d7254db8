"""The operator's log of rejected requests."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from aibridge import HeaderAuthenticator, JWTAuthenticator, KeyAuthenticator
from aibridge.identity.authenticate import RejectionLog
from aibridge.identity.jwks import Keyring
from aibridge.identity.key_store import KeyStore
from aibridge.record import migrations

from ..record.databases import OnSQLite
from .requests import request
from .test_jwt import hmac_token
from .tokens import AUDIENCE, ISSUER, claims, jwks, private_key, public_jwk, segment, token

PREFIX = "authentication failed: "


def rejections(test: Any) -> list[str]:
    """The reasons that are logged from now on."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if text.startswith(PREFIX):
            test.assertIs(event["log_level"], LogLevel.info)
            lines.append(text.removeprefix(PREFIX))

    globalLogPublisher.addObserver(observe)
    test.addCleanup(globalLogPublisher.removeObserver, observe)
    return lines


class LogTests(SynchronousTestCase):
    """The number of lines."""

    def setUp(self) -> None:
        self.lines = rejections(self)
        self.clock = Clock()
        self.log = RejectionLog(self.clock.seconds)

    def test_once_a_minute(self) -> None:
        """A reason has one line a minute, which says how many were left out; another reason has its own."""
        for _ in range(100):
            self.log.add("expired")
        self.log.add("revoked")
        self.clock.advance(59.9)
        self.log.add("expired")
        self.assertEqual(self.lines, ["expired", "revoked"])
        self.clock.advance(0.1)
        self.log.add("expired")
        self.log.add("expired")
        self.assertEqual(self.lines[2:], ["expired (and 100 more since the last such line)"])
        self.clock.advance(60)
        self.log.add("revoked")
        self.assertEqual(self.lines[3:], ["revoked"])

    def test_no_flood(self) -> None:
        """Reasons that differ in what a stranger chose count as one."""
        for number in range(1000):
            self.log.add(f"address {number}", "an untrusted address")
        self.assertEqual(self.lines, ["address 0"])


class TokenTests(SynchronousTestCase):
    """Mode ``jwt``."""

    def setUp(self) -> None:
        self.lines = rejections(self)

    def rejected(self, fields: "list[tuple[str, str]]", **options: Any) -> str:
        """The reason that is logged for such a request."""
        clock = Clock()
        authenticator = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_file="x", reactor=clock, **options)
        authenticator._keyring = Keyring(lambda: succeed(jwks(public_jwk("ES256", "e"))), clock)
        answer: Deferred[Any] = maybeDeferred(authenticator.authenticate, request(*fields))
        self.assertIsNone(self.successResultOf(answer))
        [line] = self.lines
        self.lines.clear()
        return line

    def test_reasons(self) -> None:
        """The log says why a token was refused, and repeats nothing of it."""
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
        """Without a token for the gateway, the log says whose the client's credential is, as far as that is known."""
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
        """The log names the first address that is not trusted, or the header that the proxy didn't send properly."""
        lines = rejections(self)
        clock = Clock()
        authenticator = HeaderAuthenticator(trusted_proxies=["127.0.0.1"], header="X-User", reactor=clock)
        for number in range(1, 100):
            peer = IPv6Address("TCP", f"2001:db8::{number}", 1)
            self.assertIsNone(authenticator.authenticate(request(("X-User", "hunter2"), peer=peer)))
        self.assertIsNone(authenticator.authenticate(request(("X-User", "hunter2"), ("X-User", "hunter3"))))
        self.assertEqual(
            lines,
            [
                "2001:db8::1 is not among the trusted proxies",
                "the proxy did not send exactly one plain value of X-User",
            ],
        )


class KeyTests(OnSQLite, TestCase):
    """Mode ``keys``."""

    timeout = 20

    async def test_reasons(self) -> None:
        """The log names a key that has ended by its id, and an unknown one by its hint."""
        lines = rejections(self)
        migrations.upgrade(self.url)
        store = KeyStore(self.url)
        revoked, expired = store.create("alice", {}), store.create("alice", {}, timedelta(microseconds=1))
        ids = [key.id for key in store.all()]
        store.revoke(ids[0])
        authenticate: Callable[[Any], Any] = KeyAuthenticator(self.url, reactor=reactor).authenticate
        for value in (revoked, expired, "aib_" + "A" * 41 + "BC", "aib_" + "D" * 43, "aib_hunter2", "sk-hunter2"):
            for _ in range(3):
                self.assertIsNone(await maybeDeferred(authenticate, request(("x-api-key", value))))
        self.assertEqual(
            lines,
            [
                f"key {ids[0]} is revoked",
                f"key {ids[1]} has expired",
                "there is no key aib_...BC",
                "the credential has not the form of a key: aib_ and 43 characters",
                "no key was sent",
            ],
        )

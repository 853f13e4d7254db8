"""Mode ``jwt``: the verification of tokens, and the issuer's keys."""

import contextlib
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import NOT_DONE_YET

from aibridge import Actor, JWTAuthenticator
from aibridge.errors import Unavailable
from aibridge.identity import jwks as jwks_source
from aibridge.identity.jwks import ALGORITHMS, Keyring, find_key, from_file, from_url, read_keys
from aibridge.testing import Ending, FakeProvider, LoopbackServer, RawReply
from aibridge.testing.delivery import Delivery
from aibridge.testing.provider import received_request

from .requests import actor_of, left, request
from .tokens import AUDIENCE, ISSUER, claims, jwks, private_key, public_jwk, segment, token

NAMED = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class KeySetTests(SynchronousTestCase):
    """The keys of an issuer's document."""

    def test_kinds(self) -> None:
        """Each kind of key verifies its own algorithms only; no algorithm is symmetric."""
        for algorithm in NAMED:
            [key] = read_keys(jwks(public_jwk(algorithm)))
            self.assertIn(algorithm, key.algorithms)
            self.assertEqual({name[0] for name in key.algorithms} - {"R", "P"}, set(algorithm[0]) - {"R", "P"})
        self.assertEqual(ALGORITHMS, set(NAMED))

    def test_what_a_key_is_for(self) -> None:
        """A key that names its algorithm verifies that one only."""
        [key] = read_keys(jwks(public_jwk("RS256", alg="RS512")))
        self.assertEqual(key.algorithms, ("RS512",))

    def test_passed_over(self) -> None:
        """Keys for something else, weak ones, and what is no key are left out; the others stay."""
        good = public_jwk("ES256", "good")
        entries = [
            public_jwk("RS256", use="enc"),
            public_jwk("RS256", key_ops=["encrypt"]),
            public_jwk("RS256", alg="HS256"),
            public_jwk("RS256", alg="none"),
            public_jwk("RS256", alg=["RS256"]),
            public_jwk("RS256", key=private_key("weak")),
            public_jwk("ES256", crv="P-384"),
            public_jwk("ES256", crv=["P-256"]),
            public_jwk("ES256", x="AA"),
            public_jwk("ES256K", key=private_key("ES256K")),
            {"kty": "oct", "k": "c2VjcmV0"},
            {"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"},
            {"kty": ["RSA"]},
            {"kty": "RSA"},
            {"kty": "RSA", "n": 5, "e": None},
            {"kty": "martian"},
            "key",
            None,
            good,
        ]
        self.assertEqual([key.kid for key in read_keys(jwks(*entries))], ["good"])

    def test_private_half(self) -> None:
        """Of a document that tells too much only the public half is taken."""
        told = RSAAlgorithm.to_jwk(private_key("RS"), as_dict=True) | {"key_ops": ["sign", "verify"]}
        [key] = read_keys(jwks(told))
        self.assertFalse(hasattr(key.key, "private_bytes"))

    def test_no_set(self) -> None:
        """Whatever is no set of keys, or holds none that is good for anything, is a ValueError."""
        for document in (b"", b"{", b"[]", b"{}", b'{"keys":{}}', jwks(), jwks(None), b"\xff", b"[" * 100_000):
            self.assertRaises(ValueError, read_keys, document)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(["kty", "n", "e", "crv", "x", "y", "alg", "use", "kid", "key_ops"]),
                st.none()
                | st.integers()
                | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "sig", "RS256"])
                | st.text(max_size=5)
                | st.lists(st.text(max_size=2), max_size=2),
            )
        )
    )
    def test_any_set(self, entries: Any) -> None:
        """Any document is keys or a ValueError."""
        with contextlib.suppress(ValueError):
            read_keys(jwks(*entries))

    def test_by_name(self) -> None:
        """A token's key is the one of its name, if it fits; without a name it is the only one that fits."""
        keys = read_keys(jwks(public_jwk("RS256", "r"), public_jwk("ES256", "e"), public_jwk("EdDSA")))
        found = lambda *asked: getattr(find_key(keys, *asked), "kid", "nothing")  # noqa: E731
        self.assertEqual(found("RS256", "r"), "r")
        self.assertEqual(found("RS256", "e"), "nothing")
        self.assertEqual(found("RS256", "x"), "nothing")
        self.assertEqual(found("ES256", None), "e")
        self.assertEqual(found("EdDSA", None), None)
        twice = read_keys(jwks(public_jwk("RS256", "r"), public_jwk("PS256", "p")))
        self.assertIsNone(find_key(twice, "RS256", None))


class KeyringTests(SynchronousTestCase):
    """When keys are fetched, and how long they are good."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fetches = 0
        self.answer: Callable[[], Deferred[bytes]] = lambda: succeed(jwks(public_jwk("ES256", "a")))
        self.keyring = Keyring(self.fetch, self.clock)

    def fetch(self) -> "Deferred[bytes]":
        """In the place of file or URL."""
        self.fetches += 1
        return self.answer()

    def find(self, kid: str = "a") -> Any:
        """The key's name, None, or the kind of error that there is now."""
        found = Deferred.fromCoroutine(self.keyring.find("ES256", kid))
        result: Any = []
        found.addBoth(result.append)
        self.assertTrue(result, "still waits")
        if isinstance(result[0], Failure):
            return result[0].type
        return result[0] and result[0].kid

    def test_once(self) -> None:
        """Keys are fetched when they are first needed, and then kept for five minutes."""
        self.assertEqual(self.fetches, 0)
        for _ in range(29):
            self.assertEqual(self.find(), "a")
            self.clock.advance(10)
        self.assertEqual(self.fetches, 1)
        self.clock.advance(11)
        self.find()
        self.assertEqual(self.fetches, 2)

    def test_check(self) -> None:
        """Tokens can be verified once keys were fetched, for as long as these are kept."""
        check = lambda: Deferred.fromCoroutine(self.keyring.check())  # noqa: E731
        good, self.answer = self.answer, lambda: fail(ValueError("down"))
        self.failureResultOf(check(), Unavailable)
        self.clock.advance(10)
        self.answer = good
        self.assertEqual(self.successResultOf(check()), "the issuer's keys are known")
        self.answer = lambda: fail(ValueError("down"))
        self.clock.advance(24 * 3600)
        self.assertEqual(self.successResultOf(check()), "the issuer's keys are known")
        self.clock.advance(1)
        self.failureResultOf(check(), Unavailable)

    def test_many_at_once(self) -> None:
        """A hundred tokens wait for one fetch."""
        fetched: Deferred[bytes] = Deferred()
        self.answer = lambda: fetched
        waiting = [Deferred.fromCoroutine(self.keyring.find("ES256", "a")) for _ in range(100)]
        fetched.callback(jwks(public_jwk("ES256", "a")))
        self.assertEqual([self.successResultOf(each).kid for each in waiting], ["a"] * 100)
        self.assertEqual(self.fetches, 1)

    def test_refreshed_behind_their_back(self) -> None:
        """Nobody waits for newer keys while the old ones will do."""
        self.find()
        self.clock.advance(301)
        self.answer = Deferred
        self.assertEqual((self.find(), self.find(), self.fetches), ("a", "a", 2))

    def test_rotation(self) -> None:
        """A token whose key is not there makes the keys be fetched; when a key is withdrawn it is gone."""
        self.find()
        self.clock.advance(5)
        self.answer = lambda: succeed(jwks(public_jwk("ES256", "b")))
        self.assertEqual((self.find("b"), self.fetches), ("b", 2))
        self.clock.advance(1)
        self.assertIsNone(self.find("a"))

    def test_made_up_names(self) -> None:
        """Made-up key ids cause a request to the issuer every five seconds at most."""
        self.find()
        for number in range(100):
            self.assertIsNone(self.find(f"made-up-{number}"))
            self.clock.advance(0.1)
        self.assertLessEqual(self.fetches, 3)

    def test_never_fetched(self) -> None:
        """Before there are keys every token is answered 503, and a failing issuer is requested every five seconds at most."""
        self.answer = lambda: fail(ValueError("down"))
        for _ in range(10):
            self.assertEqual(self.find(), Unavailable)
        self.assertEqual(self.fetches, 1)
        self.clock.advance(5)
        self.answer = lambda: succeed(jwks(public_jwk("ES256", "a")))
        self.assertEqual(self.find(), "a")

    def test_issuer_away(self) -> None:
        """While keys can't be fetched the old ones are good for a day; a new token's key can't be known."""
        self.find()
        self.answer = lambda: fail(ValueError("down"))
        for _ in range(23):
            self.clock.advance(3600)
            self.assertEqual(self.find(), "a")
        self.assertEqual(self.find("b"), Unavailable)
        self.clock.advance(3601)
        self.assertEqual(self.find(), Unavailable)

    def test_nonsense(self) -> None:
        """An answer that is no set of keys does not take the old ones away."""
        self.find()
        self.clock.advance(301)
        self.answer = lambda: succeed(b"<html>")
        self.assertEqual((self.find(), self.find()), ("a", "a"))


class Issuing(TestCase):
    """Tests with an issuer's keys in a file."""

    timeout = 20

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.publish(public_jwk("RS256", "r"), public_jwk("ES256", "e"), public_jwk("EdDSA", "d"))
        self.authenticator = self.made()

    def publish(self, *entries: Any) -> None:
        """The issuer's keys from now on."""
        self.path.write_bytes(jwks(*entries))

    def made(self, **changed: Any) -> JWTAuthenticator:
        """An authenticator."""
        given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(self.path), "reactor": reactor}
        return JWTAuthenticator(**given | changed)

    async def ask(self, text: str | bytes, **changed: Any) -> Any:
        """The id of the token's actor, or None."""
        authenticator = self.made(**changed) if changed else self.authenticator
        value = b"Bearer " + (text.encode() if isinstance(text, str) else text)
        actor = await actor_of(authenticator, request(("Authorization", value)))
        return actor and actor.id


class TokenTests(Issuing):
    """Verified tokens, and all others."""

    async def test_good(self) -> None:
        """A token that is right in everything, in each kind of signature."""
        for algorithm, kid in (("RS256", "r"), ("RS512", "r"), ("PS256", "r"), ("ES256", "e"), ("EdDSA", "d")):
            key = private_key("RS") if kid == "r" else None
            self.assertEqual(await self.ask(token(algorithm, kid, key)), "alice", algorithm)
        self.assertEqual(await self.ask(token("ES256", aud=["other", AUDIENCE])), "alice")

    async def test_headers(self) -> None:
        """The token is removed from every header; other credentials stay."""
        good, strange = token("ES256", "e"), token("ES256", "e", iss="https://elsewhere.example/")
        for fields, rest in (
            ([("Authorization", f"bearer {good}")], {}),
            ([("x-api-key", good)], {}),
            ([("X-AIBridge-Key", good)], {}),
            ([("X-AIBridge-Key", f"Bearer {good}"), ("x-api-key", good)], {}),
            ([("Authorization", f"Bearer {good}"), ("x-api-key", good)], {}),
            (
                [("Authorization", f"Bearer {strange}"), ("x-api-key", good)],
                {b"authorization": [b"Bearer " + strange.encode()]},
            ),
            ([("Authorization", f"Bearer {good}"), ("x-api-key", "own")], {b"x-api-key": [b"own"]}),
        ):
            made = request(*fields)
            self.assertEqual(await maybeDeferred(self.authenticator.authenticate, made), Actor("alice"))
            self.assertEqual(left(made), rest)

    async def test_at_once(self) -> None:
        """The second time there is nothing to wait for."""
        good = token("ES256", "e")
        await self.ask(good)
        made = request(("Authorization", f"Bearer {good}"))
        self.assertEqual(self.authenticator.authenticate(made), Actor("alice"))

    async def test_claims(self) -> None:
        """Times, issuer and audience are checked; what must be there is there, and is of its kind."""
        now = int(time.time())
        for changed in (
            {"exp": now - 31},
            {"exp": None},
            {"exp": "soon"},
            {"exp": "Infinity"},
            {"exp": [now]},
            {"nbf": now + 60},
            {"nbf": "x"},
            {"iat": now + 60},
            {"iat": {}},
            {"iss": "https://id.example"},
            {"iss": None},
            {"aud": "other"},
            {"aud": ["other"]},
            {"aud": [AUDIENCE, 5]},
            {"aud": None},
            {"aud": {AUDIENCE: 1}},
            {"sub": None},
            {"sub": ""},
            {"sub": "  "},
            {"sub": 5},
            {"sub": ["alice"]},
        ):
            self.assertIsNone(await self.ask(token("ES256", "e", **changed)), changed)

    async def test_leeway(self) -> None:
        """Clocks may differ by that much."""
        now = int(time.time())
        for changed in ({"exp": now - 20}, {"nbf": now + 20}, {"iat": now + 20}):
            self.assertEqual(await self.ask(token("ES256", "e", **changed)), "alice")
            self.assertIsNone(await self.ask(token("ES256", "e", **changed), leeway=0.0))

    async def test_actor_claim(self) -> None:
        """Another claim can name the actor; the subject does not stand in for it."""
        self.assertEqual(await self.ask(token("ES256", "e", email="a@b"), actor_claim="email"), "a@b")
        self.assertIsNone(await self.ask(token("ES256", "e"), actor_claim="email"))

    async def test_attacks(self) -> None:
        """Tokens that were not signed by the issuer, whatever they say of themselves."""
        good = token("ES256", "e")
        head, payload, signature = good.split(".")
        body = segment(claims(sub="root"))
        rs = private_key("RS").public_key()
        public = rs.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        own_jwk = public_jwk("ES256", "e", private_key("ES256", 1))
        attacks = {
            "no algorithm": f"{segment({'alg': 'none'})}.{body}.",
            "no algorithm, with a signature": f"{segment({'alg': 'None', 'kid': 'e'})}.{body}.{signature}",
            "no algorithm named": f"{segment({'kid': 'e'})}.{body}.{signature}",
            "an algorithm of another type": f"{segment({'alg': ['ES256'], 'kid': 'e'})}.{body}.{signature}",
            "another payload": f"{head}.{body}.{signature}",
            "no signature": f"{head}.{payload}.",
            "half a signature": good[:-20],
            "a signature of zeros": f"{head}.{body}.{segment(bytes(64))}",
            "the public key as a secret": hmac_token(public, "r"),
            "the public key's document as a secret": hmac_token(json.dumps(public_jwk("RS256", "r")).encode(), "r"),
            "another key under the same name": token("ES256", "e", private_key("ES256", 1)),
            "another kind of key": token("RS256", "e"),
            "another curve": token("ES384", "e"),
            "a name that is not there": token("ES256", "x"),
            "a name of another type": f"{segment({'alg': 'ES256', 'kid': 5})}.{payload}.{signature}",
            "a key of its own": with_head(private_key("ES256", 1), {"kid": "e", "jwk": own_jwk}),
            "keys elsewhere": with_head(private_key("ES256", 1), {"kid": "e", "jku": "https://evil.example/jwks.json"}),
            "something critical": with_head(private_key("ES256"), {"kid": "e", "crit": ["x"], "x": 1}),
            "a detached payload": with_head(private_key("ES256"), {"kid": "e", "crit": ["b64"], "b64": False}),
            "encrypted": f"{head}.{payload}.{signature}.{signature}.{signature}",
        }
        for what, text in attacks.items():
            self.assertIsNone(await self.ask(text), what)
        self.assertEqual(await self.ask(good), "alice")

    async def test_garbage(self) -> None:
        """Garbage, and a token that is too long, have no actor."""
        deep = segment(b"[" * 3000)
        for text in (
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "sk-own",
            b"\xff.\xff.\xff",
            f"{deep}.{deep}.{deep}",
            f"{deep}.{segment(claims())}.x",
            f"{segment([])}.{segment(claims())}.x",
            f"{segment(b'{')}.{segment(claims())}.x",
            token("ES256", "e", padding="x" * 9000),
        ):
            self.assertIsNone(await self.ask(text), text[:50])
        self.assertIsNone(await actor_of(self.authenticator, request()))
        basic = request(("Authorization", "Basic dTpw"))
        self.assertIsNone(await actor_of(self.authenticator, basic))

    @settings(max_examples=150, deadline=None)
    @given(
        st.tuples(*[st.text(max_size=20) | st.binary(max_size=20)] * 3)
        | st.tuples(st.fixed_dictionaries({}, optional={"alg": st.sampled_from(NAMED), "kid": st.text(max_size=2)}))
    )
    def test_any_bytes(self, parts: Any) -> None:
        """Any bytes have no actor, and raise no error."""
        head = segment(parts[0]) if len(parts) == 1 else str(parts[0])
        authenticator = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_file="x", reactor=Clock())
        authenticator._keyring = Keyring(lambda: succeed(jwks(public_jwk("ES256", "e"))), Clock())
        rest = [segment(claims()), *map(str, parts[2:])]
        made = request(("X-AIBridge-Key", ".".join([head, *rest, ""][:3]).encode("utf-8", "replace")))
        self.assertIsNone(self.successResultOf(actor_of(authenticator, made)))

    def test_two_sources(self) -> None:
        """An authenticator without a source of keys, or with two, is refused."""
        for given_ in ({"jwks_url": "https://x/"}, {"jwks_file": None}):
            self.assertRaises(ValueError, self.made, **given_)


def hmac_token(secret: bytes, kid: str) -> str:
    """Signed with a secret; PyJWT refuses to make such a thing of a public key."""
    signed = f"{segment({'alg': 'HS256', 'kid': kid})}.{segment(claims(sub='root'))}"
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def with_head(key: Any, head: dict[str, Any]) -> str:
    """A token that says more of itself."""
    return jwt.encode(claims(sub="root"), key, "ES256", head)


class BelievedTests(SynchronousTestCase):
    """For how long a token that was found good is not checked again."""

    def test_a_minute(self) -> None:
        """A key that is withdrawn ends its tokens within a minute."""
        clock = Clock()
        authenticator = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_file="x", reactor=clock)
        keys = [jwks(public_jwk("ES256", "e"))]
        authenticator._keyring = Keyring(lambda: succeed(keys[0]), clock)
        good = token("ES256", "e")
        ask = lambda: self.successResultOf(  # noqa: E731
            actor_of(authenticator, request(("Authorization", f"Bearer {good}")))
        )
        self.assertEqual(ask(), Actor("alice"))
        keys[0] = jwks(public_jwk("ES384", "other"))
        clock.advance(301)
        ask()  # in whose course newer keys are fetched
        self.assertIsNone(ask())

    def test_not_beyond_its_end(self) -> None:
        """A token is not believed longer than it says itself."""
        for left_, believed in ((10, 10), (600, 60)):
            clock = Clock()
            authenticator = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_file="x", reactor=clock, leeway=0)
            authenticator._keyring = Keyring(lambda: succeed(jwks(public_jwk("ES256", "e"))), clock)
            good = token("ES256", "e", exp=int(time.time()) + left_)
            ask = lambda: authenticator.authenticate(request(("Authorization", f"Bearer {good}")))  # noqa: B023, E731
            self.assertEqual(self.successResultOf(ask()), Actor("alice"))
            clock.advance(believed - 2)
            self.assertEqual(ask(), Actor("alice"))
            clock.advance(2)
            self.assertIsInstance(ask(), Deferred)


class SourceTests(TestCase):
    """The sources of keys."""

    timeout = 20

    async def listen(self, *replies: RawReply) -> tuple[str, FakeProvider]:
        """A server that answers with these."""
        server = LoopbackServer(reactor, provider := _Issuer(replies))
        self.addCleanup(server.stop)
        return await server.start() + "/jwks.json?p=x", provider

    async def test_url(self) -> None:
        """A URL is asked, each time anew, as it is written."""
        url, issuer = await self.listen(RawReply(chunks=[b"{", b"}"]), RawReply(chunks=[b"[]"]))
        fetch = from_url(url, reactor)
        self.assertEqual([await fetch(), await fetch()], [b"{}", b"[]"])
        self.assertEqual([each.uri for each in issuer.requests], [b"/jwks.json?p=x"] * 2)

    async def test_refusals(self) -> None:
        """Errors, redirects and answers without end are no keys."""
        for reply in (
            RawReply(status=500, chunks=[b"{}"]),
            RawReply(status=302, headers={"location": "/elsewhere"}),
            RawReply(chunks=(b"x" * 65536 for _ in range(1000))),
            RawReply(status=None, chunks=[b"nonsense\r\n\r\n"]),
        ):
            url, issuer = await self.listen(reply)
            with self.assertRaises(Exception):  # noqa: B017 - of whichever kind; a keyring takes them all
                await from_url(url, reactor)()
            self.assertEqual(len(issuer.requests), 1)

    async def test_too_slow(self) -> None:
        """An answer that does not end is given up, and its connection with it."""
        self.patch(jwks_source, "_FETCH_TIMEOUT", 0.1)
        url, issuer = await self.listen(RawReply(chunks=[b"{"], ending=Ending.STALL))
        with self.assertRaises(Exception):  # noqa: B017
            await from_url(url, reactor)()
        self.assertFalse(await issuer.requests[0].over)

    async def test_proxy(self) -> None:
        """The issuer is reached through the environment's proxy, as providers are."""
        proxy = Factory.forProtocol(_Proxy)
        port = reactor.listenTCP(0, proxy, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.patch(os, "environ", {"http_proxy": f"127.0.0.1:{port.getHost().port}"})
        self.assertEqual(await from_url("http://issuer.test/jwks.json?p=x", reactor)(), b"{}")

    async def test_file(self) -> None:
        """A file is read each time anew."""
        path = Path(self.mktemp())
        path.write_bytes(b"{}")
        fetch = from_file(str(path), reactor)
        first = await fetch()
        path.write_bytes(b"[]")
        self.assertEqual([first, await fetch()], [b"{}", b"[]"])
        path.unlink()
        with self.assertRaises(OSError):
            await fetch()


class _Proxy(Protocol):
    """Responds itself to what a proxy is asked for."""

    def dataReceived(self, data: bytes) -> None:
        found = data.startswith(b"GET http://issuer.test/jwks.json?p=x HTTP/1.1\r\n")
        self.transport.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % (200 if found else 404))


class _Issuer(FakeProvider):
    """Says raw things, whatever it is asked."""

    def __init__(self, replies: Any) -> None:
        super().__init__()
        self._replies = iter(replies)

    def render(self, asked: Any) -> int:
        received = received_request(asked)
        self.requests.append(received)
        asked.defaultContentType = None
        reply = next(self._replies)
        Delivery(asked, received, None).start(reply.status, reply.headers, iter(reply.chunks), reply.ending)
        return NOT_DONE_YET

"""Metadata that tokens and proxies state."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from aibridge import Actor, JWTAuthenticator
from aibridge.identity.jwks import Keyring
from aibridge.identity.metadata import LONGEST, from_claims, from_headers

from .requests import actor_of, request
from .tokens import AUDIENCE, ISSUER, jwks, public_jwk, token

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
PATHS = st.lists(st.sampled_from(["a", "b", "0", "1", "٣", "-1", "a.b"]), min_size=1, max_size=4).map(".".join)


class ClaimTests(SynchronousTestCase):
    """Claims of a token."""

    def test_paths(self) -> None:
        """A path leads through objects and lists; claims with dots in their names are found; others are left out."""
        claims: dict[str, Any] = {
            "email": "zoë@example.com",
            "groups": ["core", "ops"],
            "address": {"city": "Graz"},
            "https://id.example/team": {"name": "a b"},
            "level": 3,
            "admin": True,
        }
        for path, value in (
            ("email", "zoë@example.com"),
            ("groups.0", "core"),
            ("groups", "core,ops"),
            ("address.city", "Graz"),
            ("https://id.example/team.name", "a b"),
            ("level", "3"),
            ("admin", None),
            ("address", None),
            ("groups.2", None),
            ("groups.-1", None),
            ("email.0", None),
            ("missing", None),
        ):
            self.assertEqual(from_claims(claims, {"x": path}), {} if value is None else {"x": value}, path)

    def test_bounds(self) -> None:
        """A value is cut, and has no characters that can't be printed."""
        found = from_claims({"a": "x" * 1000, "b": " two\r\nlines\0\ud800 ", "c": "\n"}, {"a": "a", "b": "b", "c": "c"})
        self.assertEqual(found, {"a": "x" * LONGEST, "b": "twolines"})

    @given(st.dictionaries(st.sampled_from(["a", "b", "a.b"]), JSON), PATHS)
    def test_any_claims(self, claims: dict[str, Any], path: str) -> None:
        """Whatever a token states, metadata is short, printable text."""
        for value in from_claims(claims, {"x": path}).values():
            self.assertTrue(value.isprintable() and 0 < len(value) <= LONGEST)

    def test_token(self) -> None:
        """The actor of a verified token has its metadata, also when the token comes again."""
        authenticator = JWTAuthenticator(
            issuer=ISSUER,
            audience=AUDIENCE,
            jwks_file="x",
            reactor=Clock(),
            metadata_claims={"team": "groups.0", "email": "email"},
        )
        authenticator._keyring = Keyring(lambda: succeed(jwks(public_jwk("RS256"))), Clock())
        word = token(groups=["core"])
        for _ in range(2):
            found = self.successResultOf(actor_of(authenticator, request(("authorization", f"Bearer {word}"))))
            self.assertEqual(found, Actor("alice", {"team": "core"}))


class HeaderTests(SynchronousTestCase):
    """Headers of a proxy."""

    @given(st.binary(max_size=400))
    def test_any_value(self, value: bytes) -> None:
        """Whatever bytes a header has, metadata is short, printable text, and the header is removed."""
        headers = Headers({b"X-Team": [value]})
        for text in from_headers(headers, {"team": "X-Team"}).values():
            self.assertTrue(text.isprintable() and 0 < len(text) <= LONGEST)
        self.assertFalse(headers.hasHeader(b"X-Team"))

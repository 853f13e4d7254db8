"""Masking: no secret is left, however it is written and wherever the pieces are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge import AnthropicProvider
from aibridge.dumps.masking import MASK, Masker, credentials_of, masked_headers, masked_url, secrets_of
from aibridge.http.headers import RawHeaders

SECRETS = [b"sk-first/secret", b'second"secret', b"secret", b"short"]
GATEWAY_KEY = b"aib_" + b"x" * 43


def masked(*pieces: bytes) -> bytes:
    masker = Masker(SECRETS)
    return b"".join([masker.feed(piece) for piece in pieces]) + masker.close()


class ValueTests(SynchronousTestCase):
    """Secrets by value."""

    def test_forms(self) -> None:
        """A secret is masked as it is, in JSON and in a URL; gateway keys are, without being known; others stay."""
        for found in (b"sk-first/secret", b"sk-first\\/secret", b"sk-first%2Fsecret", b'second\\"secret', GATEWAY_KEY):
            self.assertEqual(masked(b"<" + found + b">"), b"<" + MASK + b">")
        self.assertEqual(masked(b"a short aib_key"), b"a short aib_key")

    @given(
        st.lists(st.sampled_from([*SECRETS, GATEWAY_KEY, b"sk-first", b"-", b"sec", b"aib_x"]), max_size=9),
        st.lists(st.integers(0, 200), max_size=9),
    )
    def test_pieces(self, parts: list[bytes], cuts: list[int]) -> None:
        """The pieces' ends make no difference, and no secret gets through."""
        whole = b"".join(parts)
        places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
        pieces = [whole[start:end] for start, end in pairwise(places)]
        result = masked(*pieces)
        for secret in SECRETS[:3]:
            self.assertNotIn(secret, result)
        self.assertNotIn(GATEWAY_KEY, result)
        rest = result
        for secret in (MASK, b"short"):
            rest = rest.replace(secret, b"")
        self.assertLessEqual(len(rest), len(whole))

    @given(st.binary(max_size=300), st.integers(0, 300))
    def test_nothing_else_changes(self, data: bytes, cut: int) -> None:
        """Bytes without a secret stay as they are."""
        self.assertEqual(masked(data[:cut], data[cut:]), data)


class NameTests(SynchronousTestCase):
    """Secrets by the names of headers, parameters and settings."""

    def test_headers(self) -> None:
        """Credentials become hints; their schemes and all other headers stay."""
        headers = RawHeaders(
            [
                (b"Authorization", b"Bearer sk-ant-a-long-secret"),
                (b"x-api-key", b"tiny"),
                (b"X-Team", b"configured"),
                (b"User-Agent", b"claude"),
            ]
        )
        found = masked_headers(headers, [b"x-team"])
        self.assertEqual(
            found.by_name,
            {
                b"authorization": [b"Bearer sk-a...et[masked]"],
                b"x-api-key": [MASK],
                b"x-team": [MASK],
                b"user-agent": [b"claude"],
            },
        )
        self.assertEqual(sorted(credentials_of(headers)), [b"sk-ant-a-long-secret", b"tiny"])
        self.assertEqual(headers.by_name[b"x-api-key"], [b"tiny"])

    def test_url(self) -> None:
        """Values of parameters that hold credentials are masked."""
        self.assertEqual(masked_url(b"/v1?a=b&key=s3cret&token=t"), b"/v1?a=b&key=[masked]&token=[masked]")
        self.assertEqual(masked_url(b"/v1?monkey=b"), b"/v1?monkey=b")

    def test_settings(self) -> None:
        """All secret settings of a provider are known."""
        provider = AnthropicProvider(api_keys=["one-key", "other-key"], extra_headers={"X-Team": "core"})
        self.assertEqual(sorted(secrets_of(provider)), [b"core", b"one-key", b"other-key"])
        self.assertEqual(secrets_of(object()), [])

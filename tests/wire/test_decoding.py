"""Compressed request bodies."""

import contextlib
import gzip
import tracemalloc
import zlib

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, BodyTooLarge, GatewayError
from aibridge.wire.request_body import decode_body

BODY = b'{"model": "m", "input": "' + b"hello " * 500 + b'"}'
LIMIT = 10_000


def _zstd(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


CODINGS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "zstd": _zstd}


class DecodeTests(SynchronousTestCase):
    """A body without its codings."""

    def test_each(self):
        """Every coding that clients use is read through, whatever the case of its name."""
        for name, encode in CODINGS.items():
            self.assertEqual(decode_body(encode(BODY), name, LIMIT), BODY)
            self.assertEqual(decode_body(encode(BODY), f" {name.upper()} ", LIMIT), BODY)

    def test_none(self):
        """Identity, or nothing, leaves it."""
        for codings in ("", "identity", " Identity , ", ","):
            self.assertEqual(decode_body(BODY, codings, LIMIT), BODY)

    def test_several(self):
        """Codings are undone from the last to the first."""
        self.assertEqual(decode_body(_zstd(gzip.compress(BODY)), "gzip, identity, zstd", LIMIT), BODY)

    def test_several_zstd_frames(self):
        """A body of several frames is read as one, as its reader at the provider does."""
        self.assertEqual(decode_body(_zstd(BODY[:99]) + _zstd(BODY[99:]), "zstd", LIMIT), BODY)

    def test_streamed_zstd(self):
        """A frame that doesn't tell its size is read too."""
        compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
        body = compressor.compress(BODY) + compressor.flush()
        self.assertEqual(decode_body(body, "zstd", LIMIT), BODY)

    def test_unknown(self):
        """A coding that isn't known is the client's error; what it said is quoted in part."""
        for name in ("br", "compress", "gzip; q=1", "x" * 5000):
            error = self.assertRaises(BadRequest, decode_body, BODY, name, LIMIT)
            self.assertLess(len(error.message), 150)

    def test_not_what_it_says(self):
        """A body that isn't in its coding is the client's error."""
        for name in CODINGS:
            for body in (BODY, b"\x00" * 20, b"\xff" * 20):
                self.assertRaises(BadRequest, decode_body, body, name, LIMIT)

    def test_truncated(self):
        """Half a body never is a whole one."""
        for name, encode in CODINGS.items():
            body = encode(BODY)
            for size in (0, 1, 5, len(body) // 2, len(body) - 5):
                with contextlib.suppress(BadRequest):
                    self.assertNotEqual(decode_body(body[:size], name, LIMIT), BODY)

    def test_more_behind_it(self):
        """A body that the gateway can't read isn't passed on."""
        for name, encode in CODINGS.items():
            self.assertRaises(BadRequest, decode_body, encode(BODY) + b"more", name, LIMIT)

    @given(st.binary(max_size=100), st.sampled_from(sorted(CODINGS)))
    def test_garbage(self, garbage, name):
        """Whatever comes, it is read or refused."""
        with contextlib.suppress(GatewayError):
            decode_body(garbage, name, LIMIT)

    @given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(CODINGS)), max_size=3))
    def test_round_trip(self, body, names):
        """A body is decoded from any codings in any order."""
        encoded = body
        for name in names:
            encoded = CODINGS[name](encoded)
        self.assertEqual(decode_body(encoded, ", ".join(names), 10_000), body)


class BombTests(SynchronousTestCase):
    """Bodies that unpack to far more than they are."""

    def test_limit(self):
        """A body may unpack to the limit, and to no byte more."""
        for name, encode in CODINGS.items():
            self.assertEqual(decode_body(encode(b"x" * LIMIT), name, LIMIT), b"x" * LIMIT)
            self.assertRaises(BodyTooLarge, decode_body, encode(b"x" * (LIMIT + 1)), name, LIMIT)

    def test_memory(self):
        """Unpacking stops at the limit, in every coding and in several."""
        big = b"\0" * 50_000_000
        bombs = [(name, encode(big)) for name, encode in CODINGS.items()]
        bombs.append(("gzip, gzip", gzip.compress(gzip.compress(big))))
        for name, bomb in bombs:
            tracemalloc.start()
            try:
                self.assertRaises(BodyTooLarge, decode_body, bomb, name, 100_000)
                self.assertLess(tracemalloc.get_traced_memory()[1], 2_000_000, name)
            finally:
                tracemalloc.stop()

    def test_many_codings(self):
        """A long list of codings, each of which may unpack to the limit, is refused before any is undone."""
        self.assertRaises(BadRequest, decode_body, gzip.compress(BODY), ", ".join(["gzip"] * 50), LIMIT)

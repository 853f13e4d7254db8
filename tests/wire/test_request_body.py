"""Checks of every request, and the parsing of JSON."""

import contextlib
import gzip

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import BadRequest, BodyTooLarge, GatewayError
from aibridge.wire import jsontext
from aibridge.wire.lazy_document import LazyDocument
from aibridge.wire.request_body import read_request

LIMIT = 1_000_000


class ReadRequestTests(SynchronousTestCase):
    """A body is read once, or refused as the client's error."""

    def test_read(self):
        """Model and streaming are known, and the bytes are the client's."""
        raw = b' {"model":"m" , "stream": true}'
        asked = read_request(raw, "", LIMIT)
        self.assertEqual((asked.model, asked.streaming, asked.encoded, asked.decoded), ("m", True, raw, raw))

    def test_lazily(self):
        """A large body is parsed as far as it is asked for, a small one at once."""
        large = read_request(b'{"model":"m","x":"%b"}' % (b"x" * 5_000), "", LIMIT)
        self.assertIsInstance(large.document, LazyDocument)
        self.assertIsInstance(read_request(b'{"model":"m"}', "", LIMIT).document, dict)

    def test_streaming(self):
        """Only ``true`` asks for a stream."""
        for value in (b"false", b"null", b"1", b'"true"', b"[true]"):
            self.assertFalse(read_request(b'{"model":"m","stream":%b}' % value, "", LIMIT).streaming)
        self.assertFalse(read_request(b'{"model":"m"}', "", LIMIT).streaming)

    def test_compressed(self):
        """A compressed body is read through, and kept as it came beside."""
        raw = gzip.compress(b'{"model":"m"}')
        asked = read_request(raw, "gzip", LIMIT)
        self.assertEqual((asked.encoded, asked.decoded, asked.model), (raw, b'{"model":"m"}', "m"))

    def test_tolerant(self):
        """All JSON is read: a byte order mark, escapes of lone surrogates, large numbers, duplicate keys."""
        for body in (
            b'\xef\xbb\xbf{"model":"m"}',
            b'{"model":"m","x":%b,"y":"\\ud800"}' % (b"9" * 5_000),
            b'{"model":"m","x":"\\ud800"}',
            b'{"model":"m","x":123456789012345678901234567890}',
            b'{"model":"m","x":1e-999}',
            b'{"model":1,"model":"m"}',
            b'{"model":"m","x":' + b"[" * 500 + b"]" * 500 + b"}",
        ):
            self.assertEqual(read_request(body, "", LIMIT).model, "m")

    def test_not_json(self):
        """Anything else than JSON is refused, and the error quotes none of it."""
        for body in (
            b"",
            b" ",
            b"secret",
            b'{"model":"secret"',
            b'{"model":"secret",}',
            b"{'model':'secret'}",
            b'{"model":"secret","x":NaN}',
            b'{"model":"secret","x":-Infinity}',
            b'{"model":"secret\xff"}',
            b'{"model":"\xed\xa0\x80"}',
            b'{"model":"secret"} {}',
            '{"model":"secret"}'.encode("utf-16"),
            b"\x1f\x8b\x08",
            b'{"model":"secret","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        ):
            error = self.assertRaises(BadRequest, read_request, body, "", LIMIT)
            self.assertEqual(error.status, 400)
            self.assertNotIn("secret", error.message)

    def test_no_object(self):
        """JSON that is no object is refused."""
        for body in (b"[]", b"null", b"1", b'"x"', b'[{"model":"m"}]'):
            self.assertIn("object", self.assertRaises(BadRequest, read_request, body, "", LIMIT).message)

    def test_no_model(self):
        """A request without a model's name is refused, and told so."""
        for body in (b"{}", b'{"model":""}', b'{"model":null}', b'{"model":1}', b'{"model":["m"]}', b'{"Model":"m"}'):
            self.assertIn("model", self.assertRaises(BadRequest, read_request, body, "", LIMIT).message)

    def test_long_model(self):
        """A model's name is as long as names are: what is kept by it must not grow with what a client makes up."""
        self.assertEqual(len(read_request(b'{"model":"%b"}' % (b"m" * 512), "", LIMIT).model), 512)
        self.assertRaises(BadRequest, read_request, b'{"model":"%b"}' % (b"m" * 513), "", LIMIT)

    def test_too_large(self):
        """The size that counts is the unpacked one."""
        body = gzip.compress(b'{"model":"m","x":"' + b"x" * LIMIT + b'"}')
        self.assertRaises(BodyTooLarge, read_request, body, "gzip", LIMIT)

    @given(st.binary(max_size=100), st.sampled_from(["", "gzip", "zstd", "br", "identity"]))
    def test_garbage(self, body, codings):
        """Whatever comes, it is a GatewayError or a request."""
        try:
            read_request(body, codings, LIMIT)
        except GatewayError as error:
            self.assertIn(error.status, (400, 413))


class JSONTextTests(SynchronousTestCase):
    """Reading JSON, fast or tolerantly."""

    def test_objects(self):
        """An object or None, and never an error: providers are read along, not relied on."""
        self.assertEqual(jsontext.load_object(b'{"a":"\\ud800"}'), {"a": "\ud800"})
        for data in (b"[]", b"", b"{", b"\xff", b"[DONE]", b"{" * 100_000, b"[" * 100_000, b'{"a":' * 100_000):
            self.assertIsNone(jsontext.load_object(data))

    def test_exactly(self):
        """Whole numbers stay exact on request, up to some length; everything else is as usual."""
        for number in (2**63, 2**64, 10**30, -(10**299)):
            self.assertEqual(jsontext.load_exactly(b"[%d]" % number), [number])
            self.assertEqual(jsontext.dump([number]), b"[%d]" % number)
        self.assertEqual(jsontext.load_exactly(b"[%b, 1e999, 1.0]" % (b"9" * 5_000)), [None, None, 1.0])

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data):
        """Bytes that are no JSON raise ValueError and nothing else."""
        for load in (jsontext.load, jsontext.load_exactly):
            with contextlib.suppress(ValueError):
                load(data)

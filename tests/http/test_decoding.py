"""Responses whose bodies are packed although nobody asked for it."""

import gzip
import zlib
from importlib.util import find_spec

import zstandard
from twisted.internet.error import ConnectionAborted
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from aibridge.errors import UpstreamBroke
from aibridge.http.decoding import decoded

from .memory import Memory, Reader

PLAIN = b"".join(b"line %d of what was said\n" % number for number in range(9000))


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def brotli(data):
    import brotli

    return brotli.compress(data)


PACKED = {
    "gzip": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN[:5000]) + gzip.compress(PLAIN[5000:]),
    "GZip": gzip.compress(PLAIN),
    "deflate": zlib.compress(PLAIN),
    "Deflate": raw_deflate(PLAIN),
    "zstd": zstandard.compress(PLAIN),
    "ZSTD": zstandard.compress(PLAIN[:5000]) + zstandard.compress(PLAIN[5000:]),
    "identity": PLAIN,
    "zstd, identity,, gzip": gzip.compress(zstandard.compress(PLAIN)),
    "deflate, deflate, deflate": zlib.compress(zlib.compress(zlib.compress(PLAIN))),
}
if find_spec("brotli"):
    PACKED |= {"br": brotli(PLAIN), "gzip, BR": brotli(gzip.compress(PLAIN))}


class Sizing(Reader):
    """Knows the largest piece, and may pause after each."""

    largest = 0
    pauses = False

    def dataReceived(self, data):
        super().dataReceived(data)
        self.largest = max(self.largest, len(data))
        if self.pauses:
            self.transport.pauseProducing()


class DecodingTests(SynchronousTestCase):
    """A body arrives unpacked, piece by piece, bounded."""

    def begin(self, coding, length=None):
        """A response with that content coding, and its wire."""
        pending, wire = Memory().request()
        size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        wire.respond(b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\n%b\r\n\r\n" % (coding.encode(), size))
        return self.successResultOf(pending), wire

    def send(self, wire, data, size):
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            wire.respond(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.respond(b"0\r\n\r\n")

    def read(self, coding, packed, size=65536):
        """The reader of a body that comes in pieces of that size."""
        response, wire = self.begin(coding)
        reader = Sizing()
        decoded(response).deliverBody(reader)
        self.send(wire, packed, size)
        return reader

    def test_codings(self):
        """Each coding is unpacked, by itself and several in a row, however its name is spelled."""
        for coding, packed in PACKED.items():
            for size in (1 if len(packed) < 10_000 else 97, 5000, 10**6):
                reader = self.read(coding, packed, size)
                self.assertEqual(reader.data, PLAIN, coding)
                reader.reason.trap(ResponseDone)

    def test_headers(self):
        """The headers then tell neither coding nor length; those of an unpacked response stay."""
        response, _ = self.begin("gzip", 100)
        response = decoded(response)
        self.assertFalse(
            response.headers.hasHeader(b"content-encoding") or response.headers.hasHeader(b"content-length")
        )
        pending, wire = Memory().request()
        wire.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        response = self.successResultOf(pending)
        self.assertIs(decoded(response), response)
        self.assertTrue(response.headers.hasHeader(b"content-length"))

    def test_unknown(self):
        """A coding that is not known here, or a long row of them, leaves the response as it came."""
        for coding in ("compress", "gzip, exi", "gzip, gzip, gzip, gzip", "gzip;q=1"):
            response, _ = self.begin(coding)
            self.assertIsNone(decoded(response))
            self.assertEqual(response.headers.getRawHeaders("content-encoding"), [coding])

    def test_at_once(self):
        """What a provider has flushed is delivered without waiting for more."""
        packer = zlib.compressobj(wbits=31)
        response, wire = self.begin("gzip")
        reader = Sizing()
        decoded(response).deliverBody(reader)
        for word in (b"one ", b"two "):
            packed = packer.compress(word) + packer.flush(zlib.Z_SYNC_FLUSH)
            wire.respond(b"%x\r\n%b\r\n" % (len(packed), packed))
            self.assertTrue(reader.data.endswith(word))

    def test_named_only(self):
        """A body that is not packed at all, although it says so, passes as it is."""
        for coding in ("gzip", "zstd"):
            for plain in (b'{"a": 1}', b"data: {}\n\n", b""):
                for size in (1, 100):
                    self.assertEqual(self.read(coding, plain, size).data, plain)

    def test_wrong(self):
        """A body that can't be unpacked any further is broken off, and its connection is closed."""
        for coding, packed in (
            ("gzip", gzip.compress(PLAIN)[:2000] + bytes(500)),
            ("deflate", zlib.compress(PLAIN)[:2000] + bytes(5000)),
            ("zstd", zstandard.compress(PLAIN)[:2000] + bytes(5000)),
        ):
            reader = self.read(coding, packed, 1000)
            reader.reason.trap(UpstreamBroke)
            self.assertTrue(PLAIN.startswith(reader.data))

    def test_cut_off(self):
        """The end of a body whose packed data is cut off is not certain, whichever of its codings is."""
        for coding, packed in PACKED.items():
            if coding != "identity":
                for cut in (packed[:-1], packed[: len(packed) // 2], packed[:1]):
                    self.read(coding, cut).reason.trap(PotentialDataLoss)
                self.read(coding, b"").reason.trap(ResponseDone)

    def test_bomb(self):
        """However much a piece unpacks to, the reader gets it in small pieces, and only when it wants them."""
        for coding, packed, largest in (
            ("gzip", gzip.compress(bytes(10**8)), 65536),
            ("gzip, gzip", gzip.compress(gzip.compress(bytes(10**8))), 65536),
            ("zstd", zstandard.compress(bytes(10**8)), 8 * 2**20),
        ):
            response, wire = self.begin(coding)
            reader = Sizing()
            reader.pauses = True
            decoded(response).deliverBody(reader)
            wire.respond(b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
            for _ in range(3):
                self.assertIsNone(reader.reason)
                reader.transport.resumeProducing()
            self.assertLessEqual(len(reader.data), 4 * largest)
            self.assertLessEqual(reader.largest, largest)
            reader.transport.stopProducing()
            self.assertIsNotNone(reader.reason)

    def test_paused_at_the_end(self):
        """The end of a body that came while the reader was paused is told once the reader has all of it."""
        response, wire = self.begin("gzip")
        reader = Sizing()
        reader.pauses = True
        decoded(response).deliverBody(reader)
        self.send(wire, gzip.compress(PLAIN), 10**6)
        while reader.reason is None:
            reader.transport.resumeProducing()
        self.assertEqual(reader.data, PLAIN)
        reader.transport.resumeProducing()

    def test_stopped(self):
        """A reader that stops ends the provider's connection."""
        response, wire = self.begin("gzip")
        reader = Sizing()
        decoded(response).deliverBody(reader)
        reader.transport.stopProducing()
        wire.clock.advance(0)
        reader.reason.trap(ConnectionAborted)
        self.assertTrue(wire.aborted)

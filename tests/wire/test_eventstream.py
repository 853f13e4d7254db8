"""Amazon's event streams, message by message."""

import contextlib
import struct

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.eventstream import MAX_MESSAGE, EventStreamError, Message, MessageSplitter

from .eventstreams import chunk, framed, message
from .streams import cut

_MESSAGES = st.lists(
    st.tuples(st.dictionaries(st.text("abc:-", min_size=1, max_size=9), st.text(max_size=9)), st.binary(max_size=99)),
    max_size=5,
)


def read(*pieces):
    """The messages of a stream that arrives in these pieces."""
    splitter, found = MessageSplitter(), []
    for piece in pieces:
        splitter.add(piece)
        found += iter(splitter.next, None)
    return found


class MessageSplitterTests(SynchronousTestCase):
    """An event stream becomes messages, or an error."""

    @given(_MESSAGES, st.data())
    def test_pieces_make_no_difference(self, given_messages, data):
        """The messages are the same however the stream was cut."""
        stream = b"".join(message(headers, payload) for headers, payload in given_messages)
        places = data.draw(st.sets(st.integers(0, max(0, len(stream) - 1))))
        expected = [Message(headers, payload) for headers, payload in given_messages]
        self.assertEqual(read(*cut(stream, places)), expected)

    @given(_MESSAGES)
    def test_botocore_reads_the_same(self, given_messages):
        """Botocore's own reader finds the same messages in the stream."""
        stream = b"".join(message(headers, payload) for headers, payload in given_messages)
        buffer = EventStreamBuffer()
        buffer.add_data(stream)
        self.assertEqual([Message(each.headers, each.payload) for each in buffer], read(stream))

    def test_every_cut(self):
        """A message that is cut at any byte is not there until its rest comes."""
        whole = chunk({"type": "ping"})
        for place in range(len(whole)):
            splitter = MessageSplitter()
            splitter.add(whole[:place])
            self.assertIsNone(splitter.next(), place)
            self.assertEqual(splitter.is_between_messages, place == 0)
            splitter.add(whole[place:])
            self.assertIsNotNone(splitter.next(), place)
            self.assertTrue(splitter.is_between_messages)

    def test_every_wrong_byte(self):
        """A message with any one byte changed is refused, and never read as another one."""
        whole = chunk({"type": "ping"})
        for place in range(len(whole)):
            wrong = whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :]
            self.assertRaises(EventStreamError, read, wrong)

    def test_other_types_of_headers(self):
        """Headers of every type are passed over; only those with text are kept."""
        values = [b"\x00", b"\x01", b"\x02\x01", b"\x03\x00\x01", b"\x04\x00\x00\x00\x01", b"\x05" + bytes(8)]
        values += [b"\x06\x00\x02ab", b"\x08" + bytes(8), b"\x09" + bytes(16), b"\x07\x00\x02ab"]
        raw = b"".join(bytes([1]) + b"%d" % number + value for number, value in enumerate(values))
        self.assertEqual(read(framed(raw, b"x")), [Message({"9": "ab"}, b"x")])

    def test_wrong_headers(self):
        """Headers that are cut off, of an unknown type or no text are refused."""
        for raw in (
            b"\x05abc",
            b"\x01a",
            b"\x01a\x0a",
            b"\x01a\x07\x00",
            b"\x01a\x07\x00\x09ab",
            b"\x01a\x07\x00\x01\xff",
        ):
            self.assertRaises(EventStreamError, read, framed(raw, b""))

    def test_impossible_lengths(self):
        """A length that can't be, or one over the bound, is refused before anything is kept for it."""
        from zlib import crc32

        for total, headers in ((15, 0), (MAX_MESSAGE + 1, 0), (100, 85), (MAX_MESSAGE, 128 * 1024 + 1)):
            prelude = struct.pack(">II", total, headers)
            self.assertRaises(EventStreamError, read, prelude + struct.pack(">I", crc32(prelude)))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data):
        """Whatever comes is messages or an `EventStreamError`."""
        with contextlib.suppress(EventStreamError):
            read(data)

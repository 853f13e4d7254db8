"""Server-sent events, cut into frames."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.sse import FrameSplitter, frame_data, make_frame

from .streams import cut

_pieces_of_streams = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"data: x", b"a", b":", b"", b"\n\n", b"\r\r", b"\r\n\r\n"]), max_size=30
)


class SplitterTests(SynchronousTestCase):
    """A stream in pieces becomes whole frames."""

    def test_every_line_end(self):
        """LF, CR LF and CR end lines, mixed too; two line ends end a frame."""
        for blank in (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\r\n"):
            splitter = FrameSplitter()
            self.assertEqual(splitter.feed(b"data: a" + blank + b"data: b"), [b"data: a" + blank], blank)
            self.assertEqual(splitter.take_rest(), b"data: b")

    def test_cr_lf_is_one_end(self):
        """A line that ends in CR LF, cut between the two, is no blank line."""
        splitter = FrameSplitter()
        self.assertEqual(splitter.feed(b"event: a\r"), [])
        self.assertEqual(splitter.feed(b"\ndata: b\r"), [])
        self.assertEqual(splitter.feed(b"\n\r"), [])
        self.assertEqual(splitter.feed(b"\n"), [b"event: a\r\ndata: b\r\n\r\n"])

    def test_one_event_a_packet(self):
        """The usual case: each packet is a frame, and comes back as it is."""
        splitter = FrameSplitter()
        for frame in (b"data: a\n\n", b"event: b\ndata: c\n\n"):
            self.assertEqual(splitter.feed(frame), [frame])
        self.assertEqual(len(splitter.rest), 0)

    @given(_pieces_of_streams, st.data())
    def test_pieces_make_no_difference(self, parts, data):
        """The frames are the same however the stream was cut, and joined they are the stream."""
        stream = b"".join(parts)
        whole, splitter = FrameSplitter(), FrameSplitter()
        expected = [*whole.feed(stream), whole.take_rest()]
        places = data.draw(st.sets(st.integers(0, max(0, len(stream) - 1))))
        found = [frame for piece in cut(stream, places) for frame in splitter.feed(piece)]
        self.assertEqual([*found, splitter.take_rest()], expected)
        self.assertEqual(b"".join(expected), stream)

    @given(_pieces_of_streams)
    def test_no_event_is_divided_or_joined(self, parts):
        """Each frame has at most one event, by the rules of the format."""
        stream = b"".join(parts) + b"end"  # nothing may hang on what comes after the last byte
        splitter = FrameSplitter()
        events = [frame_data(frame) for frame in splitter.feed(stream)]
        self.assertEqual([event for event in events if event], _events(stream))


def _events(stream):
    """The data of each event that is dispatched, by the letter of the format."""
    events, data = [], []
    for line in stream.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text[5:].removeprefix(b" "))
        elif not text:
            events.append(b"\n".join(data))
            data = []
    return [event for event in events if event]


class FrameTests(SynchronousTestCase):
    """A frame's data."""

    def test_data(self):
        """One space after the colon is removed, data lines are joined, other fields and comments are not data."""
        cases = {
            b"data: {}\n\n": b"{}",
            b"data:{}\r\n\r\n": b"{}",
            b"data:  {}\n\n": b" {}",
            b"event: a\ndata: b\nid: 1\n\n": b"b",
            b"data: a\rdata: b\r\r": b"a\nb",
            b": comment\n\n": b"",
            b"\xef\xbb\xbfdata: a\n\n": b"a",
            b"datas: a\n\n": b"",
            b"\ndata: a\n\n": b"a",
            "data: a\u2028b\x85\n\n".encode(): "a\u2028b\x85".encode(),
            b"data: a\x0bb\x0c\x1c\n\n": b"a\x0bb\x0c\x1c",
            b"": b"",
        }
        for frame, data in cases.items():
            self.assertEqual(frame_data(frame), data, frame)

    def test_made(self):
        """A frame that is made is read back as what went in."""
        self.assertEqual(make_frame(b"{}"), b"data: {}\n\n")
        self.assertEqual(make_frame(b"{}", b"error"), b"event: error\ndata: {}\n\n")
        self.assertEqual(frame_data(make_frame(b"{}", b"error")), b"{}")

"""Server-sent events as frames. A frame is the bytes of one event, with the blank line that ends it.

All frames and the rest, joined, are exactly the bytes of the stream.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"
# A line ends with CR LF, LF or CR; CR LF is one line end, not two. If the last byte so far is a CR, an LF may follow.
# Without a repetition in the expression the search is five times as fast.
_LINE_END = rb"(?:\r\n|\n|\r(?=[^\n]))"
# Without possessive quantifiers: those of Python before 3.11.4 are broken. Each alternative begins with a byte, so that
# the search for one is quick.
_BLANK_LINE = re.compile(rb"\r\n" + _LINE_END + rb"|\n" + _LINE_END + rb"|\r(?:\r\n|\r(?=[^\n]))")
_LONGEST_BLANK_LINE = 4


class FrameSplitter:
    """Splits a stream that arrives in pieces into whole frames."""

    def __init__(self) -> None:
        self.rest = bytearray()
        """The bytes of the unfinished frame."""

    def head(self, size: int) -> bytes:
        """Return the first bytes of the unfinished frame."""
        return bytes(self.rest[:size])

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes of the stream. Return the frames that are whole now."""
        if not self.rest:
            if data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and data.find(b"\r") < 0:
                return [data]  # providers mostly send one event in one packet
            return self._split(data)
        # Bytes are searched only once, so a line of many megabytes costs no more than its length.
        seam = max(0, len(self.rest) - _LONGEST_BLANK_LINE)
        self.rest += data
        if not _BLANK_LINE.search(self.rest, seam):
            return []
        return self._split(self.take_rest())

    def take_rest(self) -> bytes:
        """Remove the unfinished frame and return it."""
        rest = bytes(self.rest)
        self.rest.clear()
        return rest

    def take_most(self) -> bytes:
        """Remove and return the unfinished frame without its last bytes, which may be the half of a blank line."""
        most = bytes(self.rest[:-_LONGEST_BLANK_LINE])
        del self.rest[:-_LONGEST_BLANK_LINE]
        return most

    def _split(self, data: bytes) -> list[bytes]:
        frames = []
        start = 0
        for end in _frame_ends(data):
            frames.append(data[start:end])
            start = end
        self.rest += data[start:]
        return frames


def _frame_ends(data: bytes) -> Iterator[int]:
    if data.find(b"\r") >= 0:
        yield from (match.end() for match in _BLANK_LINE.finditer(data))
        return
    end = data.find(b"\n\n") + 2
    while end > 1:
        yield end
        end = data.find(b"\n\n", end) + 2


def frame_data(frame: bytes) -> bytes:
    """Return an event's data: its ``data:`` lines, joined by newlines. Empty for a comment."""
    lines = []
    for line in frame.removeprefix(BOM).splitlines():
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def with_data(frame: bytes, data: bytes) -> bytes:
    """Return a frame with its data replaced by one line. Its other lines stay."""
    lines = frame.splitlines(keepends=True)
    first = next(position for position, line in enumerate(lines) if line.removeprefix(BOM).startswith(b"data:"))
    ending = lines[first][len(lines[first].rstrip(b"\r\n")) :]
    kept = [line for line in lines[first + 1 :] if not line.startswith(b"data:")]
    return b"".join([*lines[:first], b"data: ", data, ending, *kept])


def make_frame(data: bytes, event: bytes = b"") -> bytes:
    """Return a new frame. `data` is one line."""
    return (b"event: %b\n" % event if event else b"") + b"data: %b\n\n" % data

"""Server-sent events as frames: the bytes of one event, its blank line included.

All frames and the rest, put together, are the stream again, whatever stood in it.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"
# CR LF, LF and CR each end a line, and CR LF is one end, never two. A CR that is the last byte so far may still become
# a CR LF. Written without a repetition, the search skips what is no line end five times as fast.
_BLANK_LINE = re.compile(rb"[\r\n](?:(?<=\r)\n)?+(?:\r\n|\n|\r(?=[^\n]))")
_LONGEST_BLANK_LINE = 4


class FrameSplitter:
    """Cuts a stream that arrives in pieces into whole frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes have come of a frame that is not whole yet."""
        return len(self._rest)

    def head(self, size: int) -> bytes:
        """The first bytes of the unfinished frame."""
        return bytes(self._rest[:size])

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` makes whole."""
        if not self._rest:
            if data.endswith(b"\n\n") and data.find(b"\n\n") == len(data) - 2 and data.find(b"\r") < 0:
                return [data]  # one event a packet is how providers stream
            return self._split(data)
        # Old bytes are not searched again, so that a line of many megabytes costs no more than its length.
        seam = max(0, len(self._rest) - _LONGEST_BLANK_LINE)
        self._rest += data
        if not _BLANK_LINE.search(self._rest, seam):
            return []
        return self._split(self.take_rest())

    def take_rest(self) -> bytes:
        """The unfinished frame; it is the caller's from here on."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def take_most(self) -> bytes:
        """The unfinished frame but for its last bytes, which may be half of a blank line."""
        most = bytes(self._rest[:-_LONGEST_BLANK_LINE])
        del self._rest[:-_LONGEST_BLANK_LINE]
        return most

    def _split(self, data: bytes) -> list[bytes]:
        frames = []
        start = 0
        for end in _frame_ends(data):
            frames.append(data[start:end])
            start = end
        self._rest += data[start:]
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
    """The event's data: its ``data:`` lines, joined by newlines; empty for a comment."""
    lines = []
    for line in frame.removeprefix(BOM).splitlines():
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def with_data(frame: bytes, data: bytes) -> bytes:
    """The frame with other data, on one line; its other lines stay."""
    lines = frame.splitlines(keepends=True)
    first = next(position for position, line in enumerate(lines) if line.removeprefix(BOM).startswith(b"data:"))
    ending = lines[first][len(lines[first].rstrip(b"\r\n")) :]
    kept = [line for line in lines[first + 1 :] if not line.startswith(b"data:")]
    return b"".join([*lines[:first], b"data: ", data, ending, *kept])


def make_frame(data: bytes, event: bytes = b"") -> bytes:
    """A frame of the gateway's own; `data` is one line."""
    return (b"event: %b\n" % event if event else b"") + b"data: %b\n\n" % data

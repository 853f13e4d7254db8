"""Taps on a provider's answer: the bytes pass, a reader reads along, and the last piece is held until it is released.

The last piece is held so that everything that was read can be recorded before the client has the whole answer.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from . import jsontext
from .formats import DROP_LAST, PASS, Answer, AnswerReader, Verdict
from .sse import FrameSplitter, frame_data, with_data

_LONG_FRAME = 64 * 1024
"""Bytes of an unfinished frame after which the tap asks whether the frame may pass unread."""
_SKIP_HEAD = 256
"""Bytes of an unfinished frame by which the reader tells that."""
MAX_KEPT = 32 * 1024 * 1024
"""Bytes of a frame, or of a JSON body, that are kept in order to be read."""


_BLANKS = b" \t\r\n"  # https://www.rfc-editor.org/rfc/rfc8259#section-2


class Tap(Protocol):
    """A tap, as the relay uses it."""

    answer: Answer
    at_end: bool
    """True once the answer's last event is held, and everything after it."""

    @property
    def between_frames(self) -> bool:
        """True if the gateway could send an event of its own now, because no event of the provider is half sent."""

    @property
    def rewritten_length(self) -> int | None:
        """The size in bytes of a body that was rewritten; None if the provider's bytes are held."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the provider. Return the bytes that may be sent to the client now."""

    def close(self, whole: bool = True) -> None:
        """Read and hold the rest: the provider's answer is over.

        `whole` is False if its body ended with its connection, which may have been cut.
        """

    def release(self) -> bytes:
        """Return the held bytes. From here on everything passes."""


class _State(Enum):
    """The state of a stream's tap."""

    READING = 1
    UNREAD_FRAME = 2
    """The current frame passes unread, because it is long."""
    HOLDING = 3
    RELEASED = 4


# In Python 3.11 the lookup of a member in an Enum class is as slow as a function call.
_READING, _UNREAD_FRAME, _HOLDING, _RELEASED = _State


class StreamTap:
    """A tap on server-sent events. A frame passes as a whole, unless it is long and needs no reading.

    A frame of more than `limit` bytes passes unread, piece by piece.
    """

    rewritten_length = None

    def __init__(self, reader: AnswerReader, limit: int) -> None:
        self.answer = reader.answer
        self.at_end = False
        self._reader = reader
        self._limit = limit
        self._splitter = FrameSplitter()
        self._state = _READING
        self._held: list[bytes] = []
        self._failed = False
        """True once the provider has sent an error. It is held, and what follows is read for its figures."""
        self._last = 0
        """The place of the last event among the held pieces."""
        self._at_release: Callable[[bytes], bytes] | None = None
        self._hides_rest = False

    @property
    def between_frames(self) -> bool:
        return self._hides_rest or self._state in (_READING, _HOLDING)

    def feed(self, data: bytes) -> bytes:
        if self._hides_rest:
            return b""
        if self._state is _HOLDING:
            self._held.append(data)
            return b""
        if self._state is _RELEASED:
            return data
        frames = self._splitter.feed(data)
        if not frames:
            passed = b""
        elif len(frames) > 1 or self._state is not _READING or self._failed:
            passed = self._pass_on(frames)
        elif self._reader.skips(frames[0]):  # nearly every event comes alone, and needs no reading
            passed = frames[0]
        else:
            passed = self._pass_on(frames, is_read=True)
        if len(self._splitter.rest) > _LONG_FRAME:
            beginning = self._pass_unfinished()
            if self._failed:
                self._held.append(beginning)
            else:
                passed += beginning
        return passed

    def close(self, whole: bool = True) -> None:
        if self._state not in (_READING, _UNREAD_FRAME):
            return
        verdict, frame = PASS, b""
        if rest := self._splitter.take_rest():
            # Some providers leave out the blank line after the last event.
            verdict, frame = (PASS, rest) if self._state is _UNREAD_FRAME else self._judge(rest)
        if not verdict.last and (verdict := self._reader.end(whole)) is DROP_LAST and frame:
            frame += b"\n\n"  # the client's stream goes on
        if frame or verdict.last or self._failed:
            self._hold([frame], verdict)

    def release(self) -> bytes:
        if self._at_release is not None:
            last = self._held[self._last]
            self._held[self._last] = with_data(last, self._at_release(frame_data(last)))
        held = b"".join(self._held)
        self._held.clear()
        self._state = _RELEASED
        return held

    def _pass_on(self, frames: list[bytes], is_read: bool = False) -> bytes:
        """Return what may pass of these frames. With `is_read` all of them are known to need reading."""
        passed: list[bytes] = []
        shown = self._held if self._failed else passed
        if self._state is _UNREAD_FRAME:
            shown.append(frames.pop(0))  # the end of that frame
            self._state = _READING
        for position, frame in enumerate(frames):
            if not is_read and self._reader.skips(frame):
                shown.append(frame)
                continue
            verdict, frame = self._judge(frame)
            if verdict.last:
                self._hold([frame, *frames[position + 1 :]], verdict)
                break
            if verdict.holds:
                self._failed, shown = True, self._held
            shown.append(frame)
        return b"".join(passed)

    def _judge(self, frame: bytes) -> tuple[Verdict, bytes]:
        """Return the verdict on a frame, and the frame as the client gets it: empty if it is dropped."""
        data = frame_data(frame)
        verdict = self._reader.read_event(data) if data else PASS
        if not verdict.passes:
            return verdict, b""
        return verdict, frame if verdict.data is None else with_data(frame, verdict.data)

    def _hold(self, frames: list[bytes], verdict: Verdict) -> None:
        """Hold the last frame, which is empty if it is dropped, and the frames behind it."""
        self._last = len(self._held)
        self._held += [*frames, self._splitter.take_rest()]
        self._at_release = verdict.at_release
        self._state = _HOLDING
        self.at_end = True
        if verdict is DROP_LAST:
            del self._held[self._last + 1 :]
            self._hides_rest = True

    def _pass_unfinished(self) -> bytes:
        """Return the beginning of a long frame, if it needs no reading or is too long to be kept."""
        if self._state is _READING:
            long = len(self._splitter.rest) > self._limit
            if not long and not self._reader.skips(self._splitter.head(_SKIP_HEAD)):
                return b""
            self._state = _UNREAD_FRAME
        return self._splitter.take_most()


class BodyTap:
    """A tap on a JSON body, which is held until its end and then read at once.

    A body of more than `limit` bytes passes unread. Its last piece is held all the same. With `passes_blanks`, blank
    pieces before the JSON pass at once: some providers keep the connection alive with them while the model thinks.
    """

    def __init__(self, reader: AnswerReader, limit: int) -> None:
        self.answer = reader.answer
        self.at_end = False
        self.between_frames = False
        self.rewritten_length: int | None = None
        self.passes_blanks = False
        self._reader = reader
        self._limit = limit
        self._size = 0
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        if self.passes_blanks and not self._held and not data.strip(_BLANKS):
            return data
        self._size += len(data)
        self._held.append(data)
        if self._size <= self._limit:
            return b""
        passed, self._held = self._held[:-1], self._held[-1:]
        return b"".join(passed)

    def close(self, whole: bool = True) -> None:
        self.at_end = True
        raw = b"".join(self._held)
        body = jsontext.load_object(raw) if self._size <= self._limit else None
        if body is None:
            return
        verdict = self._reader.read_body(body, raw)
        if not verdict.passes:
            self._held.clear()
        elif verdict.data is not None:
            self._held = [verdict.data]
            self.rewritten_length = len(verdict.data)

    def release(self) -> bytes:
        held, self._held = self._held, []
        return b"".join(held)


class MessageTap:
    """A tap on the messages of a WebSocket: each piece is a whole event."""

    rewritten_length = None
    between_frames = True

    def __init__(self, reader: AnswerReader) -> None:
        self.answer = reader.answer
        self.at_end = False
        self._reader = reader
        self._held = b""
        self._at_release: Callable[[bytes], bytes] | None = None

    def feed(self, data: bytes) -> bytes:
        if self._reader.skips(data):
            return data
        verdict = self._reader.read_event(data)
        shown = b"" if not verdict.passes else data if verdict.data is None else verdict.data
        if verdict.last or verdict.holds:
            self.at_end, self._held, self._at_release = True, shown, verdict.at_release
            return b""
        return shown

    def close(self, whole: bool = True) -> None:
        """Do nothing: no message is left half read."""

    def release(self) -> bytes:
        held, self._held = self._held, b""
        return self._at_release(held) if self._at_release is not None else held


class BareTap:
    """A tap that lets everything pass unread."""

    rewritten_length = None

    def __init__(self) -> None:
        self.answer = Answer()
        self.at_end = False
        self.between_frames = False

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self, whole: bool = True) -> None:
        self.answer.finished = True

    def release(self) -> bytes:
        return b""


def tap_for(content_type: bytes, wants_stream: bool, reader: AnswerReader) -> Tap:
    """Return a tap for an answer of this Content-Type."""
    return (StreamTap if says_stream(content_type, wants_stream) else BodyTap)(reader, MAX_KEPT)


def says_stream(content_type: bytes, wants_stream: bool) -> bool:
    """Return True if an answer is a stream by its Content-Type. If one was asked for, all but JSON is taken for one."""
    kind = content_type.split(b";")[0].strip().lower()
    return kind == b"text/event-stream" or (wants_stream and kind != b"application/json")

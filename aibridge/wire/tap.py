"""A tap on a provider's answer: the bytes flow on, a reader listens, and the last piece waits until it is told to go.

A JSON answer is a stream with one event, so both kinds are served alike.
"""

from enum import Enum
from typing import Protocol

from . import jsontext
from .formats import DROP_LAST, PASS, Answer, AnswerReader, Verdict
from .sse import FrameSplitter, frame_data, with_data

_UNREAD_AFTER = 64 * 1024
_SKIP_HEAD = 256
_KEPT_OF_AN_ANSWER = 32 * 1024 * 1024


class Tap(Protocol):
    """What a relay needs of a tap."""

    answer: Answer
    at_end: bool
    """The answer's last event has been seen and is held; what follows it is held too."""

    @property
    def between_frames(self) -> bool:
        """Whether an event of the gateway's own could go out now without breaking one of the provider's."""

    @property
    def rewritten_length(self) -> int | None:
        """Bytes of the body that is held, where it is another than the one that came."""

    def feed(self, data: bytes) -> bytes:
        """What may go on to the client of all that has come, now that `data` has."""

    def close(self) -> None:
        """The provider's answer has come to its end: what is left is read and held."""

    def release(self) -> bytes:
        """All that was held; from here on everything passes."""


class _Passing(Enum):
    """Where the tap stands."""

    READING = 1
    UNREAD_FRAME = 2
    """In the midst of a frame too long to be kept, which passes unread."""
    HOLDING = 3
    RELEASED = 4


# Python 3.11 finds a member in its class as slowly as it calls a function.
_READING, _UNREAD_FRAME, _HOLDING, _RELEASED = _Passing


class StreamTap:
    """Listens to server-sent events. A frame is whole before it goes on, unless it is long and of no interest.

    `limit` bounds what is kept of one frame, in bytes; a longer one passes unread, byte by byte.
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
        passed = self._pass_on(frames) if frames else b""
        if self._splitter.pending > _UNREAD_AFTER:
            passed += self._pass_unfinished()
        return passed

    def close(self) -> None:
        if self._state in (_READING, _UNREAD_FRAME) and (rest := self._splitter.take_rest()):
            # Some providers end without the last blank line.
            verdict, frame = (PASS, rest) if self._state is _UNREAD_FRAME else self._judge(rest)
            self._hold([frame], verdict)

    def release(self) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        self._state = _RELEASED
        return held

    def _pass_on(self, frames: list[bytes]) -> bytes:
        passed = []
        if self._state is _UNREAD_FRAME:
            passed.append(frames.pop(0))  # that frame's tail
            self._state = _READING
        for position, frame in enumerate(frames):
            if self._reader.skips(frame):
                passed.append(frame)
                continue
            verdict, frame = self._judge(frame)
            if verdict.last:
                self._hold([frame, *frames[position + 1 :]], verdict)
                break
            passed.append(frame)
        return b"".join(passed)

    def _judge(self, frame: bytes) -> tuple[Verdict, bytes]:
        """The verdict on a frame, and the frame as it goes on; empty where it doesn't."""
        data = frame_data(frame)
        verdict = self._reader.read_event(data) if data else PASS
        if not verdict.passes:
            return verdict, b""
        return verdict, frame if verdict.data is None else with_data(frame, verdict.data)

    def _hold(self, frames: list[bytes], verdict: Verdict) -> None:
        self._held += [*frames, self._splitter.take_rest()]
        self._state = _HOLDING
        self.at_end = True
        if verdict is DROP_LAST:
            self._held.clear()
            self._hides_rest = True

    def _pass_unfinished(self) -> bytes:
        """A long frame is passed on before its end if it is known to be of no interest, or too long to be kept."""
        if self._state is _READING:
            long = self._splitter.pending > self._limit
            if not long and not self._reader.skips(self._splitter.head(_SKIP_HEAD)):
                return b""
            self._state = _UNREAD_FRAME
        return self._splitter.take_most()


class BodyTap:
    """Listens to a JSON body, which is held whole: only its end shows what it says.

    A body over `limit` bytes passes unread, always one piece behind, so that its end still waits for the records.
    """

    def __init__(self, reader: AnswerReader, limit: int) -> None:
        self.answer = reader.answer
        self.at_end = False
        self.between_frames = False
        self.rewritten_length: int | None = None
        self._reader = reader
        self._limit = limit
        self._size = 0
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        self._held.append(data)
        return b"".join(self._take(self._held[:-1])) if self._size > self._limit else b""

    def close(self) -> None:
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
        return b"".join(self._take(self._held))

    def _take(self, pieces: list[bytes]) -> list[bytes]:
        self._held = self._held[len(pieces) :]
        return pieces


class BareTap:
    """Lets everything pass and listens to nothing."""

    rewritten_length = None

    def __init__(self) -> None:
        self.answer = Answer()
        self.at_end = False
        self.between_frames = False

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        self.answer.finished = True

    def release(self) -> bytes:
        return b""


def tap_for(content_type: bytes, stream_asked: bool, reader: AnswerReader) -> Tap:
    """The tap for an answer of that type. Where a stream was asked for, whatever isn't JSON is one."""
    kind = content_type.split(b";")[0].strip().lower()
    if kind == b"text/event-stream" or (stream_asked and kind != b"application/json"):
        return StreamTap(reader, _KEPT_OF_AN_ANSWER)
    return BodyTap(reader, _KEPT_OF_AN_ANSWER)

"""A tap on an answer whose form its first byte tells, because some providers give it the wrong Content-Type."""

from collections.abc import Callable

from .formats import Answer
from .tap import Tap

_BODY = b"{["
_STREAM = b"deir:"
"""The first bytes of ``data``, ``event``, ``id``, ``retry`` and comments. No JSON text begins with one of them."""


class SniffedTap:
    """A tap that gives way to another one with the answer's first byte.

    `choose` returns that other tap: for a stream if it is called with True, for a JSON body with False, and by the
    Content-Type with None, which is also what an empty answer gets.
    """

    at_end = False

    def __init__(self, answer: Answer, choose: Callable[[bool | None], Tap], between_frames: bool) -> None:
        self.answer = answer
        self._between_frames = between_frames
        self.on_choice: Callable[[Tap], object] | None = None
        """Called with the chosen tap, which is to be used in place of this one."""
        self._choose: Callable[[bool | None], Tap] | None = choose
        self._chosen: Tap | None = None

    @property
    def between_frames(self) -> bool:
        return self._between_frames if self._chosen is None else self._chosen.between_frames

    @property
    def rewritten_length(self) -> int | None:
        return self._chosen.rewritten_length if self._chosen is not None else None

    def feed(self, data: bytes) -> bytes:
        return self._tap(data[:1]).feed(data)

    def close(self, whole: bool = True) -> None:
        self._tap(b"").close(whole)

    def release(self) -> bytes:
        return self._chosen.release() if self._chosen is not None else b""

    def forget(self) -> None:
        """Break the circles of the tap and those that use it."""
        self._choose = self.on_choice = None

    def _tap(self, first: bytes) -> Tap:
        """Return the chosen tap, and choose it if that has not been done."""
        if self._chosen is None:
            assert self._choose is not None
            is_stream = None if not first or first not in _BODY + _STREAM else first in _STREAM
            self._chosen = self._choose(is_stream)
            if self.on_choice is not None:
                self.on_choice(self._chosen)
            self._choose = self.on_choice = None  # they lead back to this tap
        return self._chosen

"""Telling a client's history as it really went: what was hidden from the client is put back in its place."""

from collections.abc import Callable, Iterable, Sequence

from . import json_splice
from .jsontext import JsonObject
from .rounds import Turn


class Retelling:
    """Which parts of a client's history belong to hidden rounds. They come in order; some may be missing."""

    def __init__(self) -> None:
        self._met: dict[Turn, int] = {}

    def begin(self, turn: Turn) -> bool:
        """Whether nothing of the turn was met before: its rounds stand here."""
        begins = turn not in self._met
        self._met.setdefault(turn, 0)
        return begins

    def covers(self, turn: Turn, anchors: Iterable[str]) -> bool:
        """Whether a part, known by these anchors, is one that the rounds of a turn which has begun bring back."""
        expected = [part for hidden in turn.rounds for part in hidden.visible if part]
        met = self._met[turn]
        known = set(anchors)
        found = next((at for at in range(met, len(expected)) if known.intersection(expected[at])), None)
        if found is None:
            return False
        self._met[turn] = found + 1
        return True


def retell(
    body: bytes, request: JsonObject, key: str, told: Callable[[Sequence[bytes], Sequence[JsonObject]], Iterable[bytes]]
) -> bytes:
    """A request whose history, a list of objects, is told anew; its own bytes where that changes nothing."""
    history = request.get(key)
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        return body
    texts = json_splice.elements(json_splice.member_text(body, key) or b"[]")
    anew = list(told(texts, history))
    return body if anew == texts else json_splice.set_member(body, key, json_splice.join(anew))

"""What an answer is found again by, once the client sends it back: ids, and words in answer to what was asked.

An anchor is a digest behind a weight: how far a hit is to be believed beside others.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen


@frozen
class Context:
    """What an answer answers: the words of the user, or the calls whose results came."""

    recent: str = ""
    """The last of it, since the model spoke."""
    whole: str = ""
    """All of it, from the conversation's beginning."""

    def anchors(self, words: str) -> tuple[str, ...]:
        """What these words are found by. The same words to another question are another answer."""
        return ("2:" + _digest(self.whole, words), "1:" + _digest(self.recent, words)) if words else ()


def id_anchor(value: object) -> tuple[str, ...]:
    """What is found by an id that nobody else has; nothing where that is no id."""
    return ("4:" + _digest(value),) if isinstance(value, str) and value else ()


def weight(anchor: str) -> int:
    """How much an anchor counts: an id more than words, words in their whole context more than after their question."""
    return int(anchor[0])


def contexts(history: Iterable[Sequence[str] | None]) -> Iterator[Context]:
    """What each entry of a history answers, and at last what the next answer will.

    An entry is what the model was told, or None where it spoke itself.
    """
    before, spoken = "", False
    recent: list[str] = []
    context = Context()
    for told in history:
        yield context
        if told is None:
            spoken = True
        elif told:
            if spoken:
                before, recent, spoken = context.whole, [], False
            recent = sorted([*recent, *told])
            context = Context(_digest(*recent), _digest(before, *recent))
    yield context


def _digest(*values: str) -> str:
    """One text for all of them, which no other values have."""
    text = "".join(f"{len(value)}:{value}" for value in values)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

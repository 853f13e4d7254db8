"""What the gateway remembers of conversations, so that what it hid from a client returns to its place."""

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IMemory
from ..wire.rounds import Turn
from .toolset import Toolset


@frozen(eq=False)
class Remembered:
    """One answer: whose it was, the tools of its conversation, and its `Turn`."""

    actor_id: str
    provider: str
    toolset: Toolset
    turn: Turn


@implementer(IMemory)
class ShortMemory:
    """Remembers in this process only, the latest `most` answers: for hosts without a database, and for tests."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._by_anchor: dict[tuple[str, str, str], Remembered] = {}

    def recall(self, actor_id: str, provider: str, anchors: Sequence[str]) -> "Deferred[list[Remembered]]":
        """In the order of the anchors, each answer once."""
        hits = (self._by_anchor.get((actor_id, provider, anchor)) for anchor in anchors)
        return succeed(list(dict.fromkeys(hit for hit in hits if hit is not None)))

    def remember(self, remembered: Remembered) -> "Deferred[None]":
        """At once; the oldest is forgotten where there are too many."""
        for anchor in remembered.turn.anchors:
            key = (remembered.actor_id, remembered.provider, anchor)
            self._by_anchor.pop(key, None)
            self._by_anchor[key] = remembered
        while len(self._by_anchor) > self._most:
            del self._by_anchor[next(iter(self._by_anchor))]
        return succeed(None)

"""The gateway's memory of conversations, from which hidden tool calls return to their place in a client's history."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from ..interfaces import IMemory
from .toolset import Remembered


@implementer(IMemory)
class ShortMemory:
    """A memory within this process, of the latest ``most`` anchors: for hosts without a database, and for tests."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._by_anchor: dict[tuple[str, str, str], Remembered] = {}

    def recall(self, actor_id: str, provider: str, anchors: Sequence[str]) -> "Deferred[list[Remembered]]":
        """See `aibridge.interfaces.IMemory`. The order is that of the anchors."""
        hits = (self._by_anchor.get((actor_id, provider, anchor)) for anchor in anchors)
        return succeed(list(dict.fromkeys(hit for hit in hits if hit is not None)))

    def remember(self, remembered: Remembered) -> "Deferred[None]":
        """See `aibridge.interfaces.IMemory`. The oldest anchors are dropped if there are too many."""
        for anchor in remembered.turn.anchors:
            key = (remembered.actor_id, remembered.provider, anchor)
            self._by_anchor.pop(key, None)
            self._by_anchor[key] = remembered
        while len(self._by_anchor) > self._most:
            del self._by_anchor[next(iter(self._by_anchor))]
        return succeed(None)

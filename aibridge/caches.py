"""A memory that never grows over its bound."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MOST_SERIES = 10_000


class LRUCache(Generic[K, V]):
    """A mapping that forgets what was not looked at for longest, as soon as it holds more than `most` items."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """What is kept under that key."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key: K, value: V) -> None:
        """Keeps it, in the place of what was there."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._most:
            self._items.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forgets it."""
        self._items.pop(key, None)


class CachedDict(dict[K, V], Generic[K, V]):
    """Values made once for each key. When they are too many it starts afresh: they can always be made again."""

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        if len(self) >= _MOST_SERIES:
            self.clear()
        value = self[key] = self._make(key)
        return value

"""Caches of bounded size."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """A mapping of at most `maxsize` items: a further one evicts the item that was not used for longest."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """Return the key's value, which counts as a use; None if there is none."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key]

    def set(self, key: K, value: V) -> None:
        """Store the value, in place of an earlier one."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._maxsize:
            self._items.popitem(last=False)

    def values(self) -> Iterable[V]:
        """Return all values, the longest unused first."""
        return self._items.values()

    def items(self) -> list[tuple[K, V]]:
        """Return all keys with their values, the one that was not used for longest first. This is no use of them."""
        return list(self._items.items())

    def pop(self, key: K) -> V | None:
        """Remove the key and return its value; None if there is none."""
        return self._items.pop(key, None)


class CachedDict(dict[K, V], Generic[K, V]):
    """A dictionary that makes each value once, when its key is first read.

    With `maxsize` keys it is emptied before the next value is made: every value can be made again.
    """

    def __init__(self, make: Callable[[K], V], maxsize: int = 10_000) -> None:
        super().__init__()
        self._make = make
        self._maxsize = maxsize

    def __missing__(self, key: K) -> V:
        if len(self) >= self._maxsize:
            self.clear()
        value = self[key] = self._make(key)
        return value

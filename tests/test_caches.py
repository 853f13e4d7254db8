"""Caches of bounded size."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.caches import CachedDict, LRUCache


class LRUTests(SynchronousTestCase):
    """The cache that evicts the least recently used item."""

    def test_evicts(self) -> None:
        """An item that was not used for longest goes first; reading and storing both are use."""
        cache: LRUCache[str, int] = LRUCache(2)
        cache.set("a", 1)
        cache.set("b", 2)
        cache.get("a")
        cache.set("c", 3)
        self.assertEqual([cache.get(name) for name in "abc"], [1, None, 3])
        cache.set("a", 4)
        cache.set("d", 5)
        self.assertEqual(([cache.get(name) for name in "acd"], len(cache)), ([4, None, 5], 2))

    def test_pop(self) -> None:
        """An item that is taken out is gone; there is nothing to take out twice."""
        cache: LRUCache[str, int] = LRUCache(2)
        cache.set("a", 1)
        self.assertEqual((cache.pop("a"), cache.pop("a"), cache.get("a"), len(cache)), (1, None, None, 0))


class CachedDictTests(SynchronousTestCase):
    """The dictionary that makes its values."""

    def test_makes_once(self) -> None:
        """A value is made when it is first read, and then kept."""
        made: list[Any] = []
        cached: CachedDict[int, int] = CachedDict(lambda key: made.append(key) or key)
        self.assertEqual((cached[1], cached[1], made), (1, 1, [1]))

    def test_bounded(self) -> None:
        """With too many values it starts again from none."""
        cached: CachedDict[int, int] = CachedDict(abs, maxsize=10)
        for key in range(25):
            cached[key]
        self.assertEqual([*cached], [20, 21, 22, 23, 24])
        usual: CachedDict[int, int] = CachedDict(abs)
        for key in range(25_000):
            usual[key]
        self.assertLessEqual(len(usual), 10_000)

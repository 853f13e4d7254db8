"""How much one actor may ask for, so that one can't take everything from the others."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import ceil

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from . import settings
from .caches import LRUCache
from .errors import TooManyRequests

_MINUTE = 60.0
_UNCOUNTED = nullcontext()
_ROUNDING = 0.001
"""Seconds; sums of times are not exact."""
_MOST_ACTORS = 10_000
"""The bucket of who asked longest ago is forgotten first. It is full again, unless all of them ask each minute."""


@frozen(kw_only=True)
class Limits:
    """What each actor may do; None for no limit. `Unusable` where a value is wrong."""

    requests_per_minute: int | None = settings.count(None)
    """So many at once, and then as many in each minute, evenly."""
    concurrent: int | None = settings.count(None)
    """So many under way at the same time."""


class Turnstile:
    """Counts each actor's requests, those that are refused apart.

    A bucket of tokens is kept as one number, the time at which it will be full again.
    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """

    def __init__(self, limits: Limits, clock: IReactorTime) -> None:
        self._limits = limits
        self._now = clock.seconds
        self._full_at: LRUCache[str, float] = LRUCache(_MOST_ACTORS)
        self._under_way: dict[str, int] = {}
        self._open = limits == Limits()

    def enter(self, actor_id: str) -> AbstractContextManager[None]:
        """A request of that actor, from its beginning to its end. TooManyRequests where it is one too many."""
        return _UNCOUNTED if self._open else self._count(actor_id)

    @contextmanager
    def _count(self, actor_id: str) -> Iterator[None]:
        most, under_way = self._limits.concurrent, self._under_way.get(actor_id, 0)
        if most is not None and under_way >= most:
            raise TooManyRequests(f"As many of your requests are under way as one may have at once: {most}.")
        if self._limits.requests_per_minute is not None:
            self._take_token(actor_id, self._limits.requests_per_minute)
        self._under_way[actor_id] = under_way + 1
        try:
            yield
        finally:
            self._leave(actor_id)

    def _take_token(self, actor_id: str, per_minute: int) -> None:
        now, period = self._now(), _MINUTE / per_minute
        full_at = max(self._full_at.get(actor_id) or now, now) + period
        wait = full_at - now - _MINUTE
        if wait > _ROUNDING:
            raise TooManyRequests(f"You have asked more often than is allowed: {per_minute} a minute.", ceil(wait))
        self._full_at.put(actor_id, full_at)

    def _leave(self, actor_id: str) -> None:
        self._under_way[actor_id] -= 1
        if not self._under_way[actor_id]:
            del self._under_way[actor_id]

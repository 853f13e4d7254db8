"""Limits on what each actor may request, so that none can take everything from the others."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import ceil
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from . import settings
from .caches import LRUCache
from .errors import TooManyRequests

_MINUTE = 60.0
_ROUNDING = 0.001
"""Seconds; sums of times are not exact."""
_MOST_ACTORS = 10_000
"""The actor who was idle longest is forgotten first: its bucket is full again, unless all are busy each minute."""


@frozen(kw_only=True)
class Limits:
    """The limits of each actor; None for no limit. Raises `InvalidSetting`."""

    requests_per_minute: int | None = settings.count(None)
    """The size of a bucket that fills up evenly within a minute; each request takes a token from it."""
    concurrent: int | None = settings.count(None)
    """The most requests in flight at the same time."""


class IRateLimiter(Protocol):
    """Limits each actor's requests."""

    limits: Limits
    """The limits in force. They may change at any time: requests in flight stay counted."""

    def enter(self, actor_id: str) -> AbstractContextManager[None]:
        """Return the context of a request of that actor. It raises a GatewayError if the request is over a limit."""

    def check(self, actor_id: str) -> object:
        """Raise TooManyRequests if a request of that actor would be over a limit now."""


class RateLimiter:
    """Counts each actor's requests, except for those that it refuses.

    A bucket of tokens is kept as a single number, the time at which it will be full again.
    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """

    def __init__(self, limits: Limits, clock: IReactorTime) -> None:
        self.limits = limits
        self._now = clock.seconds
        self._full_at: LRUCache[str, float] = LRUCache(_MOST_ACTORS)
        self._in_flight: dict[str, int] = {}

    @contextmanager
    def enter(self, actor_id: str) -> Iterator[None]:
        """The context of a request of that actor. Raises TooManyRequests if the request is over a limit."""
        full_at = self.check(actor_id)
        if full_at is not None:
            self._full_at.set(actor_id, full_at)
        self._in_flight[actor_id] = self._in_flight.get(actor_id, 0) + 1
        try:
            yield
        finally:
            self._in_flight[actor_id] -= 1
            if not self._in_flight[actor_id]:
                del self._in_flight[actor_id]

    def check(self, actor_id: str) -> float | None:
        """Raise TooManyRequests if a request of that actor would be over a limit now.

        Return the time at which the bucket will be full again after the request; None without a bucket.
        """
        in_flight, full_at = self._in_flight.get(actor_id, 0), self._full_at.get(actor_id) or 0.0
        return check_limits(self.limits, in_flight, full_at, self._now)


def check_limits(limits: Limits, in_flight: int, full_at: float, clock: Callable[[], float]) -> float | None:
    """Raise TooManyRequests if one more request of an actor would be over a limit now.

    Return the time at which the actor's bucket will be full again after the request; None without a bucket.

    :param in_flight: the actor's requests in flight.
    :param full_at: the time at which the bucket will be full again before the request.
    """
    most, per_minute = limits.concurrent, limits.requests_per_minute
    if most is not None and in_flight >= most:
        raise TooManyRequests(
            f"Concurrency limit reached: at most {most} requests at a time. Wait until one of yours has ended."
        )
    if per_minute is None:
        return None
    now = clock()
    full_at = max(full_at, now) + _MINUTE / per_minute
    wait = full_at - now - _MINUTE
    if wait > _ROUNDING:
        seconds = ceil(wait)
        raise TooManyRequests(
            f"Rate limit reached: at most {per_minute} requests a minute. Try again in {seconds} s.", seconds
        )
    return full_at

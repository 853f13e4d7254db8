"""Deadlines of many exchanges, looked after by one timer.

Arming and calling off are no more than a set's add and discard, and a sign of life is one assignment: a timer of the
reactor's for each request, moved with each event, would cost more than the event.
"""

from collections.abc import Callable

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

_TICK = 0.25


@define(eq=False)
class Deadline:
    """Something that must show a sign of life (``alive = True``) every `timeout` seconds, or `expire` is called."""

    timeout: float
    expire: Callable[[], None]
    deadline: float
    alive: bool = False
    expired: bool = False
    repeats: bool = False


class Deadlines:
    """Looks at all watches four times a second, as long as there are any. A deadline is kept to within that quarter."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watches: set[Deadline] = set()
        self._next: IDelayedCall | None = None

    def start(self, timeout: float, expire: Callable[[], None]) -> Deadline:
        """Begins to watch; `expire` is called once, unless it is called off before."""
        watch = Deadline(timeout, expire, self._clock.seconds() + timeout)
        self._watches.add(watch)
        if self._next is None:
            self._next = self._clock.callLater(_TICK, self._tick)
        return watch

    def repeat(self, period: float, call: Callable[[], None]) -> Deadline:
        """Calls again and again, until it is called off."""
        watch = self.start(period, call)
        watch.repeats = True
        return watch

    def cancel(self, watch: Deadline) -> None:
        """Watches it no longer; harmless where it has expired."""
        self._watches.discard(watch)
        watch.expire = _nothing  # who watches and who is watched hold each other: so no garbage is left

    def reset(self, watch: Deadline, timeout: float) -> None:
        """From now on it has that long, at most."""
        watch.timeout = timeout
        watch.deadline = self._clock.seconds() + timeout

    def stop(self) -> None:
        """Forgets everything."""
        self._watches.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _tick(self) -> None:
        self._next = None
        try:
            self._look(self._clock.seconds())
        finally:  # one that fails as it expires doesn't end the watch over all others
            if self._watches and self._next is None:
                self._next = self._clock.callLater(_TICK, self._tick)

    def _look(self, now: float) -> None:
        for watch in [watch for watch in self._watches if watch.alive or watch.deadline <= now]:
            if watch.alive:
                watch.alive = False
                watch.deadline = now + watch.timeout
            elif watch.repeats:
                watch.deadline = now + watch.timeout
                watch.expire()
            elif watch in self._watches:  # not called off by one that expired just now
                self._watches.discard(watch)
                watch.expired = True
                watch.expire()


def _nothing() -> None:
    """What a watch does that was called off."""

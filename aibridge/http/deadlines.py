"""Deadlines of many exchanges, kept by one timer.

To start or to cancel a deadline is to add to a set or to discard from it, and a sign of life is one assignment. A timer
of the reactor's for each request, moved with each event, would cost more than the event itself.
"""

from collections.abc import Callable

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

FOREVER = float("inf")
_TICK = 0.25


@define(eq=False)
class Deadline:
    """A limit of time: `expire` is called unless a sign of life (``alive = True``) comes every `timeout` seconds."""

    timeout: float
    """Seconds, counted from the last sign of life."""
    expire: Callable[[], None]
    expires_at: float
    latest: float = FOREVER
    """The time of the clock beyond which no sign of life moves the deadline."""
    alive: bool = False
    expired: bool = False
    repeats: bool = False


class Deadlines:
    """Checks all deadlines four times a second, as long as there are any. So each may be late by that quarter, and by
    another after a sign of life.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._running: set[Deadline] = set()
        self._next: IDelayedCall | None = None

    def start(self, timeout: float, expire: Callable[[], None]) -> Deadline:
        """A deadline in so many seconds. `expire` is called once, unless the deadline is cancelled before."""
        deadline = Deadline(timeout, expire, self._clock.seconds() + timeout)
        self._running.add(deadline)
        if self._next is None:
            self._next = self._clock.callLater(_TICK, self._tick)
        return deadline

    def repeat(self, period: float, call: Callable[[], None]) -> Deadline:
        """A deadline that starts again whenever it expires, until it is cancelled."""
        deadline = self.start(period, call)
        deadline.repeats = True
        return deadline

    def reset(self, deadline: Deadline, timeout: float) -> None:
        """Let a deadline expire in so many seconds, and again as many after each sign of life."""
        deadline.timeout = timeout
        deadline.expires_at = min(self._clock.seconds() + timeout, deadline.latest)

    def limit(self, deadline: Deadline, seconds: float) -> None:
        """Let a deadline expire in so many seconds at the latest, whatever signs of life come."""
        deadline.latest = self._clock.seconds() + seconds
        deadline.expires_at = min(deadline.expires_at, deadline.latest)

    def cancel(self, deadline: Deadline) -> None:
        """End a deadline; harmless if it has expired or was cancelled."""
        self._running.discard(deadline)
        deadline.expire = _nothing  # its owner and it refer to each other: this way they need no garbage collector

    def stop(self) -> None:
        """Forget all deadlines."""
        self._running.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _tick(self) -> None:
        self._next = None
        now = self._clock.seconds()
        try:
            for deadline in tuple(self._running):
                if deadline.alive and now < deadline.latest:
                    deadline.alive = False
                    deadline.expires_at = min(now + deadline.timeout, deadline.latest)
                elif deadline.expires_at > now or deadline not in self._running:
                    continue  # there is time left, or another that expired just now has cancelled it
                elif deadline.repeats:
                    deadline.expires_at = now + deadline.timeout
                    deadline.expire()
                else:
                    self._running.discard(deadline)
                    deadline.expired = True
                    deadline.expire()
        finally:  # an error in one `expire` doesn't end the others' deadlines
            if self._running and self._next is None:
                self._next = self._clock.callLater(_TICK, self._tick)


def _nothing() -> None:
    """Does nothing, in the place of a cancelled deadline's `expire`."""

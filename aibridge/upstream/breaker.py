"""A circuit breaker, as a machine of three states without a clock of its own: all times are given, in seconds.

    CLOSED ──── failure_threshold failures in a row ───▶ OPEN ◀──┐
      ▲                                                   │      │ a failure
      │                              timeout is over, and │      │
      └──────────────── a success ─── HALF_OPEN ◀─ one asks      │
                                          └──────────────────────┘

The options are those of https://github.com/sony/gobreaker, with three differences, all of them because answers of
models take long. A period of ``interval`` begins with the first failure of a row, so that it never cuts a short row in
two. One success closes the circuit. Where none of the requests that were let through has come to its end in
``timeout``, so many more are: they can't keep the circuit half open for ever.
"""

from enum import Enum

from attrs import define, field, frozen

from .. import settings


@frozen(kw_only=True)
class BreakerSettings:
    """When a circuit opens, and how it closes again. Times in seconds; `Unusable` where a value is wrong."""

    failure_threshold: int = settings.count(5)
    """So many failures in a row open it."""
    interval: float = settings.seconds(10.0)
    """A row of failures that has not opened it by then is forgotten."""
    timeout: float = settings.seconds(30.0)
    """How long nothing is let through."""
    max_requests: int = settings.count(3)
    """So many are let through after that, until one of them tells how the provider is."""


class State(Enum):
    """As metrics show it."""

    CLOSED = 0.0
    HALF_OPEN = 0.5
    OPEN = 1.0


class Outcome(Enum):
    """What a request tells of its provider."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


@define(eq=False)
class Breaker:
    """One circuit."""

    _settings: BreakerSettings
    state: State = field(default=State.CLOSED, init=False)
    until: float = field(default=0.0, init=False)
    """When the failures so far are forgotten, or where it isn't closed: when requests are let through again."""
    _since: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _places: int = field(default=0, init=False)
    """How many requests may still be let through while it is half open."""
    _places_since: float = field(default=0.0, init=False)

    def enter(self, now: float) -> float:
        """Lets a request through, and returns 0; or returns how long it has to wait."""
        if self.state is State.CLOSED:
            return 0.0
        if now >= self.until:
            self._change(State.HALF_OPEN, now, self._settings.timeout)
            self._places, self._places_since = self._settings.max_requests, now
        if not self._places:
            return self.until - now
        self._places -= 1
        return 0.0

    def hear(self, outcome: Outcome, began: float, now: float) -> None:
        """What a request came to that was let through when it began."""
        if self.state is State.OPEN or began < self._since:
            return  # it was asked before the last change, and says nothing about what was decided then
        if outcome is Outcome.FAILURE:
            self._count_failure(now)
        elif outcome is Outcome.NEITHER:
            self._give_place_back(began)
        elif self.state is State.HALF_OPEN:
            self._change(State.CLOSED, now, 0.0)
        else:
            self._failures = 0

    def _count_failure(self, now: float) -> None:
        if not self._failures or now >= self.until:
            self._failures, self.until = 0, now + self._settings.interval
        self._failures += 1
        if self.state is State.HALF_OPEN or self._failures >= self._settings.failure_threshold:
            self._change(State.OPEN, now, self._settings.timeout)

    def _give_place_back(self, began: float) -> None:
        if began >= self._places_since:  # else the place that it had is no longer one of these
            self._places += 1

    def _change(self, state: State, now: float, lasts: float) -> None:
        if state is not self.state:
            self._since = now
        self.state = state
        self.until = now + lasts
        self._failures = self._places = 0

"""Circuit breakers: a provider that fails is left alone for a while, separately for each endpoint and model.

A breaker is a state machine without a clock of its own; all times are in seconds::

    CLOSED ──── failure_threshold failures in a row ───▶ OPEN ◀──┐
      ▲                                                   │      │ a failure
      │                             timeout is over, and  │      │
      └─────────────── a success ─── HALF_OPEN ◀─ a request      │
                                          └──────────────────────┘

The options are those of https://github.com/sony/gobreaker, with three differences, because answers of models take
long. An ``interval`` begins with the first failure of a row, so that it never cuts a short row in two. One success
closes the circuit. If none of the requests that were let through has ended after ``timeout``, as many more are let
through: they can't keep the circuit half open for ever.
"""

from collections.abc import Callable
from enum import Enum
from functools import partial
from math import ceil
from typing import Any

from attrs import define, field, frozen
from prometheus_client import Counter, Gauge
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .. import settings
from ..caches import CachedDict
from ..errors import CircuitOpen
from ..logs import printable
from ..metrics import Metrics
from ..wire.formats import Answer
from .call import Ending


@frozen(kw_only=True)
class BreakerSettings:
    """The circuit breaker's settings. Durations are in seconds; a wrong value raises `InvalidSetting`."""

    failure_threshold: int = settings.count(5)
    """The number of failures in a row that open the circuit."""
    interval: float = settings.seconds(10.0)
    """After this time a row of failures that has not opened the circuit is forgotten."""
    timeout: float = settings.seconds(30.0)
    """The time for which an open circuit refuses every request."""
    max_requests: int = settings.count(3)
    """The number of requests that a half-open circuit lets through as probes."""


class State(Enum):
    """A circuit's state, with its value in metrics."""

    CLOSED = 0.0
    HALF_OPEN = 0.5
    OPEN = 1.0


class Outcome(Enum):
    """The verdict of one request on its provider."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


@define(eq=False)
class Breaker:
    """The state of one circuit."""

    _settings: BreakerSettings
    state: State = field(default=State.CLOSED, init=False)
    until: float = field(default=0.0, init=False)
    """The time at which the failures so far are forgotten; of an open circuit, at which it lets requests through."""
    _since: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _places: int = field(default=0, init=False)
    """The number of probes that may still be let through while the circuit is half open."""
    _places_since: float = field(default=0.0, init=False)

    def enter(self, now: float) -> float:
        """Let a request through and return 0, or return the seconds that it has to wait."""
        if self.state is State.CLOSED:
            return 0.0
        if now >= self.until:
            self._change(State.HALF_OPEN, now, self._settings.timeout)
            self._places, self._places_since = self._settings.max_requests, now
        if not self._places:
            return self.until - now
        self._places -= 1
        return 0.0

    def report(self, outcome: Outcome, began: float, now: float) -> None:
        """Take the outcome of a request that was let through at `began`."""
        if self.state is State.OPEN or began < self._since:
            return  # the request is older than the last change, and does not bear on what was decided then
        if outcome is Outcome.FAILURE:
            self._count_failure(now)
        elif outcome is Outcome.NEITHER:
            if began >= self._places_since:  # a probe of this half-open time: another one may take its place
                self._places += 1
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

    def _change(self, state: State, now: float, lasts: float) -> None:
        if state is not self.state:
            self._since = now
        self.state = state
        self.until = now + lasts
        self._failures = self._places = 0


_log = Logger()
_MAX_BREAKERS = 1000
OVERLOADED = {"overloaded_error", "service_unavailable_error", "server_is_overloaded", "slow_down"}
"""Error types of Anthropic and OpenAI, within an answer, for a lack of capacity."""

Key = tuple[str, str]
"""Endpoint and model."""


@frozen
class _Series:
    state: Gauge
    trips: Counter
    rejects: Counter


class Circuits:
    """The circuits of one provider.

    Models that a client made up can neither fill the memory nor push out an open circuit. A breaker is made with the
    first failure: a model that the provider doesn't know answers 404, and makes none. If there are too many breakers,
    an expired or else a closed one is dropped. An open one stays until its time is over; if all are open, further
    models get no breaker, and their requests are let through.
    """

    def __init__(self, provider: str, settings: BreakerSettings, metrics: Metrics, clock: IReactorTime) -> None:
        self._provider = provider
        self._settings = settings
        self._metrics = metrics
        self._now = clock.seconds
        self._breakers: dict[Key, Breaker] = {}
        self._series: CachedDict[Key, _Series] = CachedDict(self._find_series)
        self._is_retired = False

    def enter(self, endpoint: str, model: str, failing: frozenset[int]) -> "Passage":
        """Let a request through, or raise `CircuitOpen`. `failing` are the statuses that count as failures."""
        key, now = (endpoint, model), self._now()
        series, breaker = self._series[key], self._breakers.get(key)
        if breaker is None:
            return Passage(partial(self._report, key, now), False, failing)
        wait = breaker.enter(now)
        series.state.set(breaker.state.value)
        if wait > 0:
            series.rejects.inc()
            seconds = ceil(wait)
            why = f"{self._provider} failed {self._settings.failure_threshold} times in a row for {model!r}"
            raise CircuitOpen(f"Circuit open for {seconds} s: {why}. Try again after that time.", seconds)
        return Passage(partial(self._report, key, now), breaker.state is State.HALF_OPEN, failing)

    def check(self, endpoint: str) -> None:
        """Raise `CircuitOpen` while every circuit of an endpoint is open, for what is not about one model."""
        now = self._now()
        breakers = [breaker for (name, _), breaker in self._breakers.items() if name == endpoint]
        waits = [breaker.until - now if breaker.state is State.OPEN else 0.0 for breaker in breakers]
        if waits and min(waits) > 0:
            seconds = ceil(min(waits))
            raise CircuitOpen(f"Circuit open for {seconds} s: {self._provider} failed repeatedly.", seconds)

    def report(self) -> list[dict[str, Any]]:
        """Return the circuits that are not closed, as JSON values."""
        names = {State.OPEN: "open", State.HALF_OPEN: "half open"}
        return [
            {"endpoint": endpoint, "model": model, "state": names[breaker.state]}
            for (endpoint, model), breaker in self._breakers.items()
            if breaker.state in names
        ]

    def retire(self) -> None:
        """Forget everything: other circuits take the place of these. Exchanges under way have nothing to report."""
        for key in self._breakers:
            self._series[key].state.set(State.CLOSED.value)
        self._breakers.clear()
        self._is_retired = True

    def _report(self, key: Key, began: float, outcome: Outcome) -> None:
        now = self._now()
        breaker = self._breakers.get(key)
        if breaker is None and outcome is Outcome.FAILURE and self._has_room(now):
            breaker = self._breakers[key] = Breaker(self._settings)
        if breaker is None:
            return
        before = breaker.state
        breaker.report(outcome, began, now)
        if breaker.state is not before:
            self._show(key, breaker.state)

    def _show(self, key: Key, state: State) -> None:
        series = self._series[key]
        series.state.set(state.value)
        where = {"provider": self._provider, "endpoint": key[0], "model": printable(key[1])}
        if state is State.OPEN:
            series.trips.inc()
            _log.warn("circuit to {provider}{endpoint} for {model} opened", **where)
        else:
            _log.info("circuit to {provider}{endpoint} for {model} closed", **where)

    def _has_room(self, now: float) -> bool:
        if self._is_retired:
            return False
        if len(self._breakers) < _MAX_BREAKERS:
            return True
        over = (key for key, breaker in self._breakers.items() if now >= breaker.until)
        closed = (key for key, breaker in self._breakers.items() if breaker.state is State.CLOSED)
        key = next(over, None) or next(closed, None)
        if key is None:
            return False
        del self._breakers[key]
        self._series[key].state.set(State.CLOSED.value)
        return True

    def _find_series(self, key: Key) -> _Series:
        labels = (self._provider, key[0], self._metrics.model(key[1]))
        metrics = self._metrics
        return _Series(
            metrics.breaker_state.labels(*labels),
            metrics.breaker_trips.labels(*labels),
            metrics.breaker_rejects.labels(*labels),
        )


@define(eq=False)
class Passage:
    """An exchange that a circuit let through. It tells the circuit what becomes of each of its rounds.

    Failures are the statuses of `failing`, a provider that can't be reached or breaks off, and an answer which says
    that the provider is overloaded. A success is an answer to its end. Anything else, and a client that leaves, is
    neither.
    """

    _report: Callable[[Outcome], None]
    probes: bool
    """True if the circuit is half open, and waits for this exchange before it closes."""
    failing: frozenset[int]
    """Statuses by which the provider says that it is overloaded."""
    _reported: bool = field(default=False, init=False)

    def responded(self, code: int) -> None:
        """The provider's status is known."""
        if code in self.failing:
            self.failed()

    def failed(self) -> None:
        """The provider could not be reached, or was too slow."""
        self._tell(Outcome.FAILURE)

    def under_way(self, answer: Answer) -> None:
        """The answer takes long: other requests need not wait for the end of one that the model has begun."""
        if self.probes and answer.response_id is not None and answer.error is None:
            self._tell(Outcome.SUCCESS)

    def ended(self, ending: Ending, answer: Answer) -> None:
        """The answer is over."""
        if ending is Ending.BROKEN or answer.error in OVERLOADED:
            self._tell(Outcome.FAILURE)
        elif ending is Ending.WHOLE and answer.error is None:
            self._tell(Outcome.SUCCESS)

    def leave(self) -> None:
        """The exchange is over. If it told nothing, another one may probe in its place."""
        if not self._reported:
            self._tell(Outcome.NEITHER)

    def _tell(self, outcome: Outcome) -> None:
        self._reported = True
        self._report(outcome)

"""The circuits of one provider: one for each endpoint and model, so that one model's trouble stays its own."""

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
from ..interfaces import Ending
from ..logs import printable
from ..metrics import Metrics
from ..wire.formats import Answer


@frozen(kw_only=True)
class BreakerSettings:
    """When a circuit opens, and how it closes again. Times in seconds; `InvalidSetting` where a value is wrong."""

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


_log = Logger()
_MOST_BREAKERS = 1000
OVERLOADED = {"overloaded_error", "service_unavailable_error", "server_is_overloaded", "slow_down"}
"""What Anthropic and OpenAI say within an answer when they have no capacity."""

Key = tuple[str, str]
"""Endpoint and model."""


@frozen
class _Series:
    state: Gauge
    trips: Counter
    rejects: Counter


class Circuits:
    """Models that a client made up can neither fill the memory nor push out a circuit that is open.

    A breaker is made with the first failure: a model that the provider doesn't know answers 404, and makes none. Where
    there are too many, one goes whose time is over, or else one that is closed. One that is open stays until its time
    is over; where all are, further models have none, and their requests are let through.
    """

    def __init__(self, provider: str, settings: BreakerSettings, metrics: Metrics, clock: IReactorTime) -> None:
        self._provider = provider
        self._settings = settings
        self._metrics = metrics
        self._now = clock.seconds
        self._breakers: dict[Key, Breaker] = {}
        self._series: CachedDict[Key, _Series] = CachedDict(self._find_series)

    def enter(self, endpoint: str, model: str, failing: frozenset[int]) -> "Passage":
        """Let a request through, or raise `CircuitOpen`. `failing` are the statuses that count as failures."""
        key, now = (endpoint, model), self._now()
        series, breaker = self._series[key], self._breakers.get(key)
        if breaker is None:
            return Passage(partial(self._hear, key, now), False, failing)
        wait = breaker.enter(now)
        series.state.set(breaker.state.value)
        if wait > 0:
            series.rejects.inc()
            raise CircuitOpen(f"{self._provider} can't take requests for {model!r} now.", ceil(wait))
        return Passage(partial(self._hear, key, now), breaker.state is State.HALF_OPEN, failing)

    def report(self) -> list[dict[str, Any]]:
        """Those that aren't closed, as JSON values for operators."""
        names = {State.OPEN: "open", State.HALF_OPEN: "half open"}
        return [
            {"endpoint": endpoint, "model": model, "state": names[breaker.state]}
            for (endpoint, model), breaker in self._breakers.items()
            if breaker.state in names
        ]

    def _hear(self, key: Key, began: float, outcome: Outcome) -> None:
        now = self._now()
        breaker = self._breakers.get(key)
        if breaker is None and outcome is Outcome.FAILURE and self._has_room(now):
            breaker = self._breakers[key] = Breaker(self._settings)
        if breaker is None:
            return
        before = breaker.state
        breaker.hear(outcome, began, now)
        if breaker.state is not before:
            self._show(key, breaker.state)

    def _show(self, key: Key, state: State) -> None:
        series = self._series[key]
        series.state.set(state.value)
        where = {"provider": self._provider, "endpoint": key[0], "model": printable(key[1])}
        if state is State.OPEN:
            series.trips.inc()
            _log.warn("the circuit to {provider}{endpoint} for {model} has opened", **where)
        else:
            _log.info("the circuit to {provider}{endpoint} for {model} is closed again", **where)

    def _has_room(self, now: float) -> bool:
        if len(self._breakers) < _MOST_BREAKERS:
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
    """One exchange that a circuit let through. It tells the circuit what becomes of each of its rounds.

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

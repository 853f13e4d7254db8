"""The circuits of one provider: one for each endpoint and model, so that one model's trouble stays its own."""

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

from attrs import define, field, frozen
from prometheus_client import Counter, Gauge
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..errors import CircuitOpen, UpstreamFailed, UpstreamTimeout
from ..interfaces import Ending, IRelay, IReply, IUpstream
from ..metrics import Metrics, Remembered
from ..wire.tap import Tap
from .breaker import Breaker, BreakerSettings, Outcome, State
from .client import UpstreamCall
from .watchdog import Watch, Watchdog

_log = Logger()
_MOST_BREAKERS = 1000
_UNDER_WAY_AFTER = 2.0
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
        self._series: Remembered[Key, _Series] = Remembered(self._find_series)

    def enter(self, endpoint: str, model: str) -> "Passage":
        """Lets a request through; CircuitOpen where that can't be."""
        key, now = (endpoint, model), self._now()
        series, breaker = self._series[key], self._breakers.get(key)
        if breaker is None:
            return Passage(partial(self._hear, key, now), probes=False)
        wait = breaker.enter(now)
        series.state.set(breaker.state.value)
        if wait > 0:
            series.rejects.inc()
            raise CircuitOpen(f"{self._provider} can't take requests for {model!r} now.", ceil(wait))
        return Passage(partial(self._hear, key, now), probes=breaker.state is State.HALF_OPEN)

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
        where = {"provider": self._provider, "endpoint": key[0], "model": key[1]}
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
    """A request that was let through, until it is known what came of it."""

    _hear: Callable[[Outcome], None]
    probes: bool
    """Whether a circuit waits for it to close."""
    _told: bool = field(default=False, init=False)

    def tell(self, outcome: Outcome) -> None:
        """What came of it; once more for each of its rounds."""
        self._told = True
        self._hear(outcome)

    def leave(self) -> None:
        """It is over. Where it told nothing, another may go in its place."""
        if not self._told:
            self.tell(Outcome.NEITHER)


@implementer(IUpstream)
@define(eq=False, kw_only=True)
class GuardedUpstream:
    """One exchange's way to the provider, which tells the circuit what becomes of it.

    Failures are the statuses of `failing`, a provider that can't be reached or breaks off, and an answer that says that
    the provider is overloaded. A success is an answer to its end. Anything else, and a client that leaves, is neither.
    """

    upstream: IUpstream
    passage: Passage
    reply: IReply
    watchdog: Watchdog
    failing: frozenset[int]
    _answers: bool = field(default=False, init=False)
    _watch: Watch | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The provider's name."""
        name: str = self.upstream.name
        return name

    @property
    def idle_timeout(self) -> float:
        """Seconds between two pieces of an answer."""
        idle_timeout: float = self.upstream.idle_timeout
        return idle_timeout

    def ask(self, call: UpstreamCall) -> "Deferred[IResponse]":
        """The head of the answer."""
        asked: Deferred[IResponse] = self.upstream.ask(call)
        return asked.addCallbacks(self._answered, self._failed)

    def _answered(self, response: IResponse) -> IResponse:
        self._answers = response.code < 400
        if response.code in self.failing:
            self.passage.tell(Outcome.FAILURE)
        return response

    def _failed(self, failure: Failure) -> Failure:
        # Where the client has left it may be no more than an agent's word for being cancelled.
        if failure.check(UpstreamFailed, UpstreamTimeout) and not self.reply.gone:
            self.passage.tell(Outcome.FAILURE)
        return failure

    def relay(self, tap: Tap, client: IReply, reads_on: Callable[[], bool]) -> IRelay:
        """The receiver of the answer's body."""
        relay = self.upstream.relay(tap, client, reads_on)
        if self._answers:
            if self.passage.probes:
                self._watch = self.watchdog.watch(_UNDER_WAY_AFTER, partial(self._look, tap))
            relay.ended.addCallback(self._ended, tap)
        return relay

    def leave(self) -> None:
        """The exchange is over."""
        self._call_off()
        self.passage.leave()

    def _look(self, tap: Tap) -> None:
        """Answers may take minutes: others don't wait for the end of one that the model has begun."""
        if tap.answer.response_id is not None and tap.answer.error is None:
            self.passage.tell(Outcome.SUCCESS)

    def _ended(self, ending: Ending, tap: Tap) -> Ending:
        self._call_off()
        if ending in (Ending.BROKEN, Ending.TIMED_OUT) or tap.answer.error in OVERLOADED:
            self.passage.tell(Outcome.FAILURE)
        elif ending is Ending.WHOLE and tap.answer.error is None:
            self.passage.tell(Outcome.SUCCESS)
        return ending

    def _call_off(self) -> None:
        if self._watch is not None:
            self.watchdog.call_off(self._watch)
            self._watch = None

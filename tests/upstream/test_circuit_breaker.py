"""Circuit breakers: what opens one, how it closes again, and what is remembered of whom."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import CircuitOpen
from aibridge.metrics import Metrics
from aibridge.settings import InvalidSetting
from aibridge.upstream import circuit_breaker as circuits_module
from aibridge.upstream.call import Ending
from aibridge.upstream.circuit_breaker import Breaker, BreakerSettings, Circuits, Outcome, State
from aibridge.wire.formats import Answer

OPTIONS = BreakerSettings(failure_threshold=3, interval=10, timeout=30, max_requests=2)
OUTCOMES = {"+": Outcome.SUCCESS, "-": Outcome.FAILURE, "=": Outcome.NEITHER}


class TranscriptTests(SynchronousTestCase):
    """A breaker's life as one line: what is done, and what comes of it.

    ``-``, ``+`` and ``=`` are requests that fail, succeed and tell nothing; a letter is one that begins, and ends where
    it stands with its outcome; ``~5`` lets 5 seconds pass; ``!5`` is one that is refused for 5 seconds. A state must be
    as it is named.
    """

    def play(self, transcript: str) -> None:
        """Fails where the breaker does something else than its line says."""
        breaker, now, begun = Breaker(OPTIONS), 100.0, {}
        for word in transcript.split():
            kind, rest = word[0], word[1:]
            if kind == "~":
                now += float(rest)
            elif kind == "!":
                self.assertEqual(breaker.enter(now), float(rest), transcript)
            elif word.lower() in ("closed", "half_open", "open"):
                self.assertEqual(breaker.state.name, word.upper(), transcript)
            elif kind in OUTCOMES:
                self.assertEqual(breaker.enter(now), 0.0, transcript)
                breaker.report(OUTCOMES[kind], now, now)
            elif rest:
                breaker.report(OUTCOMES[rest], begun.pop(kind), now)
            else:
                self.assertEqual(breaker.enter(now), 0.0, transcript)
                begun[kind] = now

    def test_opens(self) -> None:
        """With so many failures in a row, and not before."""
        self.play("- - closed - open !30 ~20 !10")

    def test_row(self) -> None:
        """A success begins a new row; what tells nothing doesn't."""
        self.play("- - + - - closed - open")
        self.play("- = - = = closed - open")

    def test_interval(self) -> None:
        """A row that takes too long is forgotten, counted from its first failure."""
        self.play("- ~5 - ~5 - closed - closed - open")
        self.play("~1000 - ~9 - ~0.5 - open")

    def test_closes(self) -> None:
        """After its time one success closes it."""
        self.play("- - - ~30 a half_open a+ closed + +")

    def test_opens_again(self) -> None:
        """After its time one failure opens it for as long again."""
        self.play("- - - ~30 a half_open a- open !30 ~29 !1")

    def test_as_many_as_allowed(self) -> None:
        """So many are let through to see; others wait for what comes of them."""
        self.play("- - - ~31 a b !30 half_open a+ closed c d e")

    def test_place_given_back(self) -> None:
        """A request that tells nothing leaves its place to another."""
        self.play("- - - ~30 a b !30 a= c !30 b= c= half_open d e !30")

    def test_never_stuck(self) -> None:
        """Requests that don't end keep it half open no longer than it was open."""
        self.play("- - - ~30 a b ~29 !1 ~1 c d !30 a+ closed")
        self.play("- - - ~30 a b ~30 c d a= !30 c= e !30 b- open")

    def test_latecomers(self) -> None:
        """What was asked before the circuit changed says nothing about what was decided then."""
        self.play("a b c ~1 - - - open a- ~30 d b- half_open c+ half_open d+ closed")
        self.play("- - - ~30 a b ~1 a+ closed b- - - closed - open")

    def test_settings(self) -> None:
        """Values that make no sense are refused."""
        for option in ("failure_threshold", "interval", "timeout", "max_requests"):
            self.assertRaises(InvalidSetting, BreakerSettings, **{option: 0})


class BreakerMachine(RuleBasedStateMachine):
    """Any sequence of requests, ends and pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(OPTIONS)
        self.under_way: list[float] = []
        self.let_through: list[float] = []
        """When requests were let through that did not find it closed, and still count."""

    @rule()
    def ask(self) -> None:
        was, wait = self.breaker.state, self.breaker.enter(self.now)
        assert 0 <= wait <= OPTIONS.timeout
        if wait == 0:
            self.under_way.append(self.now)
            if was is not State.CLOSED:
                self.let_through.append(self.now)
        else:
            assert was is not State.CLOSED

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def end(self, data: Any, outcome: Outcome) -> None:
        began = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.breaker.report(outcome, began, self.now)
        if self.breaker.state is State.CLOSED:
            self.let_through.clear()
        elif outcome is Outcome.NEITHER and began in self.let_through:
            self.let_through.remove(began)

    @rule()
    def trip(self) -> None:
        """What random failures would seldom do."""
        for _ in range(OPTIONS.failure_threshold):
            if self.breaker.state is State.CLOSED:
                self.breaker.report(Outcome.FAILURE, self.now, self.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 15.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def few_while_half_open(self) -> None:
        if self.breaker.state is State.HALF_OPEN:
            since = self.breaker.until - OPTIONS.timeout
            assert len([began for began in self.let_through if began >= since]) <= OPTIONS.max_requests

    @invariant()
    def never_stuck(self) -> None:
        """Whatever has happened: after its time somebody is let through, and a success closes it."""
        if self.breaker.state is State.CLOSED:
            return
        twin = Breaker(OPTIONS)
        for name in ("state", "until", "_since", "_failures", "_places", "_places_since"):
            setattr(twin, name, getattr(self.breaker, name))
        later = self.now + OPTIONS.timeout
        assert twin.enter(later) == 0
        twin.report(Outcome.SUCCESS, later, later)
        assert twin.state is State.CLOSED and twin.enter(later) == 0


class BreakerMachineTests(SynchronousTestCase):
    """What holds whatever happens."""

    def test_any_sequence(self) -> None:
        """Never more than allowed are let through while half open, and it never stays shut."""
        case = BreakerMachine.TestCase("runTest")
        case.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
        case.runTest()


FAILING = frozenset({429})


class CircuitsTests(SynchronousTestCase):
    """The circuits of one provider."""

    def setUp(self) -> None:
        self.patch(circuits_module, "_MAX_BREAKERS", 10)
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.circuits = Circuits("mine", OPTIONS, Metrics(self.registry), self.clock)

    def fail(self, model: str, times: int = 3) -> None:  # type: ignore[override]
        for _ in range(times):
            self.circuits.enter("/chat", model, FAILING).failed()

    def is_open(self, model: str) -> bool:
        try:
            self.circuits.enter("/chat", model, FAILING).leave()
        except CircuitOpen:
            return True
        return False

    def test_apart(self) -> None:
        """Each model and each endpoint has its own."""
        self.fail("a")
        self.assertEqual((self.is_open("a"), self.is_open("b")), (True, False))
        self.circuits.enter("/other", "a", FAILING)

    def test_report(self) -> None:
        """Operators are told which aren't closed."""
        self.fail("a"), self.fail("b", 2)
        self.assertEqual(self.circuits.report(), [{"endpoint": "/chat", "model": "a", "state": "open"}])

    def test_made_up_models_push_out_nothing_open(self) -> None:
        """However many models fail, one that is open stays so until its time is over."""
        self.fail("real")
        for number in range(100):
            self.fail(f"made-up-{number}", 1 + number % 3)
        self.assertTrue(self.is_open("real"))
        self.assertLessEqual(len(self.circuits._breakers), 10)
        self.assertFalse(self.is_open("made-up-99"))

    def test_made_up_models_go_again(self) -> None:
        """Room that was taken by models whose time is over is there for others."""
        for number in range(10):
            self.fail(f"made-up-{number}")
        self.fail("real")
        self.assertFalse(self.is_open("real"))
        self.clock.advance(30)
        self.fail("real")
        self.assertTrue(self.is_open("real"))
        self.assertEqual(len(self.circuits._breakers), 10)

    def test_closed_ones_go(self) -> None:
        """Models that failed too seldom make room for others."""
        for number in range(10):
            self.fail(f"made-up-{number}", 1)
        self.fail("real")
        self.assertTrue(self.is_open("real"))

    def test_success_alone_leaves_nothing(self) -> None:
        """Nothing is kept of models that don't fail."""
        for number in range(100):
            self.circuits.enter("/chat", f"m{number}", FAILING).ended(Ending.WHOLE, Answer())
            self.circuits.enter("/chat", f"m{number}", FAILING).leave()
        self.assertEqual(len(self.circuits._breakers), 0)

    def test_metrics(self) -> None:
        """State, trips and rejects; the first two hundred models are told apart."""
        for number in range(300):
            self.circuits.enter("/chat", f"m{number}", FAILING)
        self.fail("m7")
        self.assertTrue(self.is_open("m7"))
        where = {"provider": "mine", "endpoint": "/chat", "model": "m7"}
        names = ("circuit_breaker_state", "circuit_breaker_trips_total", "circuit_breaker_rejects_total")
        self.assertEqual([self.registry.get_sample_value(name, where) for name in names], [1.0, 1.0, 1.0])
        [family] = [family for family in self.registry.collect() if family.name == "circuit_breaker_state"]
        self.assertEqual(len(family.samples), 201)

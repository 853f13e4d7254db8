"""Limits of each actor's requests."""

from contextlib import ExitStack
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge import rate_limits as limits_module
from aibridge.errors import TooManyRequests
from aibridge.rate_limits import Limits, RateLimiter
from aibridge.settings import InvalidSetting


class LimitTests(SynchronousTestCase):
    """Requests within and over a limit."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.under_way = ExitStack()
        self.addCleanup(self.under_way.close)

    def limit(self, **limits: Any) -> None:
        self.limiter = RateLimiter(Limits(**limits), self.clock)

    def refused(self, actor: str = "alice", stays: bool = False) -> int | None:
        """The seconds that a request is told to wait; None where it may enter."""
        try:
            passing = self.limiter.enter(actor)
            if stays:
                self.under_way.enter_context(passing)
            else:
                with passing:
                    pass
        except TooManyRequests as error:
            return error.retry_after
        return None

    def test_off(self) -> None:
        """Without limits nobody is refused, and nothing is kept."""
        self.limit()
        self.assertEqual({self.refused(stays=True) for _ in range(1000)}, {None})
        self.under_way.close()
        self.assertEqual((self.limiter._in_flight, len(self.limiter._full_at)), ({}, 0))

    def test_a_minute(self) -> None:
        """So many at once; then evenly as many a minute, each as soon as Retry-After said."""
        self.limit(requests_per_minute=6)
        self.assertEqual([self.refused() for _ in range(8)], [None] * 6 + [10, 10])
        self.clock.advance(9.5)
        self.assertEqual(self.refused(), 1)
        self.clock.advance(0.5)
        self.assertEqual([self.refused(), self.refused()], [None, 10])
        self.clock.advance(1000)
        self.assertEqual([self.refused() for _ in range(7)], [None] * 6 + [10])

    def test_each_for_themselves(self) -> None:
        """Requests of an actor don't count for another."""
        self.limit(requests_per_minute=1, concurrent=1)
        self.assertEqual([self.refused("alice"), self.refused("alice"), self.refused("bob")], [None, 60, None])

    def test_concurrent(self) -> None:
        """So many in flight; a further one as soon as one is over."""
        self.limit(concurrent=2)
        self.assertEqual([self.refused(stays=True) for _ in range(3)], [None, None, 1])
        self.under_way.close()
        self.assertEqual([self.refused(stays=True) for _ in range(3)], [None, None, 1])

    def test_refused_costs_nothing(self) -> None:
        """A request over the concurrency limit is not counted for the rate limit."""
        self.limit(requests_per_minute=2, concurrent=1)
        self.assertEqual([self.refused(stays=True) for _ in range(5)], [None, 1, 1, 1, 1])
        self.under_way.close()
        self.assertEqual([self.refused(), self.refused()], [None, 30])

    def test_failed(self) -> None:
        """A request that ends with an error is over too."""
        self.limit(concurrent=1)

        def fail() -> None:
            with self.limiter.enter("alice"):
                raise ValueError

        self.assertRaises(ValueError, fail)
        self.assertEqual((self.refused(), self.limiter._in_flight), (None, {}))

    def test_bounded(self) -> None:
        """However many actors there are, the memory is bounded, and a busy actor is not forgotten."""
        self.patch(limits_module, "_MOST_ACTORS", 10)
        self.limit(requests_per_minute=1)
        self.refused("alice")
        for number in range(100):
            self.refused(f"actor-{number}")
            self.assertEqual(self.refused("alice"), 60)
        self.assertEqual((len(self.limiter._full_at), self.limiter._in_flight), (10, {}))

    def test_settings(self) -> None:
        """Values that make no sense are refused."""
        for wrong in (0, -1, 1.5, True):
            self.assertRaises(InvalidSetting, Limits, concurrent=wrong)
            self.assertRaises(InvalidSetting, Limits, requests_per_minute=wrong)

    @given(st.integers(1, 2000), st.floats(0, 2e9), st.lists(st.floats(0, 30), max_size=60))
    def test_any_pace(self, per_minute: int, start: float, pauses: list[float]) -> None:
        """At any pace no minute has more than twice the limit, and who waits as told is let in."""
        self.clock = Clock()
        self.clock.advance(start)
        self.limit(requests_per_minute=per_minute)
        entered = []
        for pause in pauses:
            self.clock.advance(pause)
            wait = self.refused()
            if wait is not None:
                self.clock.advance(wait)
                self.assertIsNone(self.refused())
            entered.append(self.clock.seconds())
        for began in entered:
            self.assertLessEqual(len([each for each in entered if began <= each < began + 60]), 2 * per_minute)

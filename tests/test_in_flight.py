"""What is under way, and what becomes of it when the gateway stops."""

import gc

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.bridge import RequestBridge
from aibridge.errors import Draining, UpstreamRefused
from aibridge.http.deadlines import Deadlines
from aibridge.in_flight import InFlight
from aibridge.testing import MemoryRecorder
from aibridge.upstream.client import Upstream, UpstreamCall


class UnderwayTests(SynchronousTestCase):
    """Steps are known until they are over."""

    def setUp(self):
        self.underway = InFlight()

    def test_over(self):
        """A step that has ended, however it did and were it before it was tracked, is forgotten, its result is not."""
        later, at_once, failed = Deferred(), succeed(2), fail(ValueError())
        tracked = [self.underway.track(step) for step in (later, at_once, failed)]
        self.assertEqual(self.underway._steps, {later})
        later.callback(1)
        self.assertEqual([self.successResultOf(step) for step in tracked[:2]], [1, 2])
        self.failureResultOf(tracked[2], ValueError)
        self.assertEqual(self.underway._steps, set())

    def test_stop(self):
        """A stop breaks off what is under way and what is still to come; each fails with Draining."""
        before = self.underway.track(Deferred())
        self.underway.stop()
        after = self.underway.track(Deferred())
        for step in (before, after):
            self.failureResultOf(step, Draining)
        self.assertEqual((self.successResultOf(self.underway.track(succeed(1))), self.underway._steps), (1, set()))


class InFlightTests(SynchronousTestCase):
    """A bridge knows how many requests are under way."""

    def test_no_request(self):
        """What can't be answered at all is told in the log, and does not stay under way."""
        bridge = RequestBridge([], MemoryRecorder(), reactor=Clock())
        bridge.render(object())
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual(bridge.in_flight, 0)


class AskingTests(SynchronousTestCase):
    """Asking a provider is such a step, on any agent."""

    def setUp(self):
        self.underway, self.clock = InFlight(), Clock()
        self.dog = Deadlines(self.clock)
        self.addCleanup(self.dog.stop)

    def ask(self, answer):
        """Asks over an agent that gives this Deferred, once."""

        class Agent:
            def request(self, *arguments):
                return answer

        times = {"first_byte_timeout": 9.0, "idle_timeout": 9.0, "stall_timeout": 9.0}
        upstream = Upstream(
            name="p", agent=Agent(), clock=self.clock, watchdog=self.dog, underway=self.underway, **times
        )
        return upstream.ask(UpstreamCall(b"POST", b"http://a/", None, b"{}", once=True))

    def test_answered_at_once(self):
        """An agent that answers or fails before it returns leaves nothing under way."""
        self.assertEqual(self.successResultOf(self.ask(succeed("response"))), "response")
        self.failureResultOf(self.ask(fail(ValueError())))
        self.assertEqual((self.underway._steps, self.dog._watches), (set(), set()))

    def test_refused(self):
        """What is tried again is another step each time."""
        self.ask(fail(UpstreamRefused("no")))
        self.assertEqual(self.underway._steps, set())

    def test_stop(self):
        """It fails with Draining, before it is answered and when it is only asked then."""
        asked = self.ask(Deferred())
        self.underway.stop()
        for step in (asked, self.ask(Deferred())):
            self.failureResultOf(step, Draining)
        self.assertEqual((self.underway._steps, self.dog._watches), (set(), set()))

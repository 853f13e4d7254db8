"""Requests under way, and what becomes of them when they are called off or the gateway stops."""

import gc

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from aibridge.bridge import RequestBridge
from aibridge.errors import ClientLeft, Draining, UpstreamFailed, UpstreamRefused, UpstreamTimeout
from aibridge.http.client import make_client
from aibridge.http.deadlines import Deadlines
from aibridge.http.headers import RawHeaders
from aibridge.in_flight import Exchange, InFlight
from aibridge.interfaces import IExchange
from aibridge.testing import MemoryRecorder
from aibridge.upstream.call import UpstreamCall
from aibridge.upstream.client import Upstream


class Client:
    """The client's side of an exchange, of which nothing but its leaving matters here."""

    on_left = None

    def leave(self):
        self.on_left()


class ExchangeTests(SynchronousTestCase):
    """An exchange waits for one step at a time, and is called off in one way."""

    def setUp(self):
        self.client = Client()
        self.exchange = Exchange(self.client)

    def wait(self, step):
        return self.exchange.wait(step)

    def test_interface(self):
        """An exchange is what the parts of the gateway expect."""
        self.assertTrue(verifyObject(IExchange, self.exchange))

    def test_steps(self):
        """A step's result or error is that of the wait."""
        self.assertEqual(self.successResultOf(self.wait(succeed(2))), 2)
        self.failureResultOf(self.wait(fail(ValueError())), ValueError)
        self.exchange.raise_if_cancelled()

    def test_cancelled(self):
        """The step under way and all later ones fail with the first reason, whatever cancelling makes of them."""
        for canceller in (None, lambda step: step.errback(ValueError("closed"))):
            self.setUp()
            waiting = self.wait(Deferred(canceller))
            self.exchange.cancel(UpstreamTimeout("late"))
            self.exchange.cancel(Draining("stopping"))
            self.failureResultOf(waiting, UpstreamTimeout)
            self.failureResultOf(self.wait(succeed(1)), UpstreamTimeout)
            self.assertRaises(UpstreamTimeout, self.exchange.raise_if_cancelled)

    def test_a_later_step_is_cancelled_too(self):
        """A step that begins after the exchange was called off is cancelled, and its error is no one's."""
        self.exchange.cancel(Draining("stopping"))
        ended = []
        self.failureResultOf(self.wait(Deferred(ended.append)), Draining)
        self.assertEqual(len(ended), 1)

    def test_client_leaves(self):
        """A client that leaves calls the exchange off; while it is sent an answer, the relay decides."""
        waiting = self.wait(Deferred())
        self.client.leave()
        self.failureResultOf(waiting, ClientLeft)
        self.setUp()
        left = []

        class Relay:
            def stopProducing(self):
                left.append(self)

        self.exchange.relay = Relay()
        self.client.leave()
        self.assertEqual((left, self.exchange.reason), ([self.exchange.relay], None))


class InFlightTests(SynchronousTestCase):
    """A gateway knows its exchanges."""

    def setUp(self):
        self.in_flight = InFlight()

    def test_drained(self):
        """Whoever waits for it hears when the last exchange is over; at once, without any."""
        self.successResultOf(self.in_flight.drained())
        one, two = Exchange(Client()), Exchange(Client())
        self.in_flight.add(one), self.in_flight.add(two)
        drained = [self.in_flight.drained(), self.in_flight.drained()]
        self.in_flight.discard(one)
        self.assertNoResult(drained[0])
        self.assertEqual(len(self.in_flight.exchanges), 1)
        self.in_flight.discard(two)
        for each in drained:
            self.successResultOf(each)

    def test_stop(self):
        """A stop calls off every exchange, those that are still to come too."""
        before, after = Exchange(Client()), Exchange(Client())
        self.in_flight.add(before)
        self.in_flight.stop()
        self.in_flight.add(after)
        for exchange in (before, after):
            self.assertRaises(Draining, exchange.raise_if_cancelled)

    def test_no_request(self):
        """A request that can't be answered at all is told in the log, and does not stay under way."""
        bridge = RequestBridge([], MemoryRecorder(), reactor=Clock())
        bridge.render(object())
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual(bridge.in_flight, 0)


class RequestTests(SynchronousTestCase):
    """A request to a provider is a step, on any agent."""

    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.addCleanup(self.deadlines.stop)
        self.exchange = Exchange(Client())
        self.sent = 0

    def request(self, *responses):
        """Sends a request over an agent that gives these Deferreds, one after the other."""
        case, left = self, list(responses)

        class Agent:
            def request(self, *arguments):
                case.sent += 1
                return left.pop(0)

        upstream = Upstream(
            name="p",
            client=make_client(Agent(), self.clock),
            clock=self.clock,
            deadlines=self.deadlines,
            first_byte_timeout=9.0,
            idle_timeout=9.0,
            stall_timeout=9.0,
        )
        call = UpstreamCall(b"POST", b"http://a/", RawHeaders(), b"{}", once=True)
        return Deferred.fromCoroutine(upstream.request(call, self.exchange))

    def advance(self, seconds):
        self.clock.pump([0.25] * round(seconds / 0.25))

    def test_at_once(self):
        """An agent that responds or fails before it returns leaves no deadline behind."""
        self.assertEqual(self.successResultOf(self.request(succeed("response"))), "response")
        self.failureResultOf(self.request(fail(UpstreamFailed("no"))), UpstreamFailed)
        self.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self):
        """A request that was provably not begun is sent again, up to twice."""
        refused = [fail(UpstreamRefused("no")) for _ in range(3)]
        waiting = self.request(*refused)
        self.advance(1)
        self.failureResultOf(waiting, UpstreamRefused)
        self.assertEqual(self.sent, 3)
        waiting = self.request(fail(UpstreamRefused("no")), succeed("response"))
        self.advance(1)
        self.assertEqual(self.successResultOf(waiting), "response")

    def test_too_slow(self):
        """A provider that does not begin to respond in time is left, and the reason says so."""
        waiting = self.request(Deferred())
        self.advance(10)
        self.assertIn("p did not begin to respond in 9 s", self.failureResultOf(waiting, UpstreamTimeout).value.message)

    def test_stop(self):
        """An exchange that is called off sends no more requests, and fails with the reason."""
        waiting = self.request(Deferred())
        self.exchange.cancel(Draining("stopping"))
        self.failureResultOf(waiting, Draining)
        self.failureResultOf(self.request(Deferred()), Draining)
        self.assertEqual(self.sent, 1)

    def test_unknown_error(self):
        """An error that no agent should raise is named to the client by its kind, and logged with its traceback."""
        failure = self.failureResultOf(self.request(fail(KeyError("sk-secret"))), UpstreamFailed)
        self.assertIn("KeyError", failure.value.message)
        self.assertNotIn("sk-secret", failure.value.message)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

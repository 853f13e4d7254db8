"""Many deadlines, one timer."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.http.deadlines import Deadlines


class DeadlineTests(SynchronousTestCase):
    """A deadline expires without a sign of life, to within a quarter of a second."""

    def setUp(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.expired = []

    def start(self, timeout, name="a"):
        return self.deadlines.start(timeout, lambda: self.expired.append((name, self.clock.seconds())))

    def run_for(self, seconds):
        self.clock.pump([0.05] * round(seconds / 0.05))

    def test_expires_once(self):
        """A deadline expires not before its time, at most a quarter late, and not again."""
        deadline = self.start(10)
        self.run_for(9.95)
        self.assertEqual(self.expired, [])
        self.run_for(20)
        [(_, when)] = self.expired
        self.assertTrue(10 <= when <= 10.3, when)
        self.assertTrue(deadline.expired)

    def test_alive(self):
        """A deadline starts again with each sign of life."""
        deadline = self.start(2)
        for _ in range(20):
            self.run_for(1.5)
            deadline.alive = True
        self.assertEqual(self.expired, [])
        self.run_for(1.9)
        self.assertEqual(self.expired, [])
        self.run_for(1)
        self.assertEqual(len(self.expired), 1)

    def test_cancelled(self):
        """A cancelled deadline does not expire; to cancel it twice is harmless, and so it is after it expired."""
        deadline, other = self.start(1), self.start(2, "b")
        self.deadlines.cancel(deadline)
        self.deadlines.cancel(deadline)
        self.run_for(5)
        self.assertEqual([name for name, _ in self.expired], ["b"])
        self.deadlines.cancel(other)

    def test_cancelled_by_another(self):
        """A deadline that expires can cancel another whose time is over in the same moment."""
        deadlines = []

        def expire(mine, other):
            self.expired.append(mine)
            self.deadlines.cancel(deadlines[other])

        deadlines += [self.deadlines.start(1, lambda: expire(0, 1)), self.deadlines.start(1, lambda: expire(1, 0))]
        self.run_for(5)
        self.assertEqual(len(self.expired), 1)
        self.assertEqual([deadline.expired for deadline in deadlines].count(True), 1)

    def test_repeated(self):
        """A repeated call comes again and again, until it is cancelled."""
        deadline = self.deadlines.repeat(10, lambda: self.expired.append(self.clock.seconds()))
        self.run_for(35)
        self.assertEqual([round(when / 10) for when in self.expired], [1, 2, 3])
        self.deadlines.cancel(deadline)
        self.run_for(35)
        self.assertEqual(len(self.expired), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_changed(self):
        """A deadline can be made longer and shorter, from that moment on."""
        longer, shorter = self.start(1, "longer"), self.start(100, "shorter")
        self.run_for(0.9)
        self.deadlines.reset(longer, 5)
        self.deadlines.reset(shorter, 2)
        self.run_for(10)
        (first, when_first), (second, when_second) = self.expired
        self.assertEqual((first, second), ("shorter", "longer"))
        self.assertTrue(2.9 <= when_first <= 3.2 and 5.9 <= when_second <= 6.2)

    def test_limited(self):
        """No sign of life and no reset moves a deadline beyond its limit."""
        deadline, other = self.start(2), self.start(10, "b")
        self.deadlines.limit(deadline, 5)
        self.deadlines.limit(other, 5)
        for _ in range(120):
            self.run_for(0.05)
            deadline.alive = True
            self.deadlines.reset(other, 3)
        self.assertEqual(sorted(name for name, _ in self.expired), ["a", "b"])
        self.assertTrue(all(5 <= when <= 5.4 for _, when in self.expired), self.expired)

    def test_one_that_fails(self):
        """An error as a deadline expires doesn't end the others, nor those that are started later."""

        def fail():
            raise RuntimeError("as it expires")

        self.deadlines.start(1, fail)
        self.start(2)
        self.assertRaises(RuntimeError, self.run_for, 1.5)
        self.run_for(1)
        self.assertEqual(len(self.expired), 1)
        self.start(1, "later")
        self.run_for(2)
        self.assertEqual(len(self.expired), 2)

    def test_started_as_another_expires(self):
        """A deadline that is started as another expires has all of its time."""
        self.deadlines.start(1, lambda: self.start(3, "next"))
        self.run_for(10)
        [(name, when)] = self.expired
        self.assertEqual(name, "next")
        self.assertTrue(4 <= when <= 4.6)

    def test_one_timer(self):
        """However many deadlines there are the reactor has one timer, and without any it has none."""
        deadlines = [self.start(5) for _ in range(100)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for deadline in deadlines:
            self.deadlines.cancel(deadline)
        self.run_for(0.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self):
        """After a stop nothing expires and no timer is left; a second stop is harmless, also as a deadline expires."""
        self.start(1)
        self.deadlines.stop()
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadlines.start(1, self.deadlines.stop)
        self.start(50)
        self.run_for(100)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([], []))

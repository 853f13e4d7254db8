"""Many deadlines, one timer."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from aibridge.http.deadlines import Deadlines


class WatchdogTests(SynchronousTestCase):
    """Who shows no sign of life expires, to within a quarter of a second."""

    def setUp(self):
        self.clock = Clock()
        self.dog = Deadlines(self.clock)
        self.expired = []

    def watch(self, timeout, name="a"):
        return self.dog.start(timeout, lambda: self.expired.append((name, self.clock.seconds())))

    def run_for(self, seconds):
        self.clock.pump([0.05] * round(seconds / 0.05))

    def test_expires_once(self):
        """Not before its time, at most a quarter late, and not again."""
        watch = self.watch(10)
        self.run_for(9.95)
        self.assertEqual(self.expired, [])
        self.run_for(20)
        [(_, when)] = self.expired
        self.assertTrue(10 <= when <= 10.3, when)
        self.assertTrue(watch.expired)

    def test_alive(self):
        """Each sign of life gives it its whole time again."""
        watch = self.watch(2)
        for _ in range(20):
            self.run_for(1.5)
            watch.alive = True
        self.assertEqual(self.expired, [])
        self.run_for(1.9)
        self.assertEqual(self.expired, [])
        self.run_for(1)
        self.assertEqual(len(self.expired), 1)

    def test_called_off(self):
        """It is let be; twice is harmless, and so it is after it expired."""
        watch, other = self.watch(1), self.watch(2, "b")
        self.dog.cancel(watch)
        self.dog.cancel(watch)
        self.run_for(5)
        self.assertEqual([name for name, _ in self.expired], ["b"])
        self.dog.cancel(other)

    def test_called_off_by_another(self):
        """One that expires can call off another whose time is over in the same moment."""
        watches = []

        def expire(mine, other):
            self.expired.append(mine)
            self.dog.cancel(watches[other])

        watches += [self.dog.start(1, lambda: expire(0, 1)), self.dog.start(1, lambda: expire(1, 0))]
        self.run_for(5)
        self.assertEqual(len(self.expired), 1)
        self.assertEqual([watch.expired for watch in watches].count(True), 1)

    def test_repeated(self):
        """What is to be done again and again is, until it is called off."""
        watch = self.dog.repeat(10, lambda: self.expired.append(self.clock.seconds()))
        self.run_for(35)
        self.assertEqual([round(when / 10) for when in self.expired], [1, 2, 3])
        self.dog.cancel(watch)
        self.run_for(35)
        self.assertEqual(len(self.expired), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_changed(self):
        """Its timeout can be made longer and shorter, from that moment on."""
        longer, shorter = self.watch(1, "longer"), self.watch(100, "shorter")
        self.run_for(0.9)
        self.dog.reset(longer, 5)
        self.dog.reset(shorter, 2)
        self.run_for(10)
        (first, when_first), (second, when_second) = self.expired
        self.assertEqual((first, second), ("shorter", "longer"))
        self.assertTrue(2.9 <= when_first <= 3.2 and 5.9 <= when_second <= 6.2)

    def test_one_that_fails(self):
        """An error as one expires doesn't end the watch over the others, nor over those that come later."""

        def fail():
            raise RuntimeError("as it expires")

        self.dog.start(1, fail)
        self.watch(2)
        self.assertRaises(RuntimeError, self.run_for, 1.5)
        self.run_for(1)
        self.assertEqual(len(self.expired), 1)
        self.watch(1, "later")
        self.run_for(2)
        self.assertEqual(len(self.expired), 2)

    def test_watched_as_another_expires(self):
        """A new watch that begins as another expires has all of its time."""
        self.dog.start(1, lambda: self.watch(3, "next"))
        self.run_for(10)
        [(name, when)] = self.expired
        self.assertEqual(name, "next")
        self.assertTrue(4 <= when <= 4.6)

    def test_one_timer(self):
        """However many are watched the reactor has one timer, and with none it has none."""
        watches = [self.watch(5) for _ in range(100)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for watch in watches:
            self.dog.cancel(watch)
        self.run_for(0.5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self):
        """It forgets all and leaves no timer; twice is harmless, also as one expires."""
        self.watch(1)
        self.dog.stop()
        self.dog.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.dog.start(1, self.dog.stop)
        self.watch(50)
        self.run_for(100)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), ([], []))

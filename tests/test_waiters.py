"""Several callers that wait for the same moment."""

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from aibridge.waiters import Waiters


class WaitersTests(SynchronousTestCase):
    """The moment comes for all of them, in their order."""

    def setUp(self) -> None:
        self.waiters = Waiters()

    def test_together(self) -> None:
        """All that wait are notified, the first one first, and each only once."""
        order: list[int] = []
        waiting = [self.waiters.wait() for _ in range(3)]
        for number, each in enumerate(waiting):
            each.addCallback(lambda _, number=number: order.append(number))
        self.assertEqual(order, [])
        self.waiters.notify()
        self.waiters.notify()
        self.assertEqual(order, [0, 1, 2])

    def test_again(self) -> None:
        """A caller that waits again as it is notified waits for the next moment."""
        later = []
        self.waiters.wait().addCallback(lambda _: later.append(self.waiters.wait()))
        self.waiters.notify()
        self.assertNoResult(later[0])
        self.waiters.notify()
        self.successResultOf(later[0])

    def test_cancelled(self) -> None:
        """A caller that gives up is told so at once, and the others are notified all the same."""
        impatient, patient = self.waiters.wait(), self.waiters.wait()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.waiters.notify()
        self.successResultOf(patient)

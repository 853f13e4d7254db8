"""Several callers that wait for the same moment."""

from twisted.internet.defer import Deferred


class Waiters:
    """A list of Deferreds that fire together, as often as the moment comes."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        """The Deferreds that wait now; without any, nobody needs to be notified."""

    def wait(self) -> "Deferred[None]":
        """A Deferred that fires at the next `notify`. Cancelled, it fails with CancelledError, as any Deferred."""
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting

    def notify(self) -> None:
        """Fire every Deferred that waits now, in the order in which they came."""
        # A callback may wait again: that is for the next moment.
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

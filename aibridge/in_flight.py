"""What is waited for on behalf of clients, so that it can be broken off when the gateway stops."""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .errors import Draining

T = TypeVar("T")


class InFlight:
    """Steps of exchanges that may take long: a provider's answer, a tool, finding out who asks.

    Writing records is none of them: that is waited for to its end.
    """

    def __init__(self) -> None:
        self._steps: set[Deferred[Any]] = set()
        self.stopped = False

    def track(self, step: "Deferred[T]") -> "Deferred[T]":
        """The same step. When the gateway stops it is cancelled, and fails with Draining."""
        self.enter(step)
        return step.addBoth(self._over, step)

    def enter(self, step: "Deferred[Any]") -> None:
        """For steps that each exchange has, and that see to their end themselves: they must `leave` with it.

        When the gateway stops such a step is cancelled; it is its own affair that it fails with what `draining` says.
        It enters before anyone hears of its end, which may be there already.
        """
        self._steps.add(step)
        if self.stopped:
            step.cancel()

    def leave(self, step: "Deferred[Any]") -> None:
        """It is over."""
        self._steps.discard(step)

    def draining(self) -> Draining:
        """What a step fails with that was broken off."""
        return Draining("The gateway is stopping.")

    def stop(self) -> None:
        """Breaks off every step, those that are still to come too."""
        self.stopped = True
        for step in list(self._steps):
            step.cancel()

    def _over(self, result: T, step: "Deferred[T]") -> T:
        self.leave(step)
        if self.stopped and isinstance(result, Failure):  # agents and tools differ in what they make of it
            raise self.draining() from result.value
        return result

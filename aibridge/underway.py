"""What is waited for on behalf of clients, so that it can be broken off when the gateway stops."""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .errors import Draining

T = TypeVar("T")


class Underway:
    """Steps of exchanges that may take long: a provider's answer, a tool, finding out who asks.

    Writing records is none of them: that is waited for to its end.
    """

    def __init__(self) -> None:
        self._steps: set[Deferred[Any]] = set()
        self._stopped = False

    def track(self, step: "Deferred[T]") -> "Deferred[T]":
        """The same step. When the gateway stops it is cancelled, and fails with Draining."""
        self._steps.add(step)
        step.addBoth(self._over, step)
        if self._stopped:
            step.cancel()
        return step

    def stop(self) -> None:
        """Breaks off every step, those that are still to come too."""
        self._stopped = True
        for step in list(self._steps):
            step.cancel()

    def _over(self, result: T, step: "Deferred[T]") -> T:
        self._steps.discard(step)
        if self._stopped and isinstance(result, Failure):  # agents and tools differ in what they make of it
            raise Draining("The gateway is stopping.") from result.value
        return result

"""Requests that are under way: each is an exchange, and any exchange can be cancelled with one reason."""

from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed

from .errors import ClientLeft, Draining
from .interfaces import IRelay, IReply
from .waiters import Waiters

T = TypeVar("T")


class Exchange:
    """One client's request, from its arrival to the end of its answer.

    An exchange waits for one step at a time: authentication, the provider, tools. `cancel` is the one way to call it
    off, whoever does so: a client that leaves, a deadline that passes, a gateway that stops. The step is then
    cancelled, and `wait` raises the reason. Writing records is not such a step: it is waited for to its end.
    """

    def __init__(self, reply: IReply) -> None:
        self.reply = reply
        self.reason: Exception | None = None
        """Why the exchange was cancelled; None while it was not."""
        self.relay: IRelay | None = None
        """The relay of an answer that the client is getting: it decides what becomes of the answer when they leave."""
        self._step: Deferred[Any] | None = None
        reply.on_left = self._client_left

    async def wait(self, step: "Deferred[T]") -> T:
        """Wait for a step. Raises the reason if the exchange is cancelled, before or meanwhile."""
        if self.reason is not None:
            step.addErrback(_ignore)
            step.cancel()
            raise self.reason
        self._step = step
        try:
            return await step
        except Exception as error:
            if self.reason is not None:  # agents and tools differ in how they fail when they are cancelled
                raise self.reason from error
            raise
        finally:
            self._step = None

    def cancel(self, reason: Exception) -> None:
        """Call the exchange off. The first reason stands."""
        if self.reason is None:
            self.reason = reason
        step, self._step = self._step, None
        if step is not None:
            step.cancel()

    def raise_if_cancelled(self) -> None:
        """Raise the reason if the exchange was cancelled, however its last step ended."""
        if self.reason is not None:
            raise self.reason

    def _client_left(self) -> None:
        if self.relay is not None:
            self.relay.stopProducing()
        else:
            self.cancel(ClientLeft("the client left before its answer's end"))


class InFlight:
    """All exchanges of a gateway that are under way."""

    def __init__(self) -> None:
        self.exchanges: set[Exchange] = set()
        self._waiters: Waiters | None = None
        self._stopped = False

    def add(self, exchange: Exchange) -> None:
        """Add an exchange that begins. After `stop` it is cancelled at once."""
        self.exchanges.add(exchange)
        if self._stopped:
            exchange.cancel(_stopping())

    def discard(self, exchange: Exchange) -> None:
        """Remove an exchange that is over."""
        self.exchanges.discard(exchange)
        if self._waiters is not None and not self.exchanges:
            self._waiters.notify()

    def stop(self) -> None:
        """Cancel every exchange, those that are still to come too."""
        self._stopped = True
        for exchange in list(self.exchanges):
            exchange.cancel(_stopping())

    def drained(self) -> "Deferred[None]":
        """Fires when no exchange is under way."""
        if not self.exchanges:
            return succeed(None)
        if self._waiters is None:
            self._waiters = Waiters()
        return self._waiters.wait()


def _stopping() -> Draining:
    return Draining("The gateway is stopping.")


def _ignore(_: object) -> None:
    """The result of a step that is not waited for."""

"""Requests that are under way: each is an exchange, and any exchange can be cancelled with one reason."""

from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from .errors import ClientLeft, Draining
from .interfaces import Actor, IExchange, IRelay, IReply, ITrace

T = TypeVar("T")


@implementer(IExchange)
class Exchange:
    """A client's request, from its arrival to the end of its answer.

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
        self.upstream_requests = 0
        """The number of requests that the provider was sent, with those that were sent again."""
        self.interception_id: UUID | None = None
        """The interception's id; None before there is one, and for requests that are passed through."""
        self.trace: ITrace | None = None
        """The interception's trace; None if it is not traced."""
        self.actor: Actor | None = None
        """The client's actor, once that is known."""
        self.is_stream: bool | None = None
        """True if the answer is a stream of events, False if it is a JSON body; None until it is known."""
        self.step: Deferred[Any] | None = None
        """The step that is waited for, or was last."""
        reply.on_left = self._client_left

    def wait(self, step: "Deferred[T]") -> "Deferred[T]":
        """Return the step. It fails with the reason if the exchange is cancelled, before or meanwhile."""
        if self.reason is not None:
            step.addErrback(_ignore)
            step.cancel()
            return fail(self.reason)
        self.step = step
        return step.addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        """Agents and tools differ in how they fail when they are cancelled: the reason stands for all of it."""
        if self.reason is not None:
            raise self.reason from failure.value
        return failure

    def cancel(self, reason: Exception) -> None:
        """Call the exchange off. The first reason stands."""
        if self.reason is None:
            self.reason = reason
        if self.step is not None:
            self.step.cancel()

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
        self._waiting: list[tuple[set[Exchange], Deferred[None]]] = []
        """Sets of exchanges, each with the Deferred that fires once all of them are over."""
        self._stopped = False

    def start(self) -> None:
        """Let exchanges begin again after a `stop`."""
        self._stopped = False

    def add(self, exchange: Exchange) -> None:
        """Add an exchange that begins. After `stop` it is cancelled at once."""
        self.exchanges.add(exchange)
        if self._stopped:
            exchange.cancel(_stopping())

    def discard(self, exchange: Exchange) -> None:
        """Remove an exchange that is over."""
        self.exchanges.discard(exchange)
        exchange.step = exchange.relay = None  # they lead back to the exchange
        if self._waiting:
            self._notify(exchange)

    def stop(self) -> None:
        """Cancel every exchange, those that are still to come too."""
        self._stopped = True
        for exchange in list(self.exchanges):
            exchange.cancel(_stopping())

    def drained(self) -> "Deferred[None]":
        """Fires when no exchange is under way."""
        return self._wait(self.exchanges)

    def finished(self) -> "Deferred[None]":
        """Fires when every exchange that is under way now is over."""
        return self._wait(set(self.exchanges))

    def _wait(self, exchanges: set[Exchange]) -> "Deferred[None]":
        if not exchanges:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append((exchanges, waiting))
        return waiting

    def _notify(self, exchange: Exchange) -> None:
        """Tell those who waited for this exchange only that it is over."""
        waiting, self._waiting = self._waiting, []
        for exchanges, each in waiting:
            exchanges.discard(exchange)
            if exchanges:
                self._waiting.append((exchanges, each))
            elif not each.called:  # it may have been cancelled
                each.callback(None)


def _stopping() -> Draining:
    return Draining("The gateway is stopping.")


def _ignore(_: object) -> None:
    """The end of a step that is not waited for."""

"""Asking a provider: one request, the retries that are safe, and what went wrong in the gateway's own terms."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from ..errors import GatewayError, UpstreamFailed, UpstreamRefused, UpstreamTimeout
from ..http.client_request import BytesProducer
from ..http.deadlines import Deadline, Deadlines
from ..in_flight import InFlight
from ..interfaces import IReply, IUpstream
from ..wire.tap import Tap
from .relay import Relay

_RETRY_AFTER = (0.05, 0.25)


@define(eq=False)
class UpstreamCall:
    """One request as it goes to the provider."""

    method: bytes
    url: bytes
    headers: Headers
    body: bytes = field(repr=False)
    once: bool = False
    """Whether it must not be sent again where the provider may have read it."""


@implementer(IUpstream)
@frozen(eq=False, kw_only=True)
class Upstream:
    """A provider's HTTP side, on any `IAgent`. Times are in seconds."""

    name: str
    agent: IAgent
    clock: IReactorTime
    watchdog: Deadlines
    underway: InFlight
    first_byte_timeout: float
    idle_timeout: float
    stall_timeout: float

    def ask(self, call: UpstreamCall) -> "Deferred[IResponse]":
        """The head of the provider's answer. Tries again only where the provider provably has not begun."""
        return self._ask(call, _RETRY_AFTER)

    def relay(self, tap: Tap, client: IReply, reads_on: Callable[[], bool]) -> Relay:
        """The receiver of that answer's body."""
        return Relay(tap, client, self.watchdog, self.underway, self.idle_timeout, self.stall_timeout, reads_on)

    def leave(self) -> None:
        """Nothing is kept of an exchange."""

    def _ask(self, call: UpstreamCall, pauses: Sequence[float]) -> "Deferred[IResponse]":
        body = BytesProducer(call.body, replayable=not call.once) if call.body else None
        asked: Deferred[Any] = self.agent.request(call.method, call.url, call.headers, body)
        self.underway.enter(asked)
        watch = self.watchdog.start(self.first_byte_timeout, asked.cancel)
        return asked.addBoth(self._answered, asked, watch, call, pauses)

    def _answered(
        self, outcome: Any, asked: "Deferred[Any]", watch: Deadline, call: UpstreamCall, pauses: Sequence[float]
    ) -> Any:
        self.underway.leave(asked)
        self.watchdog.cancel(watch)
        if not isinstance(outcome, Failure):
            return outcome
        error: Any = outcome.value
        if self.underway.stopped:
            raise self.underway.draining() from error
        if watch.expired:
            raise UpstreamTimeout(
                f"{self.name} did not begin to answer in {self.first_byte_timeout:g} seconds."
            ) from error
        translated = self._translated(error)
        if pauses and isinstance(translated, UpstreamRefused):
            return deferLater(self.clock, pauses[0]).addCallback(lambda _: self._ask(call, pauses[1:]))
        raise translated from error

    def _translated(self, error: BaseException) -> BaseException:
        """What Twisted's own agent raises, in this package's terms."""
        if isinstance(error, (CancelledError, GatewayError)):
            return error
        if isinstance(error, (neterror.TimeoutError, neterror.TCPTimedOutError)):
            return UpstreamTimeout(f"{self.name} could not be reached in time.")
        if isinstance(error, neterror.ConnectError):
            return UpstreamRefused(f"{self.name} could not be reached.")
        return UpstreamFailed(f"{self.name} did not answer in HTTP, or closed the connection before it did.")

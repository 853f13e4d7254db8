"""Carrying one provider's answer to one client, each at its own pace."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from ..errors import ClientLeft, ClientStalled, UpstreamTimeout
from ..http.deadlines import Deadlines
from ..interfaces import IExchange, IRelay
from ..wire.tap import Tap
from .call import Ending

_AFTER_ERROR = 1.0
"""Seconds for the figures that some providers send after an error in a stream."""


@implementer(IProtocol, IRelay)
class Relay:
    """The receiver of the provider's body and the producer of the client's, so that pauses go straight through.

    `reads_on` is called when the client leaves: True reads the answer to its end all the same. Durations are in
    seconds: `idle_timeout` between two pieces of the provider's, `stall_timeout` for a client that takes nothing.
    """

    def __init__(
        self,
        tap: Tap,
        exchange: IExchange,
        provider: str,
        deadlines: Deadlines,
        idle_timeout: float,
        stall_timeout: float,
        reads_on: Callable[[], bool],
    ) -> None:
        self.ended: Deferred[Ending] = Deferred(self._cancelled)
        self.is_drained = False
        self.transport: IPushProducer | None = None
        self._tap = tap
        self._exchange = exchange
        self._provider = provider
        self._write = exchange.reply.write
        self._deadlines = deadlines
        self._idle_timeout = idle_timeout
        self._stall_timeout = stall_timeout
        self._reads_on = reads_on
        self._deadline = deadlines.start(idle_timeout, self._expire)
        self._drained: Deferred[None] | None = None
        self._client_left = False
        self._client_paused = False
        self._holding = False

    def use_tap(self, tap: Tap) -> None:
        """Use another tap in place of the one so far, which has nothing of the answer yet."""
        self._tap = tap

    # The receiver of the provider's body

    def makeConnection(self, transport: IPushProducer) -> None:  # type: ignore[override]
        """The body begins to flow, unless it is not wanted any more or the client is not ready."""
        self.transport = transport
        if self.ended.called:
            self._stop_provider()
        elif self._client_paused:
            transport.pauseProducing()

    def connectionMade(self) -> None:
        """Do nothing more: see `makeConnection`."""

    def dataReceived(self, data: bytes) -> None:
        """Pass on what the tap lets through. At the answer's last event, hold it until all is recorded."""
        self._deadline.alive = True
        try:
            passed = self._tap.feed(data)
        except Exception:
            self._fail(Failure())
            return
        if passed:
            self._write(passed)
        if self._tap.at_end and not self.ended.called:
            self._holding = True
            if self.transport is not None:
                self.transport.pauseProducing()
            self.ended.callback(Ending.WHOLE)
        elif self._tap.answer.error is not None and not self.ended.called:
            self._deadlines.reset(self._deadline, _AFTER_ERROR)

    def connectionLost(self, reason: Failure) -> None:
        """The body is over: with its proper end, with its connection, or broken off."""
        self._deadlines.cancel(self._deadline)
        self.transport = None  # a transport holds its reader
        self.is_drained = True
        if self._drained is not None:
            self._drained.callback(None)
        if self.ended.called:
            return
        if not isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.ended.callback(Ending.BROKEN)
            return
        is_whole = isinstance(reason.value, ResponseDone)
        try:
            self._tap.close(is_whole)
        except Exception:
            self._fail(Failure())
            return
        self.ended.callback(Ending.WHOLE if is_whole else Ending.UNBOUNDED)

    @property
    def drained(self) -> "Deferred[None]":
        """Fires when nothing more comes from the provider; cancelling it ends the provider's answer."""
        if self.is_drained:
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred(lambda _: self._stop_provider())
        return self._drained

    # The producer of the client's answer

    def pauseProducing(self) -> None:
        """The client reads too slowly."""
        self._client_paused = True
        self._deadlines.reset(self._deadline, self._stall_timeout)
        if self.transport is not None:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._client_paused = False
        self._deadlines.reset(self._deadline, self._idle_timeout)
        if self.transport is not None and not self._holding:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The client has left."""
        if self._client_left:
            return
        self._client_left = True
        self._write = _discard
        if self.ended.called or self._reads_on():
            self.resumeProducing()
        else:
            self._exchange.cancel(ClientLeft("the client left before its answer's end"))

    def release(self) -> None:
        """All is recorded: send the piece that was held, and what still follows it."""
        if held := self._tap.release():
            self._write(held)
        self._holding = False
        if self._client_left:
            self._stop_provider()
        elif self.transport is not None and not self._client_paused:
            self.transport.resumeProducing()

    # Ends before the end

    def _expire(self) -> None:
        """The provider sent nothing, or the client took nothing, for too long."""
        if self.ended.called:
            self._stop_provider()
        elif self._client_paused:
            self._exchange.cancel(ClientStalled(f"the client took nothing for {self._stall_timeout:g} seconds"))
        elif self._tap.answer.error is not None:  # nothing follows it
            transport = self.transport
            self.connectionLost(Failure(ResponseDone()))
            if transport is not None:
                transport.stopProducing()
        else:
            self._exchange.cancel(UpstreamTimeout(f"{self._provider} sent nothing for {self._idle_timeout:g} seconds."))

    def _cancelled(self, _: "Deferred[Ending]") -> None:
        self._write = _discard
        self._stop_provider()

    def _fail(self, failure: Failure) -> None:
        """Reading the answer failed: an error of the gateway's own."""
        self._write = _discard
        if not self.ended.called:
            self.ended.errback(failure)
        self._stop_provider()

    def _stop_provider(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.stopProducing()


def _discard(data: bytes) -> None:
    """Drop a piece of the answer: its client has left."""

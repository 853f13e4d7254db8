"""Carrying one provider's answer to one client, each at the other's pace."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from ..http.deadlines import Deadlines
from ..in_flight import InFlight
from ..interfaces import Ending, IRelay, IReply
from ..wire.tap import Tap


@implementer(IProtocol, IRelay)
class Relay:
    """The receiver of the provider's body and the producer of the client's answer, so that pauses go straight through.

    `reads_on` tells, once the client has left, whether the answer is to be read to its end all the same. Times are in
    seconds: what the provider may take between two pieces, and a client that takes nothing.
    """

    def __init__(
        self,
        tap: Tap,
        client: IReply,
        watchdog: Deadlines,
        underway: InFlight,
        idle_timeout: float,
        stall_timeout: float,
        reads_on: Callable[[], bool],
    ) -> None:
        self.ended: Deferred[Ending] = Deferred(self._cancelled)
        self.is_drained = False
        self._draining: Deferred[None] | None = None
        self.transport: IPushProducer | None = None
        self.client_left = False
        self._tap = tap
        self._write = client.write
        self._watchdog = watchdog
        self._underway = underway
        self._idle_timeout = idle_timeout
        self._stall_timeout = stall_timeout
        self._reads_on = reads_on
        self._watch = watchdog.start(idle_timeout, self._expire)
        self._client_paused = False
        self._holding = False
        underway.enter(self.ended)

    # As the receiver of the provider's body

    def makeConnection(self, transport: IPushProducer) -> None:  # type: ignore[override]
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self.ended.called:  # the client left before the body came
            self._stop()
        elif self._client_paused:
            self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        self._watch.alive = True
        passed = self._tap.feed(data)
        if passed:
            self._write(passed)
        if self._tap.at_end and not self.ended.called:
            self._holding = True
            if self.transport is not None:
                self.transport.pauseProducing()
            self._conclude(Ending.WHOLE)

    def connectionLost(self, reason: Failure) -> None:
        self._watchdog.cancel(self._watch)
        self.transport = None  # it holds its reader
        self._drained()
        if self.ended.called:
            return
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self._tap.close()
            self._conclude(Ending.WHOLE if isinstance(reason.value, ResponseDone) else Ending.UNBOUNDED)
        else:
            self._conclude(Ending.BROKEN)

    @property
    def drained(self) -> "Deferred[None]":
        """Fires when nothing more will come from the provider."""
        if self.is_drained:
            return succeed(None)
        if self._draining is None:
            self._draining = Deferred()
        return self._draining

    def _drained(self) -> None:
        self.is_drained = True
        draining, self._draining = self._draining, None
        if draining is not None:
            draining.callback(None)

    # As the producer of the client's answer

    def pauseProducing(self) -> None:
        self._client_paused = True
        self._watchdog.reset(self._watch, self._stall_timeout)
        if self.transport is not None:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._client_paused = False
        self._watchdog.reset(self._watch, self._idle_timeout)
        if self.transport is not None and not self._holding:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The client has left."""
        if self.client_left:
            return
        self.client_left = True
        self._write = _discard
        if self.ended.called or self._reads_on():
            self.resumeProducing()
        else:
            self._end(Ending.CLIENT_GONE)

    def release(self) -> None:
        """All is recorded: what was held goes out, and what still follows it."""
        held = self._tap.release()
        if held:
            self._write(held)
        self._holding = False
        if self.client_left:
            self._stop()
        elif self.transport is not None and not self._client_paused:
            self.transport.resumeProducing()

    def _expire(self) -> None:
        self._end(Ending.CLIENT_STALLED if self._client_paused else Ending.TIMED_OUT)

    def _cancelled(self, ended: "Deferred[Ending]") -> None:
        self._underway.leave(ended)
        self._write = _discard
        self._stop()
        if self._underway.stopped:
            ended.errback(self._underway.draining())

    def _conclude(self, ending: Ending) -> None:
        self._underway.leave(self.ended)
        self.ended.callback(ending)

    def _end(self, ending: Ending) -> None:
        if not self.ended.called:
            self._conclude(ending)
        self._stop()

    def _stop(self) -> None:
        """Ends the provider's answer, of which nothing more is wanted."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.stopProducing()


def _discard(data: bytes) -> None:
    """Nobody is there to read it."""


class Unwanted(Protocol):
    """The receiver of a body that nobody wants: its connection ends at once."""

    def makeConnection(self, transport: Any) -> None:
        transport.stopProducing()

"""How an answer's bytes go out: one write a chunk, at a pace, no faster than the client reads."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from .exchange import Ending, ReceivedRequest


@implementer(IPushProducer)
class Delivery:
    """One answer. Made as soon as its request is there, so that it knows when the client goes."""

    def __init__(self, request: Any, received: ReceivedRequest, clock: IReactorTime | None) -> None:
        self._request = request
        self._received = received
        self._put: Callable[[bytes], object] = request.write
        self._clock = clock
        self._chunks: Iterator[bytes] = iter(())
        self._ending = Ending.COMPLETE
        self._delay = 0.0
        self._next: IDelayedCall | None = None
        self._paused = False
        self._over = False
        request.notifyFinish().addCallbacks(self._taken, self._client_gone)

    def start(
        self,
        status: int | None,
        headers: Mapping[str, str],
        chunks: Iterator[bytes],
        ending: Ending = Ending.COMPLETE,
        delay: float = 0.0,
    ) -> None:
        """Begins to write, `delay` seconds between two chunks; without a status, nothing but the chunks."""
        if self._over:
            return
        self._chunks, self._ending, self._delay = chunks, ending, delay
        self._request.registerProducer(self, True)
        if status is None:
            self._put = self._connection.write
            self._ending = Ending.STALL if ending is Ending.STALL else Ending.CUT
        else:
            self._write_head(status, headers)
        self._write()

    def _write_head(self, status: int, headers: Mapping[str, str]) -> None:
        self._request.setResponseCode(status)
        for name, value in headers.items():
            self._request.responseHeaders.addRawHeader(name, value)
        self._put(b"")

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._write()

    def stopProducing(self) -> None:
        self._stop()

    @property
    def _connection(self) -> Any:
        return self._request.channel.transport

    def _write(self) -> None:
        while not (self._paused or self._over or self._next):
            chunk = next(self._chunks, None)
            if chunk is None:
                return self._end()
            self._put(chunk)
            if self._delay and self._clock and not self._over:
                self._next = self._clock.callLater(self._delay, self._go_on)
        return None

    def _go_on(self) -> None:
        self._next = None
        self._write()

    def _end(self) -> None:
        self._stop()
        self._request.unregisterProducer()
        if self._ending is Ending.CUT:
            self._connection.loseConnection()  # what is written goes out before; it is short of HTTP's own end
        elif self._ending is not Ending.STALL:
            self._request.finish()

    def _stop(self) -> None:
        self._over = True
        if self._next:
            self._next.cancel()
            self._next = None

    def _taken(self, _: object) -> None:
        self._received.over.callback(True)

    def _client_gone(self, _: object) -> None:
        self._stop()
        self._received.over.callback(False)

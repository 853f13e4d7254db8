"""The sending of a response: one write for each chunk, at a given pace, no faster than the client reads."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from .exchange import Ending, ReceivedRequest


@implementer(IPushProducer)
class Delivery:
    """The sending of one response. It is made with the request, to notice a client that leaves before the response."""

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
        request.notifyFinish().addBoth(self._finished)

    def start(
        self,
        status: int | None,
        headers: Mapping[str, str],
        chunks: Iterator[bytes],
        ending: Ending = Ending.COMPLETE,
        delay: float = 0.0,
    ) -> None:
        """Begin to send, with `delay` seconds between two chunks. Without a status, send bare chunks without HTTP."""
        if self._over:
            return
        self._chunks, self._ending, self._delay = chunks, ending, delay
        self._request.registerProducer(self, True)
        if status is None:
            self._put = self._connection.write
            self._ending = Ending.STALL if ending is Ending.STALL else Ending.CUT
        else:
            self._request.setResponseCode(status)
            for name, value in headers.items():
                self._request.responseHeaders.addRawHeader(name, value)
            self._put(b"")  # sends the head, even if the first chunk has to wait
        self._write()

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
        """Write until the client has to read, the next chunk has to wait, or all is written."""
        while not (self._paused or self._over or self._next):
            chunk = next(self._chunks, None)
            if chunk is None:
                return self._end()
            self._put(chunk)
            if self._delay and self._clock and not self._over:
                self._next = self._clock.callLater(self._delay, self._resume)
        return None

    def _resume(self) -> None:
        self._next = None
        self._write()

    def _end(self) -> None:
        self._stop()
        self._request.unregisterProducer()
        if self._ending is Ending.CUT:
            self._connection.loseConnection()  # the chunks are still sent; HTTP's own end is not
        elif self._ending is not Ending.STALL:
            self._request.finish()

    def _stop(self) -> None:
        self._over = True
        if self._next:
            self._next.cancel()
            self._next = None

    def _finished(self, result: object) -> None:
        """Report the end of the exchange. The result is a failure if the connection closed before."""
        was_sent = not isinstance(result, Failure)
        if not was_sent:
            self._stop()
        self._received.over.callback(was_sent)

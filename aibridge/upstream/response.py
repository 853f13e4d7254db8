"""The answer as the caller sees it, and the valve through which its body flows."""

from typing import Protocol, cast

from attrs import define, field
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest, IResponse
from zope.interface import implementer


class Source(Protocol):
    """What a body comes from."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close at once; the body is told of its end."""


@implementer(IPushProducer)
@define(eq=False)
class Body:
    """The transport of whoever reads a body: it turns the provider's own socket off and on.

    Held is only what one read of the socket had brought when the reader paused, or before there was a reader. The
    reader is told of the end after the last byte; an end with nothing held is told at once, paused or not.
    """

    disconnecting = False  # asked for by LineReceiver

    _source: Source | None
    _reader: IProtocol | None = None
    _held: list[bytes] = field(factory=list, repr=False)
    _end: Failure | None = None
    _paused: bool = False
    _stopped: bool = False
    _flowing: bool = False

    @property
    def unread(self) -> bool:
        """Whether nobody asked for it yet."""
        return self._reader is None

    def deliver_to(self, reader: IProtocol) -> None:
        """Let it flow to this reader; once."""
        if self._reader is not None:
            raise RuntimeError("the body is delivered once")
        self._reader = reader
        self._paused = False
        reader.makeConnection(cast(ITransport, self))
        if not self._paused:  # a reader may be born paused
            self.resumeProducing()

    # The source's side.

    def received(self, data: bytes) -> None:
        """More of it came."""
        if data and not self._stopped:
            self._held.append(data)
            self._flow()

    def ended(self, reason: Failure, data: bytes = b"") -> None:
        """It is over, after this last piece; the source has no more to do with it."""
        self._source = None
        self._end = Failure(ConnectionAborted()) if self._stopped else reason
        if data and not self._stopped:
            self._held.append(data)
        self._flow()

    # The reader's side.

    def pauseProducing(self) -> None:
        """Stop reading from the provider."""
        self._paused = True
        if self._source is not None:
            self._source.pause()

    def resumeProducing(self) -> None:
        """Hand over what is held, then read on."""
        self._paused = False
        self._flow()
        if self._source is not None and not self._paused:
            self._source.resume()

    def stopProducing(self) -> None:
        """Close the connection for good, at once; the reader is told of the end as of any other."""
        self._stopped = True
        self._held.clear()
        if self._source is not None:
            self._source.abort()
        elif self._end is not None:
            self.ended(self._end)

    loseConnection = abortConnection = stopProducing

    def _flow(self) -> None:
        if self._flowing or self._reader is None:
            return
        self._flowing = True  # a reader that resumes within dataReceived gets no second call inside the first
        try:
            while self._held and not self._paused:
                self._reader.dataReceived(self._held.pop(0))
        finally:
            self._flowing = False
        if self._end is not None and not self._held:
            end, self._end = self._end, None
            self._reader.connectionLost(end)


@implementer(IResponse)
@define(eq=False)
class Response:
    """An answer whose head is complete. Nothing of its body is read before `deliverBody` beyond what came along."""

    version: tuple[bytes, int, int]
    code: int
    phrase: bytes
    headers: Headers
    length: int | str
    request: IClientRequest
    _body: Body
    previousResponse: IResponse | None = None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Hand the body to a protocol, whose transport is then an `IPushProducer`. Its ``connectionLost`` gets:

        - `ResponseDone`: that was all;
        - `PotentialDataLoss`: the connection ended, and that was the only mark of the end;
        - `UpstreamBroke`: the provider broke off;
        - `ConnectionAborted`: the protocol itself had stopped it.
        """
        self._body.deliver_to(protocol)

    def setPreviousResponse(self, response: IResponse) -> None:
        """Keep the answer that led here, for agents that follow redirects."""
        self.previousResponse = response

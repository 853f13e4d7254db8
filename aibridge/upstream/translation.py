"""Responses whose bodies are translated on their way, for providers that do not speak the client's API."""

from typing import Protocol

from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer


class Translator(Protocol):
    """Translates one body."""

    @property
    def ended(self) -> bool:
        """True once nothing of the rest is wanted."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the body. Return the bytes that they are translated to."""

    def close(self) -> bytes:
        """Return the last bytes, now that the body has come to its end."""


class TranslatedResponse(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body is translated. Give it a Content-Type that fits."""

    original: IResponse

    def __init__(self, original: IResponse, translator: Translator) -> None:
        super().__init__(original)
        original.headers.removeHeader(b"content-length")
        self.length = UNKNOWN_LENGTH
        self._translator = translator

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the translated body to a protocol, as the response itself does."""
        self.original.deliverBody(_Translating(self._translator, protocol))


@implementer(IProtocol)
class _Translating:
    """The receiver of a body that hands what it is translated to on to the real receiver."""

    transport: IPushProducer

    def __init__(self, translator: Translator, reader: IProtocol) -> None:
        self._translator = translator
        self._reader = reader
        self._told = False
        """True once the reader knows that the body is over."""

    def makeConnection(self, transport: ITransport) -> None:
        """Connect the reader with the body's own transport: it pauses and stops what comes."""
        self.transport = transport  # type: ignore[assignment]
        self._reader.makeConnection(transport)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` has connected the reader."""

    def dataReceived(self, data: bytes) -> None:
        """Hand a piece on. The translator may end the body."""
        if self._told:
            return
        if translated := self._translator.feed(data):
            self._reader.dataReceived(translated)
        if self._translator.ended and not self._told:
            self._told = True
            self._reader.connectionLost(Failure(ResponseDone()))
            self.transport.stopProducing()

    def connectionLost(self, reason: Failure) -> None:
        """Tell the reader, after what is left of a body that came to its end."""
        if self._told:
            return
        self._told = True
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)) and (rest := self._translator.close()):
            self._reader.dataReceived(rest)
        self._reader.connectionLost(reason)

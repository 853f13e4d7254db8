"""The provider's HTTP side with a dump of each exchange: requests and answers as they are on the wire."""

from typing import cast

from attrs import define, field
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.protocol import Protocol
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..errors import GatewayError
from ..http.client_request import split_uri
from ..http.headers import RawHeaders
from ..interfaces import IExchange, IUpstream
from ..upstream.call import UpstreamCall
from ..upstream.wrapped import WrappedUpstream
from .folder import exchange_path
from .masking import Masker, credentials_of, masked_headers, masked_url
from .writer import DumpFile, DumpWriter


@implementer(IUpstream)
@define(eq=False)
class DumpedUpstream(WrappedUpstream):
    """Sends requests as another one does, and dumps those of interceptions: request, answer, and what went wrong."""

    writer: DumpWriter
    secrets: list[bytes] = field(repr=False)
    """Configured values that are masked wherever they appear."""
    secret_headers: list[bytes]
    """Names, in lower case, of configured headers whose values are secret."""

    async def request(self, call: UpstreamCall, exchange: IExchange) -> IResponse:
        """Send a request and wait for the head of the response, as `IUpstream` says."""
        if exchange.interception_id is None:
            return await self.upstream.request(call, exchange)
        number = exchange.upstream_requests + 1
        suffix = f"-{number}" if number > 1 else ""
        headers = RawHeaders.of(call.headers)
        secrets = [*self.secrets, *credentials_of(headers)]
        directory = exchange_path(exchange.interception_id)
        self._write(directory, f"request{suffix}", secrets, self._head(call, headers), call.body)
        try:
            response = await self.upstream.request(call, exchange)
        except Exception as error:
            why = str(error) if isinstance(error, GatewayError) else ""
            self._write(directory, f"error{suffix}", secrets, f"{type(error).__name__}: {why}\n".encode())
            raise
        file = self.writer.open(directory, f"answer{suffix}", Masker(secrets))
        first = b"HTTP/1.1 %d %b" % (response.code, response.phrase)
        file.write(masked_headers(RawHeaders.of(response.headers)).encode([first]))
        self.writer.put(file, is_end=False)  # its body may never be asked for
        return cast(IResponse, _DumpedResponse(response, file))

    def _write(self, directory: str, name: str, secrets: list[bytes], *pieces: bytes) -> None:
        """Write a whole file."""
        file = self.writer.open(directory, name, Masker(secrets))
        for piece in pieces:
            file.write(piece)
        file.close()

    def _head(self, call: UpstreamCall, headers: RawHeaders) -> bytes:
        """Return the head of a request."""
        origin, target = split_uri(call.url)
        first = [b"%b %b HTTP/1.1" % (call.method, masked_url(target)), b"Host: " + origin.authority]
        return masked_headers(headers, self.secret_headers).encode(first, [b"Content-Length: %d" % len(call.body)])


class _DumpedResponse(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body is dumped as it comes."""

    def __init__(self, response: IResponse, file: DumpFile) -> None:
        super().__init__(response)
        self._file = file

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body, to the dump too."""
        self.original.deliverBody(_Tee(protocol, self._file))


class _Tee(Protocol):
    """Passes a body on to its receiver, and writes it to a file beside that."""

    def __init__(self, receiver: IProtocol, file: DumpFile) -> None:
        self._receiver = receiver
        self._file = file

    def makeConnection(self, transport: ITransport) -> None:
        self._receiver.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        self._file.write(data)
        self._receiver.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._file.close()
        if not isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            why = f"{type(reason.value).__name__}: the answer broke off\n".encode()
            file = self._file
            error = file.writer.open(file.exchange, file.name.replace("answer", "error"), Masker(()))
            error.write(why)
            error.close()
        self._receiver.connectionLost(reason)

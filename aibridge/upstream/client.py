"""Requests to one provider: the retries that are safe, the time-outs, and errors in the gateway's own terms."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..errors import GatewayError, NotConnected, UpstreamFailed, UpstreamRefused, UpstreamTimeout
from ..http.client import Client
from ..http.client_connection import tls_problem
from ..http.client_request import BytesProducer, split_uri
from ..http.connector import connection_error
from ..http.deadlines import Deadlines
from ..interfaces import IExchange, IUpstream
from ..wire.tap import Tap
from .call import UpstreamCall
from .relay import Relay

_log = Logger()
_PAUSES_BEFORE_RETRIES = (0.05, 0.25)
_NO_RESPONSE = (
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
    neterror.ConnectionClosed,
)
"""Twisted's own agent, whose connection failed before a response was there."""


@implementer(IUpstream)
@frozen(eq=False, kw_only=True)
class Upstream:
    """A provider's HTTP side. Durations are in seconds."""

    tap: ClassVar[None] = None

    name: str
    client: Client
    clock: IReactorTime
    deadlines: Deadlines
    first_byte_timeout: float
    idle_timeout: float
    stall_timeout: float

    async def request(self, call: UpstreamCall, exchange: IExchange) -> IResponse:
        """Send a request and wait for the head of the response.

        Sends it again, up to twice, only where the provider provably has not begun with it. Raises `UpstreamRefused`,
        `UpstreamFailed`, `UpstreamTimeout`, or the reason for which the exchange is cancelled.
        """
        deadline = self.deadlines.start(self.first_byte_timeout, partial(self._give_up, exchange))
        pauses = iter(_PAUSES_BEFORE_RETRIES)
        may_use_kept = not call.once
        try:
            while True:
                if exchange.reason is not None:
                    raise exchange.reason
                exchange.upstream_requests += 1
                adaptation = call.adaptation
                if adaptation is not None and (authorized := adaptation.authorize(call)) is not None:
                    await exchange.wait(authorized)
                body = BytesProducer(call.body, replayable=may_use_kept) if call.body else None
                try:
                    response = await exchange.wait(self.client.send(call.method, call.url, call.headers, body))
                    return response if adaptation is None else adaptation.answer(response)
                except Exception as reason:
                    if reason is exchange.reason:
                        raise
                    error, pause = self._translate(reason, call.url), next(pauses, None)
                    if pause is None or not isinstance(error, UpstreamRefused):
                        why = reason.message if isinstance(reason, GatewayError) else error.message
                        _log.error("no response from {provider}: {why}", provider=self.name, why=why)
                        raise error from reason
                    may_use_kept = False
                finally:
                    if body is not None and body.repeated:  # the client's own try over a new connection is one of two
                        exchange.upstream_requests += 1
                        next(pauses, None)
                await exchange.wait(deferLater(self.clock, pause))
        finally:
            self.deadlines.cancel(deadline)

    def _give_up(self, exchange: IExchange) -> None:
        exchange.cancel(
            UpstreamTimeout(f"{self.name} did not begin to respond in {self.first_byte_timeout:g} seconds.")
        )

    def relay(self, tap: Tap, exchange: IExchange, reads_on: Callable[[], bool]) -> Relay:
        """Return the receiver of a response's body."""
        return Relay(tap, exchange, self.name, self.deadlines, self.idle_timeout, self.stall_timeout, reads_on)

    def _translate(self, error: Exception, url: bytes) -> GatewayError:
        """Return the gateway's error, with the provider's name, for one that the client raises for this URL."""
        if isinstance(error, GatewayError):
            return named(error, url, self.name)
        if isinstance(error, neterror.ConnectError | neterror.DNSLookupError):
            known = connection_error(error, self.name)
            return type(known)(f"{known.message}.")
        for failure in getattr(error, "reasons", ()):
            if isinstance(failure.value, SSL.Error | VerificationError):
                return NotConnected(f"{self.name}: TLS failed: {tls_problem(failure.value)}.")
        if isinstance(error, (*_NO_RESPONSE, CancelledError)):
            return UpstreamFailed(f"{self.name} did not respond in HTTP, or closed the connection before it did.")
        _log.failure("the request to {provider} failed", Failure(error), provider=self.name)
        kind = type(error).__name__
        return UpstreamFailed(f"{self.name} could not be asked: {kind} in the gateway; its log says more.")


def named(error: GatewayError, url: bytes, provider: str) -> GatewayError:
    """Return an error of the gateway's own agent with the provider's name in place of its address.

    Where the provider is, is nobody's business but the operator's.
    """
    server = str(split_uri(url)[0])
    if not error.message.startswith(server):
        return error
    return type(error)(f"{provider}{error.message.removeprefix(server)}.")

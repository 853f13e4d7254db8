"""How a connection is made: name, TCP, TLS, within one time limit."""

from typing import NoReturn, cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS

from ..errors import GatewayError, UpstreamRefused, UpstreamTimeout
from ..sockets import sending_at_once
from .connection import Connection, Owner
from .request import Origin

_MAX_ENDPOINTS = 256


class Connector:
    """Makes connections."""

    def __init__(self, reactor: IReactorTime, timeout: float, policy: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._sockets = sending_at_once(reactor)
        self._timeout = timeout
        self._policy = policy
        self._endpoints: dict[Origin, IStreamClientEndpoint] = {}

    def connect(self, origin: Origin, owner: Owner) -> Deferred[Connection]:
        """A connection that is ready for a request.

        :raises UpstreamRefused: there is none to be had.
        :raises UpstreamTimeout: it took too long, from the look-up of the name to the end of TLS's handshake.
        :raises UpstreamFailed: TLS failed.
        """

        def timed_out(_: object, seconds: float) -> NoReturn:
            raise UpstreamTimeout(f"{origin}: no connection within {seconds:g} s")

        def failed(failure: Failure) -> NoReturn:
            raise _translated(failure, origin) from failure.value

        factory = Factory.forProtocol(lambda: Connection(origin, owner))
        factory.noisy = False
        connecting = self._endpoint(origin).connect(factory)
        opened = cast(Deferred[Connection], connecting).addCallback(Connection.opened)
        opened.addTimeout(self._timeout, self._reactor, onTimeoutCancel=timed_out)
        return opened.addErrback(failed)

    def _endpoint(self, origin: Origin) -> IStreamClientEndpoint:
        """Kept: to make TLS's context, with the platform's trust roots, takes milliseconds."""
        endpoint = self._endpoints.get(origin)
        if endpoint is None:
            if len(self._endpoints) >= _MAX_ENDPOINTS:
                self._endpoints.clear()
            endpoint = self._endpoints[origin] = self._make_endpoint(origin)
        return endpoint

    def _make_endpoint(self, origin: Origin) -> IStreamClientEndpoint:
        endpoint = HostnameEndpoint(self._sockets, origin.host, origin.port, timeout=self._timeout)
        if not origin.tls:
            return endpoint
        return wrapClientTLS(self._policy.creatorForNetloc(origin.host.encode("ascii"), origin.port), endpoint)


def _translated(failure: Failure, origin: Origin) -> Exception:
    """Nothing was asked yet, so that most of what goes wrong here is safe to try again."""
    if isinstance(failure.value, GatewayError):
        return failure.value
    if failure.check(CancelledError, error.ConnectingCancelledError):
        return CancelledError()
    if failure.check(error.TimeoutError):
        return UpstreamTimeout(f"{origin}: no connection in time")
    if failure.check(error.DNSLookupError):
        return UpstreamRefused(f"{origin}: there is no such host")
    if failure.check(error.ConnectionRefusedError):
        return UpstreamRefused(f"{origin} refused the connection")
    return UpstreamRefused(f"{origin}: no connection: {type(failure.value).__name__}")

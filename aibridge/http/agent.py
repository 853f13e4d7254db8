"""The gateway's own HTTP/1.1 client, with the interface of Twisted's agents."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from ..errors import UpstreamRefused
from .client_connection import ClientConnection
from .client_request import make_request
from .pool import ConnectionPool, Connector


@implementer(IAgent)
class UpstreamAgent:
    """Sends requests to providers over connections that it keeps. `twisted.web.client.Agent` can take its place.

    Durations are in seconds. ``connect_timeout`` includes the TLS handshake. A free connection is closed after
    ``idle_seconds``, or at once if its origin already has ``max_idle`` of them. ``tls_policy`` checks certificates;
    without one the platform's trust roots are used.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        connect_timeout: float = 10.0,
        idle_seconds: float = 60.0,
        max_idle: int = 256,
        tls_policy: IPolicyForHTTPS | None = None,
    ) -> None:
        connector = Connector(reactor, connect_timeout, tls_policy or BrowserLikePolicyForHTTPS())
        self._pool = ConnectionPool(reactor, connector, idle_seconds, max_idle)

    @property
    def idle(self) -> int:
        """The number of free connections."""
        return self._pool.idle

    @property
    def active(self) -> int:
        """The number of connections that are in use or being made."""
        return self._pool.active

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Send a request; fires with the response as soon as its head is there. Cancelling closes the connection.

        A ``Content-Length`` or ``Transfer-Encoding`` among the headers is not sent: the body tells its own length. The
        rest is sent as it is given, after a ``Host`` unless that is among the headers.

        :raises ValueError: at once, for a URI or headers that can't be sent as they are.

        The Deferred fails with:

        - `UpstreamRefused`: the provider provably has not begun: there was no connection, or a kept one was closed
          before any byte of a response (then it is tried again here, once, if the body can be sent again);
        - `UpstreamTimeout`: no connection within ``connect_timeout``;
        - `UpstreamFailed`: TLS failed, the response is not HTTP, or there was none.
        """
        origin, request = make_request(method, uri, headers, bodyProducer)

        def send_anew(failure: Failure | None = None) -> Deferred[IResponse]:
            if failure is not None:
                failure.trap(UpstreamRefused)
            return self._pool.connect(origin).addCallback(ClientConnection.send, request)

        # A request that can't be sent again gets a new connection: if a kept one is closed, nobody knows whether the
        # request was read.
        kept = self._pool.pop(origin) if request.replayable else None
        return send_anew() if kept is None else kept.send(request).addErrback(send_anew)

    def close(self) -> Deferred[None]:
        """Close all connections, also those in use; fires when all are closed."""
        return self._pool.close()

"""The gateway's own HTTP/1.1 client, behind Twisted's interface of one."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from ..errors import UpstreamRefused
from .client_connection import Connection
from .client_request import Origin, Request, make_request
from .pool import Connector, Pool


@implementer(IAgent)
class UpstreamAgent:
    """Calls providers over connections that it keeps. `twisted.web.client.Agent` can stand in its place.

    Durations are in seconds. ``connect_timeout`` spans all up to the end of TLS's handshake. A free connection is
    closed after ``idle_seconds``, or at once where its origin has ``max_idle`` of them. ``tls_policy`` says whom to
    trust; the platform's roots where there is none.
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
        self._pool = Pool(reactor, connector, idle_seconds, max_idle)

    @property
    def idle(self) -> int:
        """How many connections are free."""
        return self._pool.idle

    @property
    def active(self) -> int:
        """How many connections are in use or being made."""
        return self._pool.active

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Ask; fires with the answer as soon as its head is there. Cancelling closes the connection.

        A ``Content-Length`` or ``Transfer-Encoding`` among the headers is not sent: the body says how long it is. The
        rest goes out as it is given, after a ``Host`` unless that is among the headers.

        :raises ValueError: at once, for a URI or headers that can't be sent as they are.

        The Deferred fails with:

        - `UpstreamRefused`: the provider provably has not begun: no connection was to be had, or a kept one was closed
          before any byte of an answer (that is tried again here, once, where the body can be sent twice);
        - `UpstreamTimeout`: no connection within ``connect_timeout``;
        - `UpstreamFailed`: TLS failed, the answer is not HTTP, or there was none.
        """
        origin, request = make_request(method, uri, headers, bodyProducer)
        # What must not be sent twice gets a new connection: of a kept one that is closed nobody knows what it read.
        kept = self._pool.take(origin) if request.replayable else None
        if kept is None:
            return self._ask_anew(origin, request)
        return kept.send(request).addErrback(self._ask_again, origin, request)

    def _ask_anew(self, origin: Origin, request: Request) -> Deferred[IResponse]:
        return self._pool.connect(origin).addCallback(Connection.send, request)

    def _ask_again(self, failure: Failure, origin: Origin, request: Request) -> Deferred[IResponse]:
        failure.trap(UpstreamRefused)
        return self._ask_anew(origin, request)

    def close(self) -> Deferred[None]:
        """Close all connections, abort those in use; fires when all are closed."""
        return self._pool.close()

"""The gateway's own HTTP/1.1 client, with the interface of Twisted's agents."""

import os
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from ..errors import UpstreamFailed, UpstreamRefused
from .client_connection import ClientConnection
from .client_request import BytesProducer, Origin, make_request, split_uri
from .connector import Connector, P
from .pool import ConnectionPool
from .proxies import Proxy, find_proxy, names_proxy
from .tls import TLSPolicy

_MAX_PROXIES = 256
"""Servers whose proxies are remembered."""


@implementer(IAgent)
class UpstreamAgent:
    """Sends requests to providers over connections that it keeps. `twisted.web.client.Agent` can take its place.

    Durations are in seconds. ``connect_timeout`` includes the TLS handshake. A free connection is closed after
    ``idle_seconds``, or at once if its origin already has ``max_idle`` of them. ``tls_policy`` checks certificates;
    without one the platform's trust roots are used.

    ``proxy`` is the URL of an HTTP proxy, with its user and password if it wants them; "off" for none. Without it the
    variables of ``environ`` name the proxy, by default those of the process: ``HTTPS_PROXY``, ``HTTP_PROXY``,
    ``ALL_PROXY`` and ``NO_PROXY``. This machine itself is never reached through a proxy.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        connect_timeout: float = 10.0,
        idle_seconds: float = 60.0,
        max_idle: int = 256,
        tls_policy: IPolicyForHTTPS | None = None,
        proxy: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._proxy = proxy
        self._environ = dict(os.environ if environ is None else environ)
        self._proxies: dict[Origin, Proxy | None] = {}
        find = self._proxy_finder = self._find_proxy if names_proxy(proxy, self._environ) else None
        self._connector = Connector(reactor, connect_timeout, tls_policy or TLSPolicy(), find)
        self._pool = ConnectionPool(reactor, self._connector, idle_seconds, max_idle)

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
        - `ConnectTimeout`: no connection within ``connect_timeout``;
        - `NotConnected`: TLS failed, or the proxy refused;
        - `UpstreamFailed`: the response is not HTTP, or there was none.

        Messages begin with the server as it stands in the URI.
        """
        try:
            origin, request = make_request(method, uri, headers, bodyProducer, self._proxy_finder)
        except UpstreamFailed as error:
            return fail(error)

        def send_anew(failure: Failure | None = None) -> Deferred[IResponse]:
            if failure is not None:
                failure.trap(UpstreamRefused)
                if isinstance(bodyProducer, BytesProducer):
                    bodyProducer.repeated = True
            return self._pool.connect(origin).addCallback(ClientConnection.send, request)

        # A request that can't be sent again gets a new connection: if a kept one is closed, nobody knows whether the
        # request was read.
        kept = self._pool.pop(origin) if request.replayable else None
        return send_anew() if kept is None else kept.send(request).addErrback(send_anew)

    def _find_proxy(self, origin: Origin) -> Proxy | None:
        """Return the proxy for a server. Raise `UpstreamFailed` if its URL can't be used."""
        if origin in self._proxies:
            return self._proxies[origin]
        url = f"{'https' if origin.tls else 'http'}://{origin}"
        try:
            proxy = find_proxy(url, self._proxy, self._environ)
        except ValueError as error:
            raise UpstreamFailed(f"{origin}: the proxy can't be used: {error}") from error
        if len(self._proxies) >= _MAX_PROXIES:
            self._proxies.clear()
        self._proxies[origin] = proxy
        return proxy

    def connect(self, uri: bytes, build: Callable[[], P]) -> Deferred[P]:
        """Connect a protocol of another kind to the server of a URI. The connection belongs to the caller.

        Fails as `request` does where there is no connection.
        """
        return self._connector.open(split_uri(uri)[0], build)

    def retire(self) -> None:
        """Keep no free connection any more; requests are still sent, each over a connection of its own."""
        self._pool.retire()

    def open(self) -> None:
        """Make connections again after a `close`, which has ended."""
        self._pool.open()

    def close(self) -> Deferred[None]:
        """Close all connections, also those in use; fires when all are closed."""
        return self._pool.close()

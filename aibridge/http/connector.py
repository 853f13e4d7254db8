"""New connections to providers: directly or through a proxy, with TLS or without."""

import os
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar, cast

from twisted.internet import error, tcp
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from ..errors import ConnectTimeout, GatewayError, NotConnected, UpstreamFailed, UpstreamRefused
from .client_connection import ClientConnection, ConnectionOwner, refused_by_proxy
from .client_request import Origin
from .client_response import ResponseParser
from .proxies import Proxy
from .sockets import TCPTransport, sending_at_once

_MAX_ENDPOINTS = 256

P = TypeVar("P", bound=Protocol)

FindProxy = Callable[[Origin], Proxy | None]
"""Finds the proxy for requests to a server; None to connect directly."""


class Connector:
    """Makes connections."""

    def __init__(
        self, reactor: IReactorTime, timeout: float, policy: IPolicyForHTTPS, find_proxy: FindProxy | None = None
    ) -> None:
        self._reactor = reactor
        self._sockets = sending_at_once(reactor)
        self._timeout = timeout
        self._policy = policy
        self._find_proxy: FindProxy = find_proxy or (lambda _: None)
        self._endpoints: dict[Origin, IStreamClientEndpoint] = {}

    def connect(self, origin: Origin, owner: ConnectionOwner) -> Deferred[ClientConnection]:
        """Make a connection. Fires when it is ready for a request.

        :raises UpstreamRefused: the connection was refused, there is no such host, or the proxy did not get through.
        :raises ConnectTimeout: it took too long, from the look-up of the name to the end of the TLS handshake.
        :raises NotConnected: the TLS handshake failed, or the proxy refuses the connection.
        """
        connecting = self._endpoint(origin).connect(_Builder(partial(ClientConnection, origin, owner)))
        opened = cast(Deferred[ClientConnection], connecting).addCallback(_unwrapped)
        return self._bounded(origin, opened.addCallback(ClientConnection.opened))

    def open(self, origin: Origin, build: Callable[[], P]) -> Deferred[P]:
        """Connect another protocol. Fires with it as soon as it is connected; over TLS, the handshake is yet to come.

        A proxy makes a tunnel, even for plain connections: it can't read what goes over them. Fails as `connect` does.
        """
        endpoint = self._endpoint(origin)
        proxy = self._find_proxy(origin)
        if proxy is not None and not origin.tls:
            endpoint = TunnelEndpoint(endpoint, proxy, origin)
        return self._bounded(origin, cast(Deferred[P], endpoint.connect(_Builder(build))))

    def _bounded(self, origin: Origin, opened: Deferred[P]) -> Deferred[P]:
        """Return the Deferred of a connection, bound to its timeout, and with the gateway's own errors."""

        def timed_out(_: object, seconds: float) -> NoReturn:
            raise ConnectTimeout(f"{origin}: no connection within {seconds:g} seconds")

        def failed(failure: Failure) -> NoReturn:
            if failure.check(CancelledError, error.ConnectingCancelledError):
                raise CancelledError() from failure.value
            proxy = self._find_proxy(origin)
            server = str(origin) if proxy is None else f"{origin}: the proxy {proxy}"
            raise connection_error(failure.value, server) from failure.value

        opened.addTimeout(self._timeout, self._reactor, onTimeoutCancel=timed_out)
        return opened.addErrback(failed)

    def _endpoint(self, origin: Origin) -> IStreamClientEndpoint:
        """Endpoints are kept: to make a TLS context, with the platform's trust roots, takes milliseconds."""
        kept = self._endpoints.get(origin)
        if kept is not None:
            return kept
        if len(self._endpoints) >= _MAX_ENDPOINTS:
            self._endpoints.clear()
        proxy = self._find_proxy(origin)
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._sockets, host, port, timeout=self._timeout)
        if origin.tls:
            if proxy is not None:
                endpoint = TunnelEndpoint(endpoint, proxy, origin)
            creator = self._policy.creatorForNetloc(origin.host.encode("ascii"), origin.port)
            endpoint = wrapClientTLS(creator, endpoint)
        self._endpoints[origin] = endpoint
        return endpoint


def _unwrapped(connection: P) -> P:
    """Have the transport call the connection itself, without the endpoint's wrapper: a call less for each event."""
    transport = connection.transport
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport.wrappedProtocol = connection
    elif isinstance(transport, tcp.Connection):
        transport.protocol = connection
    return connection


class _Builder(Factory):
    """Builds protocols, which it does not change."""

    noisy = False

    def __init__(self, build: Callable[[], Protocol]) -> None:
        self._build = build

    def buildProtocol(self, addr: object) -> Protocol:
        """Return a new protocol."""
        return self._build()


def connection_error(reason: BaseException | None, server: str) -> GatewayError:
    """Return the gateway's error for a connection that was not made. Its message begins with the server's name.

    No request was sent, so it is mostly safe to try again.
    """
    if isinstance(reason, GatewayError):
        return reason
    if isinstance(reason, (error.TimeoutError, error.TCPTimedOutError)):
        return ConnectTimeout(f"{server}: no connection in time")
    if isinstance(reason, error.DNSLookupError):
        return UpstreamRefused(f"{server}: host not found")
    if isinstance(reason, error.ConnectionRefusedError):
        return UpstreamRefused(f"{server} refused the connection")
    if isinstance(reason, error.NoRouteError):
        return UpstreamRefused(f"{server}: no route to the host")
    number = getattr(reason, "osError", None) or getattr(reason, "errno", None)
    cause = os.strerror(number) if isinstance(number, int) else type(reason).__name__
    return UpstreamRefused(f"{server}: no connection: {cause}")


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """Connections to a server through a proxy, which is asked to ``CONNECT``.

    https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
    """

    def __init__(self, to_proxy: IStreamClientEndpoint, proxy: Proxy, origin: Origin) -> None:
        self._to_proxy = to_proxy
        self._proxy = proxy
        self._origin = origin

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect. Fails as `Connector.connect` does."""

        def hand_over(tunnel: "_Tunnel") -> IProtocol:
            transport = tunnel.transport
            protocol = cast(IProtocol, protocolFactory.buildProtocol(transport.getPeer()))
            transport.protocol = protocol  # type: ignore[attr-defined]
            protocol.makeConnection(transport)  # type: ignore[arg-type]
            if tunnel.rest:
                protocol.dataReceived(tunnel.rest)
            return protocol

        factory = Factory.forProtocol(lambda: _Tunnel(self._proxy, self._origin))
        factory.noisy = False
        connecting = cast(Deferred[_Tunnel], self._to_proxy.connect(factory))
        return connecting.addCallback(_Tunnel.opened).addCallback(hand_over)


class _Tunnel(Protocol):
    """The beginning of a connection through a proxy, up to the proxy's consent."""

    transport: TCPTransport  # type: ignore[assignment]

    def __init__(self, proxy: Proxy, origin: Origin) -> None:
        self.rest = b""
        """Bytes of the server's that came together with the consent."""
        self._proxy = proxy
        self._origin = origin
        self._response = ResponseParser(b"CONNECT")
        self._opened: Deferred[_Tunnel] | None = Deferred(self._cancelled)
        self._result = self._opened

    def opened(self) -> "Deferred[_Tunnel]":
        """Return the Deferred that fires with this tunnel once the proxy has connected it to the server."""
        return self._result

    def connectionMade(self) -> None:
        host = f"[{self._origin.host}]" if ":" in self._origin.host else self._origin.host
        server = f"{host}:{self._origin.port}".encode("ascii")
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (server, server)
        if self._proxy.authorization is not None:
            head += b"Proxy-Authorization: %b\r\n" % self._proxy.authorization
        self.transport.write(head + b"\r\n")

    def dataReceived(self, data: bytes) -> None:
        response = self._response
        self.rest += response.feed(data)
        if response.started and 200 <= response.code < 300:
            self._fire(self)
        elif response.started:
            self._fail(refused_by_proxy(self._proxy, self._origin, response.code))
        elif response.problem is not None:
            self._fail(NotConnected(f"{self._origin}: the proxy {self._proxy} does not speak HTTP"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fire(Failure(UpstreamRefused(f"{self._origin}: the proxy {self._proxy} closed the connection")))

    def _fail(self, error: UpstreamFailed) -> None:
        self._fire(Failure(error))
        self.transport.abortConnection()

    def _cancelled(self, _: object) -> None:
        self._opened = None
        self.transport.abortConnection()

    def _fire(self, result: "_Tunnel | Failure") -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.callback(result)

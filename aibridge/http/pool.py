"""The connections to providers: how they are made, and which of them are free."""

from typing import NoReturn, cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS

from ..errors import GatewayError, UpstreamRefused, UpstreamTimeout
from .client_connection import ClientConnection, ConnectionOwner
from .client_request import Origin
from .sockets import sending_at_once

_MAX_ENDPOINTS = 256


class Connector:
    """Makes connections."""

    def __init__(self, reactor: IReactorTime, timeout: float, policy: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._sockets = sending_at_once(reactor)
        self._timeout = timeout
        self._policy = policy
        self._endpoints: dict[Origin, IStreamClientEndpoint] = {}

    def connect(self, origin: Origin, owner: ConnectionOwner) -> Deferred[ClientConnection]:
        """Make a connection. Fires when it is ready for a request.

        :raises UpstreamRefused: the connection was refused, or there is no such host.
        :raises UpstreamTimeout: it took too long, from the look-up of the name to the end of the TLS handshake.
        :raises UpstreamFailed: the TLS handshake failed.
        """

        def timed_out(_: object, seconds: float) -> NoReturn:
            raise UpstreamTimeout(f"Connection to {origin} timed out after {seconds:g} s")

        def failed(failure: Failure) -> NoReturn:
            raise _translated(failure, origin) from failure.value

        factory = Factory.forProtocol(lambda: ClientConnection(origin, owner))
        factory.noisy = False
        connecting = self._endpoint(origin).connect(factory)
        opened = cast(Deferred[ClientConnection], connecting).addCallback(ClientConnection.opened)
        opened.addTimeout(self._timeout, self._reactor, onTimeoutCancel=timed_out)
        return opened.addErrback(failed)

    def _endpoint(self, origin: Origin) -> IStreamClientEndpoint:
        """Endpoints are kept: to make a TLS context, with the platform's trust roots, takes milliseconds."""
        kept = self._endpoints.get(origin)
        if kept is not None:
            return kept
        if len(self._endpoints) >= _MAX_ENDPOINTS:
            self._endpoints.clear()
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._sockets, origin.host, origin.port, timeout=self._timeout
        )
        if origin.tls:
            creator = self._policy.creatorForNetloc(origin.host.encode("ascii"), origin.port)
            endpoint = wrapClientTLS(creator, endpoint)
        self._endpoints[origin] = endpoint
        return endpoint


def _translated(failure: Failure, origin: Origin) -> Exception:
    """The gateway's error for a failed connection. No request was sent, so it is mostly safe to try again."""
    if isinstance(failure.value, GatewayError):
        return failure.value
    if failure.check(CancelledError, error.ConnectingCancelledError):
        return CancelledError()
    if failure.check(error.TimeoutError):
        return UpstreamTimeout(f"Connection to {origin} timed out")
    if failure.check(error.DNSLookupError):
        return UpstreamRefused(f"Unknown host: {origin}")
    if failure.check(error.ConnectionRefusedError):
        return UpstreamRefused(f"Connection refused by {origin}")
    return UpstreamRefused(f"Connection to {origin} failed: {type(failure.value).__name__}")


class ConnectionPool:
    """Keeps free connections by origin, and hands out the most recently used first. Those in use are not limited."""

    def __init__(self, clock: IReactorTime, connector: Connector, idle_seconds: float, max_idle: int) -> None:
        self._clock = clock
        self._connector = connector
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._open: set[ClientConnection] = set()
        self._idle: dict[Origin, list[ClientConnection]] = {}
        self._connecting: set[Deferred[ClientConnection]] = set()
        self._expiry: IDelayedCall | None = None
        self._closed: list[Deferred[None]] | None = None

    @property
    def idle(self) -> int:
        """The number of free connections."""
        return sum(map(len, self._idle.values()))

    @property
    def active(self) -> int:
        """The number of connections that are in use or being made."""
        return len(self._open) + len(self._connecting) - self.idle

    def pop(self, origin: Origin) -> ClientConnection | None:
        """A free connection, if there is one. It is in use from now on."""
        idle = self._idle.get(origin)
        return idle.pop() if idle else None

    def connect(self, origin: Origin) -> Deferred[ClientConnection]:
        """Make a new connection. Fails as `Connector.connect` does."""
        if self._closed is not None:
            return fail(_pool_closed(origin))

        def connected(result: ClientConnection | Failure) -> ClientConnection | Failure:
            self._connecting.discard(connecting)
            if self._closed is not None:
                raise _pool_closed(origin)
            if isinstance(result, ClientConnection):
                self._open.add(result)
            return result

        connecting = self._connector.connect(origin, self)
        self._connecting.add(connecting)
        return connecting.addBoth(connected)

    # Called by connections

    def released(self, connection: ClientConnection) -> None:
        """Keep a connection for the next request."""
        idle = self._idle.setdefault(connection.origin, [])
        if self._closed is not None or len(idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_since = self._clock.seconds()
        idle.append(connection)
        if self._expiry is None:
            self._expiry = self._clock.callLater(self._idle_seconds, self._expire)

    def lost(self, connection: ClientConnection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)
        self._fire_if_closed()

    def _expire(self) -> None:
        """Close what was idle for long enough. A single timer does this for all connections."""
        self._expiry = None
        longest_ago = self._clock.seconds() - self._idle_seconds
        for origin, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= longest_ago:
                idle.pop(0).abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            oldest = min(idle[0].idle_since for idle in self._idle.values())
            self._expiry = self._clock.callLater(oldest - longest_ago, self._expire)

    # The end

    def close(self) -> Deferred[None]:
        """Close every connection, in use or not, and make no more; fires when all are closed."""
        if self._closed is None:
            self._closed = []
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._open):
            connection.abort()
        self._fire_if_closed()
        return closed

    def _fire_if_closed(self) -> None:
        if self._closed and not self._open:
            closed, self._closed = self._closed, []
            for waiting in closed:
                waiting.callback(None)


def _pool_closed(origin: Origin) -> UpstreamRefused:
    return UpstreamRefused(f"No request to {origin} was sent: the gateway's client is closed")

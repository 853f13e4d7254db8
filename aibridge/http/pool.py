"""The connections that are open, and those of them that are free."""

from typing import Any, NoReturn, cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS

from ..errors import GatewayError, UpstreamRefused, UpstreamTimeout
from ..waiters import Waiters
from .client_connection import Connection, Owner
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


class Pool:
    """Free connections by origin, the one used last first. There is no limit on those in use."""

    def __init__(self, clock: IReactorTime, connector: Connector, idle_seconds: float, max_idle: int) -> None:
        self._clock = clock
        self._connector = connector
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._open: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._connecting: set[Deferred[Connection]] = set()
        self._expiry: IDelayedCall | None = None
        self._is_closed = False
        self._closing = Waiters()

    @property
    def idle(self) -> int:
        """How many connections are free."""
        return sum(map(len, self._idle.values()))

    @property
    def active(self) -> int:
        """How many are in use or being made."""
        return len(self._open) + len(self._connecting) - self.idle

    def take(self, origin: Origin) -> Connection | None:
        """A free connection, if there is one."""
        idle = self._idle.get(origin)
        return idle.pop() if idle else None

    def connect(self, origin: Origin) -> Deferred[Connection]:
        """A new connection. Fails with what `Connector.connect` does."""
        if self._is_closed:
            return fail(_not_called(origin))
        connecting = self._connector.connect(origin, self)
        self._connecting.add(connecting)
        return connecting.addBoth(self._connected, connecting, origin)

    def _connected(self, result: Any, connecting: Deferred[Connection], origin: Origin) -> Any:
        self._connecting.discard(connecting)
        if self._is_closed:
            raise _not_called(origin)
        if isinstance(result, Connection):
            self._open.add(result)
        return result

    # What connections tell.

    def released(self, connection: Connection) -> None:
        """Keep it for the next one who asks."""
        idle = self._idle.setdefault(connection.origin, [])
        if self._is_closed or len(idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_since = self._clock.seconds()
        idle.append(connection)
        if self._expiry is None:
            self._expiry = self._clock.callLater(self._idle_seconds, self._expire)

    def lost(self, connection: Connection) -> None:
        """Forget it."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)
        self._tell_closed()

    def _expire(self) -> None:
        """One timer for all: it drops what was idle for long enough, and comes again when the next will be."""
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

    # The end.

    def close(self) -> Deferred[None]:
        """Close every connection, in use or not; fires when all are. None is made any more."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        closed = self._closing.wait()
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._open):
            connection.abort()
        self._tell_closed()
        return closed

    def _tell_closed(self) -> None:
        if self._is_closed and not self._open:
            self._closing.notify()


def _not_called(origin: Origin) -> UpstreamRefused:
    return UpstreamRefused(f"{origin}: not called, the gateway's client is closed")

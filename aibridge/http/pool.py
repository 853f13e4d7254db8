"""The free connections to providers, and those in use."""

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..errors import UpstreamRefused
from .client_connection import ClientConnection
from .client_request import Origin
from .connector import Connector


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

    def retire(self) -> None:
        """Close every free connection, and from now on each as it becomes free."""
        self._max_idle = 0
        self._stop_expiry()
        for connection in [connection for idle in self._idle.values() for connection in idle]:
            connection.abort()

    def open(self) -> None:
        """Make connections again after a `close`. While that has not ended, the pool stays closed."""
        if not self._closed:
            self._closed = None

    def close(self) -> Deferred[None]:
        """Close every connection, in use or not, and make no more; fires when all are closed."""
        if self._closed is None:
            self._closed = []
        self._stop_expiry()
        closed: Deferred[None] = Deferred()
        self._closed.append(closed)
        for connecting in list(self._connecting):
            connecting.cancel()
        for connection in list(self._open):
            connection.abort()
        self._fire_if_closed()
        return closed

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _fire_if_closed(self) -> None:
        if self._closed and not self._open:
            closed, self._closed = self._closed, []
            for waiting in closed:
                waiting.callback(None)


def _pool_closed(origin: Origin) -> UpstreamRefused:
    return UpstreamRefused(f"{origin}: no request was sent, as the gateway's HTTP client is closed")

"""The connections that are open, and those of them that are free."""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..errors import UpstreamRefused
from .connection import Connection
from .connector import Connector
from .request import Origin


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
        self._closed: list[Deferred[None]] | None = None

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
        if self._closed is not None:
            return fail(_not_called(origin))
        connecting = self._connector.connect(origin, self)
        self._connecting.add(connecting)
        return connecting.addBoth(self._connected, connecting, origin)

    def _connected(self, result: Any, connecting: Deferred[Connection], origin: Origin) -> Any:
        self._connecting.discard(connecting)
        if self._closed is not None:
            raise _not_called(origin)
        if isinstance(result, Connection):
            self._open.add(result)
        return result

    # What connections tell.

    def released(self, connection: Connection) -> None:
        """Keep it for the next one who asks."""
        idle = self._idle.setdefault(connection.origin, [])
        if self._closed is not None or len(idle) >= self._max_idle:
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
        self._tell_closed()
        return closed

    def _tell_closed(self) -> None:
        if self._closed and not self._open:
            closed, self._closed = self._closed, []
            for waiting in closed:
                waiting.callback(None)


def _not_called(origin: Origin) -> UpstreamRefused:
    return UpstreamRefused(f"{origin}: not called, the gateway's client is closed")

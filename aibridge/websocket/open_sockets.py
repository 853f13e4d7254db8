"""The open WebSockets of a gateway: their number, their credentials, and their end."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from ..errors import OverCapacity, TooManyRequests, Unauthorized
from ..http.deadlines import Deadline, Deadlines
from ..waiters import Waiters
from .settings import WebSocketSettings

_CHECK_PERIOD = 1.0
"""Seconds. A revoked key is known within four, and ends its sockets within five."""


class Socket(Protocol):
    """A socket, as this module uses it."""

    def drain(self) -> None:
        """Close as soon as nothing is under way."""

    def stop(self) -> None:
        """Break off what is under way, and close."""

    def revoke(self, reason: Unauthorized) -> None:
        """Close: the credential is not valid any more."""


class OpenSockets:
    """Counts the sockets of each actor, and ends them with the gateway or with their credentials."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._sockets: dict[Socket, Callable[[], object] | None] = {}
        self._of_actor: Counter[str] = Counter()
        self._check: Deadline | None = None
        self._waiters = Waiters()

    def enter(self, actor_id: str, settings: WebSocketSettings) -> None:
        """Count a socket that is about to open, until `leave`. Raise a `GatewayError` if it is one too many."""
        if self._of_actor.total() >= settings.connections:
            most = settings.connections
            raise OverCapacity(f"The gateway is at capacity: at most {most} WebSockets. Go on over HTTP.")
        if self._of_actor[actor_id] >= settings.per_actor:
            most = settings.per_actor
            raise TooManyRequests(f"Too many WebSockets: at most {most} at a time. Close one.")
        self._of_actor[actor_id] += 1

    def leave(self, actor_id: str) -> None:
        """A socket of the actor is closed, or was never opened."""
        self._of_actor[actor_id] -= 1
        if not self._of_actor[actor_id]:
            del self._of_actor[actor_id]

    def add(self, socket: Socket, authenticate_again: Callable[[], object] | None) -> None:
        """A socket is open. `authenticate_again` raises `Unauthorized`, or fails with it, without its credential."""
        self._sockets[socket] = authenticate_again
        if authenticate_again is not None and self._check is None:
            self._check = self._deadlines.repeat(_CHECK_PERIOD, self._check_credentials)

    def discard(self, socket: Socket) -> None:
        """A socket is closed."""
        self._sockets.pop(socket, None)
        if not self._sockets:
            if self._check is not None:
                self._deadlines.cancel(self._check)
                self._check = None
            self._waiters.notify()

    def drain(self) -> None:
        """Close every socket as soon as nothing is under way on it."""
        for socket in list(self._sockets):
            socket.drain()

    def stop(self) -> "Deferred[None]":
        """Break off what is under way, and close every socket. Fires when all are closed."""
        for socket in list(self._sockets):
            socket.stop()
        return self._waiters.wait() if self._sockets else succeed(None)

    def _check_credentials(self) -> None:
        for socket, authenticate_again in list(self._sockets.items()):
            if authenticate_again is not None:

                def ended(failure: Failure, socket: Socket = socket) -> None:
                    if isinstance(failure.value, Unauthorized) and socket in self._sockets:
                        socket.revoke(failure.value)

                maybeDeferred(authenticate_again).addErrback(ended)

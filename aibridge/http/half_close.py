"""Clients that end their side of the connection after their request: those that wait, and those that have left.

Both look the same: the client's system says that nothing more comes. A client that has left is noticed when something
is sent to it, because its system then resets the connection.
"""

import select
import socket
from typing import TYPE_CHECKING

from twisted.internet.interfaces import ITCPTransport

from .deadlines import Deadlines
from .sockets import TCPTransport

if TYPE_CHECKING:
    from .server_request import GatewayRequest

PERIOD = 1.0


class HalfCloseProbe:
    """Looks once a second for a client that sends nothing more, and closes the connection if the client has left.

    Before the response begins, each look sends one more byte of what every response begins with.
    """

    def __init__(self, transport: TCPTransport, request: "GatewayRequest", deadlines: Deadlines) -> None:
        self.sent = 0
        """Bytes of the response's head that were sent."""
        self._transport = transport
        self._request = request
        self._deadlines = deadlines
        send_probes(transport)
        self._deadline = deadlines.repeat(PERIOD, self._look)
        self._look()

    def stop(self) -> None:
        """End it: the connection is closed."""
        self._deadlines.cancel(self._deadline)

    def _look(self) -> None:
        if peer_has_left(self._transport):
            self._transport.abortConnection()
        elif not self._request.startedWriting:
            beginning = self._request.clientproto + b" "
            self._transport.write(beginning[self.sent : self.sent + 1])
            self.sent = min(self.sent + 1, len(beginning))


def send_probes(transport: TCPTransport) -> None:
    """Have the system ask the other side every second whether it is there.

    A side that has only shut down its writing acknowledges that. So does Linux for a program that has closed the
    connection, but for a minute at most; then it resets the connection, as other systems do at once.
    """
    handle = getattr(transport, "getHandle", None)
    if handle is None or not ITCPTransport.providedBy(transport):
        return
    handle().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 1), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            handle().setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def peer_has_left(transport: TCPTransport) -> bool:
    """Return True if a connection is lost of which nothing is read any more: the reactor does not notice that."""
    descriptor = getattr(transport, "fileno", None)
    if descriptor is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(descriptor(), 0)  # nothing but an error or the end of both sides
    return bool(poll.poll(0))

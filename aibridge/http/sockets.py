"""TCP connections that send at once, as long as nothing waits to be sent, and that asyncio's loop reads directly.

Twisted's own connections hold each piece until the reactor finds the socket writable. For each event of a stream that
is two system calls and one turn of the reactor more; almost always the socket was writable all along. And Twisted's
reactor on asyncio sets up a context for the log around each read, which nothing here needs: a tenth of the cost of an
event.
"""

# twisted.internet.tcp has hardly any types.
# mypy: disable-error-code="no-untyped-call"

import asyncio
from collections.abc import Iterable
from socket import SO_ERROR, SOL_SOCKET
from typing import Any, Protocol

from twisted.internet import main, tcp
from twisted.internet.interfaces import IAddress, IProducer
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from zope.interface import directlyProvides, providedBy

_log = Logger()
_SMALL_READ = 16 * 1024
_READS_IN_A_TURN = 3
"""Reads of one connection before others have their turn, as long as each fills its buffer."""


class TCPTransport(Protocol):
    """A connection as its protocol uses it: Twisted's ITCPTransport, IConsumer and IPushProducer at once."""

    def write(self, data: bytes) -> None: ...
    def writeSequence(self, pieces: Iterable[bytes]) -> None: ...
    def loseConnection(self) -> None: ...
    def loseWriteConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def getPeer(self) -> IAddress: ...
    def getHost(self) -> IAddress: ...
    def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


def sending_at_once(reactor: Any) -> Any:
    """A reactor for endpoints, whose TCP connections send at once.

    A reactor in memory is returned as it is, and so is Windows' IOCP, whose transports are of another kind.
    """
    return _EagerReactor(reactor) if isinstance(reactor, PosixReactorBase) else reactor


class _EagerReactor:
    """A reactor with TCP connections of this module's kind."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> "EagerPort":
        """Listen, as IReactorTCP does."""
        listening = EagerPort(port, factory, backlog, interface, self._reactor)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> "_Connector":
        """Connect, as IReactorTCP does."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector


class _SendsAtOnce:
    """Writes to the socket directly. Data that it doesn't take is left to Twisted, as are pauses and the end."""

    def write(self: Any, data: bytes) -> None:
        """Send as much as the socket takes now; the rest waits."""
        # Only if nothing waits to be sent before this, and nothing but the socket is between here and there.
        if (
            self.connected
            and not (self.dataBuffer or self._tempDataBuffer or self._writeDisconnected or self.TLS)
            and (self.streamingProducer or self.producer is None)
        ):
            try:
                sent = self.socket.send(data)
            except OSError:  # full, or lost: the reactor tries again and finds out which
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)  # type: ignore[misc]

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        """Send all pieces together."""
        self.write(b"".join(pieces))


class _ReadsAtOnce:
    """Has asyncio's loop read the socket, if the reactor runs on one.

    The reactor does not know of such a connection, and does not close it when it stops: that is left to the owner, or
    to the end of the process.
    """

    _watched_by: tuple[asyncio.AbstractEventLoop, int] | None = None
    """The loop that waits for data, and the descriptor of the socket that it watches."""
    _max_read = _SMALL_READ
    """Bytes to read at once. A buffer is made for each read, and a small one is made faster."""
    _was_reset = False
    """True once the other side has reset the connection; what came before can still be read."""

    def startReading(self: Any) -> None:
        """Have the loop call whenever something can be read."""
        if not self.connected:  # the reactor waits for the connection, and learns why there is none
            super().startReading()  # type: ignore[misc]
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the reactor is of another kind, or does not run yet
            super().startReading()  # type: ignore[misc]
            return
        if self._watched_by is None:
            self._watched_by = loop, self.fileno()
            loop.add_reader(self.fileno(), self._read)

    def stopReading(self: Any) -> None:
        """Stop that."""
        if self._watched_by is None:
            super().stopReading()  # type: ignore[misc]
            return
        (loop, descriptor), self._watched_by = self._watched_by, None
        loop.remove_reader(descriptor)

    def _read(self: Any) -> None:
        """Read what is there, as the reactor would, but a large body in fewer turns of the loop."""
        for _ in range(_READS_IN_A_TURN):
            try:
                data = self.socket.recv(self._max_read)
            except BlockingIOError:
                return
            except OSError:
                self._is_lost(main.CONNECTION_LOST)
                return
            if not data:
                self._is_lost(main.CONNECTION_LOST if self._was_reset else main.CONNECTION_DONE)
                return
            has_more = len(data) == self._max_read
            self._max_read = self.bufferSize if has_more else _SMALL_READ
            # uvloop calls once for a socket with an error, and never again: neither for more data nor for the end. To
            # ask for the error clears it, and the socket can be watched anew.
            if self.socket.getsockopt(SOL_SOCKET, SO_ERROR):
                self._was_reset = True
                self.stopReading()
                self.startReading()
            try:
                self.protocol.dataReceived(data)
            except Exception as error:
                _log.failure("A connection failed as it read data, and is closed.")
                self._is_lost(error)
                return
            if not has_more or self._watched_by is None:  # it may have been paused
                return

    def _is_lost(self: Any, why: Exception) -> None:
        self.stopReading()
        self.reactor._disconnectSelectable(self, why, True)


class EagerServer(_ReadsAtOnce, _SendsAtOnce, tcp.Server):
    """A connection that a client has made."""

    connected = 1
    """Set from the beginning: Twisted sets it after it has begun to read, too late for the loop."""


class EagerPort(tcp.Port):
    transport = EagerServer


class _Client(_ReadsAtOnce, _SendsAtOnce, tcp.Client):
    """A connection to a provider."""


class _Connector(tcp.Connector):
    def _makeTransport(self) -> _Client:
        return _Client(self.host, self.port, self.bindAddress, self, self.reactor)

"""TCP connections without detours: they send at once, as long as nothing waits to be sent, and are read at once.

Twisted's own let each piece wait until the reactor finds the socket writable. That is two system calls more, and one
turn of the reactor, for every event of a stream; almost always the socket was writable all along. And its reactor on
asyncio sets up a context for the log around every read, which nothing here asks for: a tenth of an event's price.
"""

# twisted.internet.tcp has hardly any types.
# mypy: disable-error-code="no-untyped-call"

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet import main, tcp
from twisted.internet.interfaces import IAddress, IProducer
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from zope.interface import directlyProvides, providedBy

_log = Logger()
_LITTLE = 16 * 1024


class TCPTransport(Protocol):
    """A connection as its protocol uses it: Twisted's ITCPTransport, IConsumer and IPushProducer at once."""

    def write(self, data: bytes) -> None: ...
    def writeSequence(self, pieces: Iterable[bytes]) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def getPeer(self) -> IAddress: ...
    def getHost(self) -> IAddress: ...
    def registerProducer(self, producer: IProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


def sending_at_once(reactor: Any) -> Any:
    """The reactor, for endpoints: the TCP connections that they make of it send at once.

    Others are returned as they are: those in memory, and Windows' IOCP, whose transports are of another kind.
    """
    return _EagerReactor(reactor) if isinstance(reactor, PosixReactorBase) else reactor


class _EagerReactor:
    """A reactor, with other connections."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> "_Port":
        """As IReactorTCP says."""
        listening = _Port(port, factory, backlog, interface, self._reactor)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> "_Connector":
        """As IReactorTCP says."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector


class _SendsAtOnce:
    """How such a connection writes. What a socket doesn't take is left to Twisted, and so are pauses and the end."""

    def write(self: Any, data: bytes) -> None:
        """Sends as much as can be sent now; the rest waits."""
        # Whether these bytes would be the next to go out, and by no other way than the socket itself.
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
        """All of them in one go."""
        self.write(b"".join(pieces))


class _ReadsAtOnce:
    """How such a connection is read: by asyncio's loop itself, where the reactor runs on one.

    The reactor does not know of it, so it does not end it when it stops: that is left to who made it, or to the end of
    the process.
    """

    _watched_by: Any = None
    """The loop that looks whether there is something to read, and the descriptor that it looks at."""
    _most = _LITTLE
    """Bytes that are read at once. Room for them is made each time, and little room is made faster."""

    def startReading(self: Any) -> None:
        """Has the loop call whenever something can be read."""
        loop = _running_loop()
        if loop is None:
            super().startReading()  # type: ignore[misc]
        elif self._watched_by is None:
            self._watched_by = loop, self.fileno()
            loop.add_reader(self.fileno(), self._read)

    def stopReading(self: Any) -> None:
        """No longer."""
        if self._watched_by is None:
            super().stopReading()  # type: ignore[misc]
            return
        (loop, descriptor), self._watched_by = self._watched_by, None
        loop.remove_reader(descriptor)

    def _read(self: Any) -> None:
        """What the reactor would do."""
        try:
            data = self.socket.recv(self._most)
        except BlockingIOError:
            return
        except OSError:
            self._is_lost(main.CONNECTION_LOST)
            return
        if not data:
            self._is_lost(main.CONNECTION_DONE)
            return
        self._most = _LITTLE if len(data) < self._most else self.bufferSize
        try:
            self.protocol.dataReceived(data)
        except Exception as error:
            _log.failure("what came over a connection was not understood")
            self._is_lost(error)

    def _is_lost(self: Any, why: Exception) -> None:
        self.stopReading()
        self.reactor._disconnectSelectable(self, why, True)


def _running_loop() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Server(_ReadsAtOnce, _SendsAtOnce, tcp.Server):
    """A client's connection to us."""


class _Port(tcp.Port):
    transport = _Server


class _Client(_ReadsAtOnce, _SendsAtOnce, tcp.Client):
    """Our connection to a provider."""


class _Connector(tcp.Connector):
    def _makeTransport(self) -> _Client:
        return _Client(self.host, self.port, self.bindAddress, self, self.reactor)

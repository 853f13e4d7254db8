"""A listening socket that the parent opens, and on which the workers accept connections."""

# twisted.internet.tcp and unix have hardly any types.
# mypy: disable-error-code="no-untyped-call"

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import directlyProvides, providedBy

from ..http.sockets import EagerPort, EagerServer
from ..service.standalone import open_port

_TURN = 0.01
"""Seconds that a connection is left to the others."""
_GONE = -(2**40)
_MOST_AT_ONCE = 4
"""Connections to accept together after that: the others are busy."""


async def open_for_workers(endpoint: str, reactor: Any) -> Any:
    """Listen on the endpoint, and accept nothing: clients wait for a worker. Return the port."""
    nobody = Factory()
    nobody.noisy = False
    port: Any = await open_port("listen", endpoint, nobody, reactor)
    port.stopReading()  # in the same turn of the reactor, so that nothing has been accepted
    port._shouldShutdown = False  # closing it must not end the workers' use of the socket
    return port


class InheritedSocket:
    """A reactor for endpoints in a worker. Whatever they would listen on, it is the parent's socket.

    The port closes the descriptor. A copy of it that stays open would keep the socket listening, and new clients
    waiting, while the workers drain.
    """

    def __init__(self, reactor: Any, descriptor: int, balance: "Balance") -> None:
        self._reactor = reactor
        self._balance = balance
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """Accept connections, as IReactorTCP does."""
        return self._accept(factory)

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Accept connections with TLS, as IReactorSSL does."""
        return self._accept(TLSMemoryBIOFactory(contextFactory, isClient=False, wrappedFactory=factory))

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """Accept connections, as IReactorUNIX does. The file of the socket is the parent's business."""
        return self._accept(factory)

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> IListeningPort:
        """Accept connections, as IReactorSocket does."""
        return self._accept(factory)

    def _accept(self, factory: Any) -> IListeningPort:
        shared = socket.socket(fileno=self._descriptor)
        port: Any = _SharedPort(0, factory, interface=shared.getsockname()[0], reactor=self._reactor)
        if shared.family == socket.AF_UNIX:
            port = _SharedUNIXPort(shared.getsockname(), factory, reactor=self._reactor)
        port._preexistingSocket = shared
        port.balance = self._balance
        port.startListening()
        return port  # type: ignore[no-any-return]


class Balance:
    """The balance of connections between the workers.

    :param connections: shared by all workers: the open connections of each, and one more while it accepts any.
    :param worker: this process's place there.
    """

    def __init__(self, connections: "memoryview[int]", worker: int) -> None:
        self._connections = connections
        self._worker = worker

    def leave(self) -> None:
        """Accept no more: whatever is still open does not count from now on."""
        self._connections[self._worker] = _GONE

    def change(self, by: int) -> None:
        """Add connections."""
        self._connections[self._worker] += by

    @property
    def is_ahead(self) -> bool:
        """True if this worker has more connections than another one that accepts connections."""
        own = self._connections[self._worker]
        return any(0 < others < own for others in self._connections)


class _Shared:
    """A port that leaves a new connection to the other workers for a moment, while one of them has fewer.

    The kernel wakes up all workers for a new connection, and the one that is fastest would take it. Often that is the
    same one for all connections of a rush.
    """

    balance: Balance
    _turn: IDelayedCall | None = None

    def startListening(self: Any) -> None:
        """Begin to accept, as a TCP port does; a Unix port would set the mode of the socket's file."""
        self.balance.change(1)
        tcp.Port.startListening(self)

    def doRead(self: Any) -> None:
        """Accept a connection, or wait."""
        if self.balance.is_ahead:
            self.stopReading()
            self._turn = self.reactor.callLater(_TURN, self._resume)
        else:
            self.numberAccepts = 1
            tcp.Port.doRead(self)

    def _resume(self: Any) -> None:
        """Accept what the others have left, if anything, and go on."""
        self._turn = None
        self.numberAccepts = _MOST_AT_ONCE
        tcp.Port.doRead(self)
        self.startReading()

    def loseConnection(self: Any, *reason: Any) -> Any:
        """Accept no more."""
        if self._turn is not None:
            self._turn.cancel()
        self.balance.leave()
        return tcp.Port.loseConnection(self, *reason)

    stopListening = loseConnection

    def connectionLost(self: Any, reason: Any) -> None:
        """Close the socket, as a TCP port does; a Unix port would remove the socket's file."""
        tcp.Port.connectionLost(self, reason)


class _Counted:
    """A connection that counts for the balance."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.server.balance.change(1)  # type: ignore[attr-defined]

    def connectionLost(self, reason: Any) -> None:
        """Count it no more."""
        self.server.balance.change(-1)  # type: ignore[attr-defined]
        super().connectionLost(reason)  # type: ignore[misc]


class _CountedServer(_Counted, EagerServer):
    """A client's TCP connection."""


class _CountedUNIXServer(_Counted, unix.Server):
    """A client's connection to a Unix socket."""


class _SharedPort(_Shared, EagerPort):
    """A worker's side of a TCP socket."""

    transport = _CountedServer  # type: ignore[assignment]


class _SharedUNIXPort(_Shared, unix.Port):
    """A worker's side of a Unix socket."""

    transport = _CountedUNIXServer

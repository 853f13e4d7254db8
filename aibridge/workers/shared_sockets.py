"""A listening socket that the parent opens, and on which the workers accept connections."""

# twisted.internet.tcp and unix have hardly any types.
# mypy: disable-error-code="no-untyped-call"

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import directlyProvides, providedBy

from ..http.sockets import EagerPort
from ..service.standalone import open_port


async def open_for_workers(endpoint: str, reactor: Any) -> Any:
    """Listen on the endpoint, and accept nothing: clients wait for a worker. Return the port."""
    nobody = Factory()
    nobody.noisy = False
    port: Any = await open_port("listen", endpoint, nobody, reactor)
    port.stopReading()  # in the same turn of the reactor, so that nothing has been accepted
    port._shouldShutdown = False  # closing it must not end the workers' use of the socket
    return port


class InheritedSocket:
    """A reactor for endpoints in a worker. Whatever they would listen on, it is the parent's socket."""

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> IListeningPort:
        """Accept connections, as IReactorTCP does."""
        return self._accept(factory)

    def listenSSL(
        self, port: int, factory: Any, context_factory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Accept connections with TLS, as IReactorSSL does."""
        return self._accept(TLSMemoryBIOFactory(context_factory, isClient=False, wrappedFactory=factory))

    def listenUNIX(
        self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """Accept connections, as IReactorUNIX does. The file of the socket is the parent's business."""
        return self._accept(factory)

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> IListeningPort:
        """Accept connections, as IReactorSocket does."""
        return self._accept(factory)

    def _accept(self, factory: Any) -> IListeningPort:
        shared = socket.socket(fileno=os.dup(self._descriptor))
        port: Any = _SharedPort(0, factory, interface=shared.getsockname()[0], reactor=self._reactor)
        if shared.family == socket.AF_UNIX:
            port = _SharedUNIXPort(shared.getsockname(), factory, reactor=self._reactor)
        port._preexistingSocket = shared
        port.startListening()
        return port  # type: ignore[no-any-return]


class _AcceptsOneByOne:
    """Accepts one connection in each turn of the reactor, so that a worker takes no more than its share of a rush."""

    def doRead(self: Any) -> None:
        """Accept a connection."""
        self.numberAccepts = 1
        super().doRead()  # type: ignore[misc]


class _SharedPort(_AcceptsOneByOne, EagerPort):
    """A worker's side of a TCP socket."""


class _SharedUNIXPort(_AcceptsOneByOne, unix.Port):
    """A worker's side of a Unix socket. It leaves the socket's file alone."""

    def startListening(self) -> None:
        """Begin to accept, as a TCP port does; a Unix port would set the mode of the file."""
        tcp.Port.startListening(self)

    def connectionLost(self, reason: Any) -> None:
        """Close the socket, as a TCP port does; a Unix port would remove the file."""
        tcp.Port.connectionLost(self, reason)

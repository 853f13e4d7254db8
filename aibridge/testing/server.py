"""A Resource on a socket of this machine."""

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import IResource
from twisted.web.server import Site


class _Connections(WrappingFactory[ProtocolWrapper]):
    """A Site's open connections, which a port does not know when it stops listening."""

    noisy = False
    _closed: "Deferred[None] | None" = None

    def close(self) -> "Deferred[None]":
        if not self.protocols:
            return succeed(None)
        self._closed = Deferred()
        for connection in list(self.protocols):
            connection.abortConnection()
        return self._closed

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if self._closed is not None and not self.protocols:
            self._closed.callback(None)


def quiet_site(resource: IResource, reactor: Any) -> Site:
    """Return a Site that writes no access log, and keeps idle connections open."""
    site = Site(resource, timeout=None, reactor=reactor)
    site.noisy = False
    site.log = lambda request: None  # type: ignore[method-assign]
    return site


class LoopbackServer:
    """Listens on a free port of 127.0.0.1, and leaves nothing open when it stops."""

    def __init__(self, reactor: Any, resource: IResource) -> None:
        self._reactor = reactor
        self._connections = _Connections(quiet_site(resource, reactor))  # type: ignore[no-untyped-call]
        self._port: Any = None

    def start(self) -> "Deferred[str]":
        """Listens. Fires with its URL, such as ``http://127.0.0.1:43210``."""
        self._port = self._reactor.listenTCP(0, self._connections, interface="127.0.0.1")
        return succeed(f"http://127.0.0.1:{self._port.getHost().port}")

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Stops to listen and closes every connection. Fires once all of that is done."""
        if self._port is not None:
            yield self._port.stopListening()
            yield self._connections.close()

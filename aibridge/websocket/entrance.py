"""The way of a request for a WebSocket into the gateway. Nothing of Autobahn is loaded before there is one."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.server import Request

from ..client.cors import refuse_other_sites
from ..client.paths import RequestPath
from ..client.request import ClientRequest
from ..client.routes import Route
from ..errors import GatewayError, UpgradeRefused, UpstreamFailed, UpstreamTimeout
from ..http.handover import can_hand_over
from ..http.headers import RawHeaders
from ..identity.authenticate import Authenticate
from ..identity.clients import CODEX, client_of
from ..in_flight import Exchange
from ..interceptor import Interceptor
from ..interfaces import IAuthenticator, IRevocable
from ..metrics import Metrics
from .exchanges import Services
from .open_sockets import OpenSockets

if TYPE_CHECKING:
    from ..interceptors import BridgeSettings
    from .handshake import SocketOpener

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_GO_ON = " Go on over HTTP."
_VERSION = b"13"  # https://www.rfc-editor.org/rfc/rfc6455#section-4.1


class WebSockets:
    """All WebSockets of one gateway."""

    def __init__(self, services: Services, metrics: Metrics, reactor: IReactorTime) -> None:
        self.sockets = OpenSockets(services.deadlines)
        self._services = services
        self._metrics = metrics
        self._reactor = reactor
        self._opener: SocketOpener | None = None

    async def serve(
        self, request: Any, path: RequestPath, interceptor: Interceptor, exchange: Exchange, settings: "BridgeSettings"
    ) -> None:
        """Answer a request for a WebSocket with one. Raise a `GatewayError` if none comes about.

        Codex is told 426 then: it goes on over HTTP at once, and is told the reason there. Other statuses it repeats.
        """
        headers = RawHeaders.of(request.requestHeaders)
        outcome = "refused"
        try:
            refuse_other_sites(headers, settings.cors_origins, is_open=settings.authenticate is None)
            route = _route(request, path, headers, interceptor)
            outcome = await self._open(request, path, route, interceptor, exchange, settings)
        except GatewayError as error:
            if isinstance(error, UpstreamFailed | UpstreamTimeout):
                outcome = "failed"
            if client_of(headers.by_name) != CODEX or isinstance(error, UpgradeRefused):
                raise
            raise UpgradeRefused(f"{error.message.removesuffix(_GO_ON)}{_GO_ON}") from error
        finally:
            self._metrics.handshakes.labels(interceptor.provider.name, outcome).value += 1

    async def _open(
        self,
        request: Any,
        path: RequestPath,
        route: Route,
        interceptor: Interceptor,
        exchange: Exchange,
        settings: "BridgeSettings",
    ) -> str:
        """Find out who asks, and open the socket. Return the outcome."""
        services = self._services
        services.admit()
        again = _authenticate_again(settings.authenticate, request)
        actor = await services.identify(request, exchange)
        exchange.actor = actor
        services.check_limits(actor)
        headers = RawHeaders.of(request.requestHeaders)
        asked = ClientRequest(request, path, route, actor, settings.max_body_bytes, headers)
        if self._opener is None:
            from .handshake import SocketOpener  # with it comes Autobahn

            self._opener = SocketOpener(
                sockets=self.sockets, services=services, metrics=self._metrics, reactor=self._reactor
            )
        return await self._opener.open(asked, exchange, interceptor, settings.websocket, again)


def _route(request: Any, path: RequestPath, headers: RawHeaders, interceptor: Interceptor) -> Route:
    """Return the route whose messages are relayed. Raise `UpgradeRefused` without one, or without a whole handshake."""
    keys, versions = (headers.by_name.get(name, []) for name in (b"sec-websocket-key", b"sec-websocket-version"))
    is_handshake = len(keys) == 1 and _KEY.fullmatch(keys[0]) and versions == [_VERSION]
    route = interceptor.socket_route(path) if is_handshake else None
    if route is None or not can_hand_over(request):
        raise UpgradeRefused("No WebSocket is here: go on over HTTP.")
    return route


def _authenticate_again(
    authenticator: Authenticate | IAuthenticator | None, request: Request
) -> Callable[[], object] | None:
    """Return a function that authenticates the request again; None if its credential never loses its validity.

    Call this before the request is authenticated, which takes the credential away from it.
    """
    if not IRevocable.providedBy(authenticator):
        return None
    headers, address = RawHeaders.of(request.requestHeaders).copy(), request.getClientAddress()
    return lambda: authenticator.authenticate(_Credentials(headers.copy(), address))


@frozen
class _Credentials:
    """The part of a request by which its actor is found."""

    requestHeaders: RawHeaders
    _address: IAddress

    def getClientAddress(self) -> IAddress:
        """Return the client's address."""
        return self._address

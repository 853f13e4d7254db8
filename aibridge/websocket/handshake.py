"""The opening of a WebSocket. The provider's end is opened first, so that the client learns what the provider says."""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable
from functools import partial
from typing import cast

from attrs import evolve, field, frozen
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketServerFactory
from twisted.internet.interfaces import IReactorTime

from ..client.crossing import to_client
from ..client.reply import Reply
from ..client.request import ClientRequest
from ..errors import ClientLeft, Draining, UpgradeRefused
from ..http.headers import RawHeaders
from ..identity.clients import CODEX, client_of
from ..in_flight import Exchange
from ..interceptor import Interceptor
from ..interfaces import IProvider
from ..metrics import Metrics
from ..record.values import new_id
from .ends import ClientEnd
from .exchanges import Services
from .model_requests import Handshake
from .open_sockets import OpenSockets
from .provider_end import OPENING, HandshakeRefused
from .provider_opening import ROUTE, OpenedEnd, ProviderOpener
from .relayed_socket import RelayedSocket
from .settings import WebSocketSettings

_CONNECTION_ID = "X-AIBridge-Connection-Id"
_WITHOUT_SOCKETS = (404, 405, 406, 426, 501)
"""Statuses by which a server says that it has no WebSocket there."""


@frozen(eq=False, kw_only=True)
class SocketOpener:
    """Opens the sockets of one gateway."""

    sockets: OpenSockets
    services: Services
    metrics: Metrics
    reactor: IReactorTime
    _server: WebSocketServerFactory = field(init=False)
    _providers: ProviderOpener = field(init=False)

    @_server.default
    def _make_server(self) -> WebSocketServerFactory:
        return WebSocketServerFactory(server="", reactor=self.reactor)

    @_providers.default
    def _make_opener(self) -> ProviderOpener:
        return ProviderOpener(services=self.services, factory=WebSocketClientFactory(reactor=self.reactor))

    async def open(
        self,
        request: ClientRequest,
        exchange: Exchange,
        interceptor: Interceptor,
        settings: WebSocketSettings,
        authenticate_again: Callable[[], object] | None,
    ) -> str:
        """Answer a handshake with 101, or with the provider's refusal. Return the outcome, for the metrics.

        Raise a `GatewayError` if no socket comes about for another reason.
        """
        actor_id = request.actor.id
        self.sockets.enter(actor_id, settings)
        socket = None
        try:
            opened = await self._providers.open(request, exchange, interceptor, settings)
            socket = self._accept(request, exchange, opened, settings)
        except HandshakeRefused as refusal:
            _pass_refusal(request, exchange, refusal, interceptor.provider)
            return "rejected"
        finally:
            if socket is None:
                self.sockets.leave(actor_id)
        self.sockets.add(socket, authenticate_again)
        self.metrics.websockets.labels(socket.provider_name).value += 1
        try:
            self.services.admit()
        except Draining:  # since it was asked for
            socket.drain()
        return "accepted"

    def ended(self, socket: RelayedSocket) -> None:
        """Both ends of a socket are closed."""
        self.sockets.leave(socket.actor.id)
        self.sockets.discard(socket)
        self.metrics.websockets.labels(socket.provider_name).value -= 1

    def _accept(
        self,
        request: ClientRequest,
        exchange: Exchange,
        opened: OpenedEnd,
        settings: WebSocketSettings,
    ) -> RelayedSocket:
        """Answer the client's handshake with the provider's headers, and let messages flow."""
        asked, provider, interceptor = request.headers.by_name, opened.end, opened.interceptor
        lean = evolve(opened.request, request=None, route=evolve(opened.request.route, label=ROUTE))
        handshake = Handshake(
            request=lean, connection_id=str(new_id()), credential=opened.credential, failover=opened.failover
        )
        headers = RawHeaders()
        to_client(provider.headers.filter(lambda name: not name.startswith(b"sec-websocket-")), headers)
        shown = {
            name.decode("latin-1"): [value.decode("latin-1") for value in values]
            for name, values in headers.getAllRawHeaders()
        }
        shown[_CONNECTION_ID] = [handshake.connection_id]
        client = ClientEnd(self._server, request.max_body_bytes, shown, settings.compression)
        ahead = cast(Reply, exchange.reply).hand_over(client)
        if ahead is None:
            provider.abort()
            raise ClientLeft("the client left before its WebSocket was open")
        count = partial(self.metrics.count_message, interceptor.provider.name)
        socket = RelayedSocket(self, (client, provider), handshake, interceptor, self.services, settings, count)
        client.begin(asked[b"sec-websocket-key"][0], b", ".join(asked.get(b"sec-websocket-extensions", ())), ahead)
        provider.resume(OPENING)
        return socket


def _pass_refusal(request: ClientRequest, exchange: Exchange, refusal: HandshakeRefused, provider: IProvider) -> None:
    """Give the client what its requests would get. Codex, and all where only sockets are missing, are sent there."""
    reply = exchange.reply
    if refusal.code < 400 or refusal.code in _WITHOUT_SOCKETS or client_of(request.headers.by_name) == CODEX:
        error = UpgradeRefused(f"{provider.name} opens no WebSocket (HTTP {refusal.code}). Go on over HTTP.")
        reply.refuse(error, provider.error_body(error))
        return
    reply.set_head(refusal.code, refusal.phrase, refusal.headers)
    reply.set_header(b"Content-Length", b"%d" % len(refusal.body))
    reply.write(refusal.body)
    reply.finish()

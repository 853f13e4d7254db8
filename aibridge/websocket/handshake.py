"""The opening of a WebSocket. The provider's end is opened first, so that the client learns what the provider says."""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable
from functools import partial
from typing import cast

from attrs import evolve, field, frozen
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketServerFactory
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from ..client.crossing import to_client, to_provider
from ..client.reply import Reply
from ..client.request import ClientRequest
from ..errors import ClientLeft, Draining, UpgradeRefused, UpstreamFailed, UpstreamTimeout
from ..http.headers import RawHeaders
from ..identity.clients import CODEX, client_of
from ..identity.credentials import Credential
from ..in_flight import Exchange
from ..interceptor import Interceptor
from ..interfaces import IProvider
from ..metrics import Metrics
from ..record.values import new_id
from ..upstream.call import Ending, UpstreamCall
from ..upstream.client import named
from ..upstream.key_pool import COOLING
from ..wire.formats import Answer
from .ends import ClientEnd
from .exchanges import Services
from .model_requests import Handshake
from .open_sockets import OpenSockets
from .provider_end import OPENING, HandshakeRefused, ProviderEnd
from .relayed_socket import RelayedSocket
from .settings import WebSocketSettings

_CONNECTION_ID = "X-AIBridge-Connection-Id"
_ROUTE = "websocket"
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
    _client: WebSocketClientFactory = field(init=False)

    @_server.default
    def _make_server(self) -> WebSocketServerFactory:
        return WebSocketServerFactory(server="", reactor=self.reactor)

    @_client.default
    def _make_client(self) -> WebSocketClientFactory:
        return WebSocketClientFactory(reactor=self.reactor)

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
            provider, credential = await self._connect(request, exchange, interceptor, settings)
            socket = self._accept(request, exchange, (provider, credential), interceptor, settings)
        except HandshakeRefused as refusal:
            _pass_refusal(request, exchange, refusal, interceptor.provider)
            return "rejected"
        finally:
            if socket is None:
                self.sockets.leave(actor_id)
        self.sockets.add(socket, authenticate_again)
        self.metrics.websockets.labels(interceptor.provider.name).value += 1
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

    async def _connect(
        self, request: ClientRequest, exchange: Exchange, interceptor: Interceptor, settings: WebSocketSettings
    ) -> tuple[ProviderEnd, Credential]:
        """Open the provider's end, with the next key in the place of one that is refused. Return the key, too."""
        access, pool = interceptor.access, interceptor.access.pool if interceptor.access is not None else None
        while True:
            credential = interceptor.provider.credential(request.headers)
            if interceptor.adapter is not None:
                credential = await interceptor.adapter.find_credential(credential, exchange)
            if access is not None:
                credential = access.to_connection(request, credential)
            try:
                return await self._connect_with(credential, request, exchange, interceptor, settings), credential
            except HandshakeRefused as refusal:
                key = pool.find(credential) if pool is not None else None
                if pool is None or key is None or refusal.code not in COOLING:
                    raise
                pool.cool(key, cast(IResponse, refusal), refusal.body)
                if not pool.any_warm:
                    raise

    async def _connect_with(
        self,
        credential: Credential,
        request: ClientRequest,
        exchange: Exchange,
        interceptor: Interceptor,
        settings: WebSocketSettings,
    ) -> ProviderEnd:
        """Open the provider's end, as a request would go there: by its address, with its credential and headers."""
        provider, agent, passage = interceptor.provider, interceptor.agent, None
        assert agent is not None
        if interceptor.circuits is not None:
            interceptor.circuits.check(request.route.path)
            passage = interceptor.circuits.enter(_ROUTE, "", provider.overloaded)
        url, headers = await _address(credential, request, exchange, interceptor)
        build = partial(ProviderEnd, self._client, request.max_body_bytes, url, headers, settings.compression)
        timeout = provider.first_byte_timeout
        too_slow = UpstreamTimeout(f"{provider.name} did not respond in {timeout:g} seconds.")
        deadline = self.services.deadlines.start(timeout, partial(exchange.cancel, too_slow))
        try:
            end = await exchange.wait(agent.connect(url, build))
            await exchange.wait(end.opened)
            if passage is not None:
                passage.ended(Ending.WHOLE, Answer())
            return end
        except HandshakeRefused as refusal:
            if passage is not None:
                passage.responded(refusal.code)
            raise
        except (UpstreamFailed, UpstreamTimeout) as error:
            if passage is not None:
                passage.failed()
            raise named(error, url, provider.name) from error
        finally:
            self.services.deadlines.cancel(deadline)
            if passage is not None:
                passage.leave()

    def _accept(
        self,
        request: ClientRequest,
        exchange: Exchange,
        opened: tuple[ProviderEnd, Credential],
        interceptor: Interceptor,
        settings: WebSocketSettings,
    ) -> RelayedSocket:
        """Answer the client's handshake with the provider's headers, and let messages flow."""
        asked, (provider, credential) = request.headers.by_name, opened
        lean = evolve(request, request=None, route=evolve(request.route, label=_ROUTE))
        handshake = Handshake(request=lean, connection_id=str(new_id()), credential=credential)
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


async def _address(
    credential: Credential, request: ClientRequest, exchange: Exchange, interceptor: Interceptor
) -> tuple[bytes, RawHeaders]:
    """Return the URL at which the provider's end is opened, and the headers with the credential."""
    provider, adapter = interceptor.provider, interceptor.adapter
    headers = to_provider(request.headers).filter(lambda name: not name.startswith(b"sec-websocket-"))
    provider.add_headers(headers, credential, request.actor)
    call = UpstreamCall(b"GET", provider.url(request.route.path.encode(), request.path.query), headers, b"")
    adaptation = adapter.authorized(call.url, credential) if adapter is not None else None
    if adaptation is not None and (authorized := adaptation.authorize(call)) is not None:
        await exchange.wait(authorized)
    return call.url, headers


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

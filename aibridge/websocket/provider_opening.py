"""The opening of the provider's end of a WebSocket: with each key of the provider, and at its fallbacks."""

# Autobahn is only partly typed.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Sequence
from functools import partial
from typing import cast

from attrs import evolve, field, frozen
from autobahn.twisted.websocket import WebSocketClientFactory
from twisted.web.iweb import IResponse

from ..client.crossing import to_provider
from ..client.request import ClientRequest
from ..errors import CircuitOpen, GatewayError, NoCredentials, UpstreamFailed, UpstreamTimeout
from ..failover import NOT_SERVING, Failover, never_connected
from ..http.headers import RawHeaders
from ..identity.credentials import PROVIDER_HEADERS, Credential
from ..in_flight import Exchange
from ..interceptor import Interceptor
from ..record.records import CENTRALIZED
from ..upstream.call import Ending, UpstreamCall
from ..upstream.client import named
from ..upstream.key_pool import COOLING
from ..wire.formats import Answer
from .exchanges import Services
from .model_requests import session_of_handshake
from .provider_end import HandshakeRefused, ProviderEnd
from .settings import WebSocketSettings
from .socket_key import SocketKey

ROUTE = "websocket"
"""The name of the route in records and metrics."""


@frozen(eq=False, kw_only=True)
class OpenedEnd:
    """A provider's end that is open."""

    end: ProviderEnd
    credential: Credential
    interceptor: Interceptor
    """The interceptor of its provider."""
    request: ClientRequest
    """The handshake as this provider gets it."""
    failover: Failover | None = None
    """The failover by which this provider serves in the place of another one; None if it is the client's choice."""


@frozen(eq=False, kw_only=True)
class ProviderOpener:
    """Opens the providers' ends of one gateway."""

    services: Services
    factory: WebSocketClientFactory = field(repr=False)

    async def open(
        self, request: ClientRequest, exchange: Exchange, interceptor: Interceptor, settings: WebSocketSettings
    ) -> OpenedEnd:
        """Open the end of the request's provider, or that of a fallback if the provider can't serve now.

        Raise `HandshakeRefused` or a `GatewayError` if none opens: that of the provider that was tried last.
        """
        failover = interceptor.failover
        if failover is None or interceptor.provider.credential(request.headers).kind != CENTRALIZED:
            return await self._open_at(request, exchange, interceptor, settings)
        keeper = failover.keeper_of_session(request.actor.id, session_of_handshake(request))
        if keeper is not None:
            away = UpstreamFailed(f"{keeper.provider.name}, which has this conversation, has no WebSocket here.")
            return await self._open_fallback(request, exchange, failover, [keeper], settings, away)
        try:
            return await self._open_at(request, exchange, interceptor, settings)
        except (HandshakeRefused, GatewayError) as error:
            if not _is_not_serving(error):
                raise
            return await self._open_fallback(request, exchange, failover, failover.fallbacks, settings, error)

    async def _open_fallback(
        self,
        request: ClientRequest,
        exchange: Exchange,
        failover: Failover,
        fallbacks: Sequence[Interceptor],
        settings: WebSocketSettings,
        failure: Exception,
    ) -> OpenedEnd:
        """Open the end of the first of these fallbacks that can serve. Raise the last failure if none can.

        A fallback gets the handshake without the client's credential.
        """
        headers = request.headers.filter(lambda name: name not in PROVIDER_HEADERS)
        for fallback in fallbacks:
            if (route := fallback.socket_route(request.path)) is None:
                continue
            try:
                opened = await self._open_at(
                    evolve(request, route=route, headers=headers), exchange, fallback, settings
                )
            except (HandshakeRefused, GatewayError) as error:
                failure = error
            else:
                failover.tell(fallback, str(failure))
                return evolve(opened, failover=failover)
        raise failure

    async def _open_at(
        self, request: ClientRequest, exchange: Exchange, interceptor: Interceptor, settings: WebSocketSettings
    ) -> OpenedEnd:
        """Open the end of one provider, with the next key in the place of one that is refused."""
        access, pool = interceptor.access, interceptor.access.pool if interceptor.access is not None else None
        while True:
            credential = interceptor.provider.credential(request.headers)
            if interceptor.adapter is not None:
                credential = await interceptor.adapter.find_credential(credential, exchange)
            if access is not None:
                credential = access.to_connection(request, credential)
            key = SocketKey.find(pool, credential)
            if key is not None and not key.pool.is_warm(key.key):
                raise _last_refusal(key)  # all of them are cold
            try:
                end = await self._open_with(credential, request, exchange, interceptor, settings)
            except HandshakeRefused as refusal:
                if key is None or refusal.code not in COOLING:
                    raise
                key.pool.cool(key.key, cast(IResponse, refusal), refusal.body)
                continue
            if key is not None:
                key.pool.served(key.key)
            return OpenedEnd(end=end, credential=credential, interceptor=interceptor, request=request)

    async def _open_with(
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
            passage = interceptor.circuits.enter(ROUTE, "", provider.overloaded)
        url, headers = await _address(credential, request, exchange, interceptor)
        build = partial(ProviderEnd, self.factory, request.max_body_bytes, url, headers, settings.compression)
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


def _is_not_serving(error: Exception) -> bool:
    """Return True for the failure of a provider that can't serve now, as far as that has to do with requests, too."""
    if isinstance(error, HandshakeRefused):
        return error.code in NOT_SERVING
    return isinstance(error, CircuitOpen | NoCredentials) or (
        isinstance(error, GatewayError) and never_connected(error)
    )


def _last_refusal(key: SocketKey) -> HandshakeRefused:
    """Return the last 429 of a pool whose keys are all cold, with the time until the first is warm again."""
    refusal, seconds = key.pool.wait(key.key, pinned=False)
    headers = RawHeaders.of(refusal.headers).copy()
    headers.set(b"Retry-After", b"%d" % seconds)
    return HandshakeRefused(refusal.code, refusal.phrase, headers, refusal.body)


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

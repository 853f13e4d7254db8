"""The Resource that a host program mounts: below it each provider has its routes, under its name."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from prometheus_client import CollectorRegistry
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from .client.base_urls import BaseURLs
from .client.cors import allowed_origin, is_preflight, refuse_unasked
from .client.paths import read_path, split_target
from .client.reply import Reply
from .client.request import ClientRequest
from .costs.calculator import Prices
from .errors import ClientLeft, Draining, GatewayError, OverCapacity, RouteUnknown
from .http.deadlines import Deadlines
from .http.headers import RawHeaders
from .identity.authenticate import ANONYMOUS, Authenticate, as_function, identify
from .in_flight import Exchange, InFlight
from .interceptors import MAX_BODY_BYTES, BridgeSettings, Interceptors
from .interfaces import (
    Actor,
    IAuthenticator,
    IExchange,
    IMemory,
    IOnDemandRecorder,
    IProvider,
    IRecorder,
    IToolbox,
    ITracer,
)
from .metrics import Metrics
from .passthrough import pass_through
from .rate_limits import IRateLimiter, Limits, RateLimiter
from .refusal_log import RefusalLog
from .spending import tell_spending
from .tools.conversation import Conversations
from .tools.memory import ShortMemory
from .websocket.entrance import WebSockets
from .websocket.exchanges import Services
from .websocket.model_requests import Handshake
from .websocket.settings import WebSocketSettings
from .wire.messages.bedrock import BedrockEncoder

_log = Logger()
_DUMPS_TIMEOUT = 5.0
"""Seconds that a stop waits for a slow disk."""


class RequestBridge(Resource):
    """Relays and records the requests below it, under any path of any Site; a process may have several bridges.

    :param providers: The providers, each with a name of its own.
    :param recorder: Keeps the records.
    :param authenticate: Takes the request and returns its `Actor` or None, as a value or a Deferred. Without it
        everyone is ``anonymous``.
    :param metrics: What is counted, and where; by default in a registry of the bridge's own.
    :param max_body_bytes: A larger request body, packed or unpacked, is refused with 413.
    :param max_concurrent_requests: More requests at a time are refused with 503.
    :param limits: Bounds for each actor; requests over them are refused with 429.
    :param stall_timeout: Seconds for which a client may take nothing of its answer.
    :param agent: An `IAgent` or a treq `HTTPClient` that sends the requests to providers, in place of the bridge's own.
    :param toolbox: Its tools are offered to every model, at most `max_tools` of them in a conversation, in at most
        `max_rounds` rounds an answer.
    :param prices: The prices of models, such as `load_prices` returns; without them no cost is recorded.
    :param rate_limiter: Counts requests together with those of other bridges, in place of one that counts for `limits`.
    :param cors_origins: Origins of web pages that browsers let use the gateway, such as ``https://chat.example``.
    :param websocket: The bounds of WebSockets.
    :param tracer: Traces interceptions, as `aibridge.tracing.tracer.Tracer` does with OpenTelemetry's packages.
    :param memory: Keeps what clients don't see of the tools' use; by default in this process.
    """

    isLeaf = True

    def __init__(
        self,
        providers: Sequence[IProvider],
        recorder: IRecorder,
        authenticate: Authenticate | IAuthenticator | None = None,
        *,
        metrics: Metrics | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_concurrent_requests: int = 10_000,
        limits: Limits | None = None,
        stall_timeout: float = 600.0,
        agent: IAgent | HTTPClient | None = None,
        toolbox: IToolbox | None = None,
        memory: IMemory | None = None,
        max_rounds: int = 25,
        max_tools: int | None = None,
        cors_origins: Collection[str] = (),
        prices: Prices | None = None,
        websocket: WebSocketSettings | None = None,
        rate_limiter: IRateLimiter | None = None,
        tracer: ITracer | None = None,
        reactor: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.metrics = metrics or Metrics(CollectorRegistry())
        self._reactor = reactor or _the_reactor()
        self._deadlines = Deadlines(self._reactor)
        self._in_flight = InFlight()
        self._interceptors = Interceptors(self.metrics, self._deadlines, agent, self._reactor)
        self._short_memory: IMemory = ShortMemory()
        self._rate_limiter = rate_limiter
        self._tracer: ITracer | None = None
        self._refusal_log = RefusalLog(self._reactor.seconds)
        self._draining = False
        self._websockets = WebSockets(self._socket_services(), self.metrics, self._reactor)
        self.apply(
            BridgeSettings(
                providers=providers,
                recorder=recorder,
                authenticate=authenticate,
                max_body_bytes=max_body_bytes,
                max_concurrent_requests=max_concurrent_requests,
                limits=limits,
                stall_timeout=stall_timeout,
                toolbox=toolbox,
                memory=memory,
                max_rounds=max_rounds,
                max_tools=max_tools,
                cors_origins=cors_origins,
                prices=prices,
                websocket=websocket or WebSocketSettings(),
                tracer=tracer,
            )
        )

    def apply(self, settings: BridgeSettings) -> None:
        """Serve every request that comes from now on with these settings.

        Requests that are under way end with the settings with which they began, whatever becomes of their provider. No
        connection is lost. Only the limits of actors count both kinds of requests together.

        `GatewayService.reload` does this for a bridge with MCP servers, whose sessions it starts and stops.

        :raises ValueError: for settings that can't be used, such as a fallback of an unknown name. Nothing has changed.
        """
        conversations = None
        if settings.toolbox is not None:
            memory = settings.memory or self._short_memory
            conversations = Conversations(settings.toolbox, memory, settings.max_rounds, settings.max_tools)
        self._interceptors.apply(settings, conversations)
        before, self._tracer = self._tracer, settings.tracer
        if before is not None and before is not settings.tracer:
            flush = before.flush
            self.finished().addCallback(lambda _: flush())
        self._base_urls = BaseURLs(settings.providers)
        self._authenticate = as_function(settings.authenticate) if settings.authenticate is not None else None
        self._limit(settings.limits)
        self._cors_origins = frozenset(settings.cors_origins)
        self.settings = settings

    def _limit(self, limits: Limits | None) -> None:
        """Set the limits of actors; without any, requests are counted only if they were counted before."""
        if self._rate_limiter is not None:
            self._rate_limiter.limits = limits or Limits()
        elif limits and limits != Limits():
            self._rate_limiter = RateLimiter(limits, self._reactor)

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        return len(self._in_flight.exchanges)

    def circuits(self) -> dict[str, list[dict[str, Any]]]:
        """Return the circuits that are not closed, as JSON values, for each provider."""
        return self._interceptors.circuits()

    def refusals(self) -> dict[str, list[dict[str, str]]]:
        """Return what providers refuse of the gateway's additions to requests, as JSON values, for each provider."""
        return self._interceptors.refusals()

    def keys(self) -> dict[str, list[dict[str, object]]]:
        """Return the keys that cool down, as JSON values, for each provider with a pool of keys."""
        return self._interceptors.keys()

    def credentials(self) -> dict[str, str]:
        """Return the state of the credentials that are looked for in a cloud: ``ok`` or the reason, by provider."""
        return self._interceptors.credentials()

    def dumps(self) -> dict[str, dict[str, str]]:
        """Return folder and state of the dumps, as JSON values, for each provider whose exchanges are dumped."""
        return self._interceptors.dumps.report()

    def finished(self) -> "Deferred[None]":
        """Fires when every request that is under way now is over; later ones are not waited for."""
        return self._in_flight.finished()

    def startService(self) -> None:
        """Accept requests, and begin to look for credentials in clouds. A new bridge accepts requests already.

        A bridge that was stopped can be started again once its stop has ended.
        """
        self._draining = False
        self._in_flight.start()
        self._interceptors.start()

    def drain(self, seconds: float) -> "Deferred[None]":
        """Refuse new requests. Fires when none is under way, when the time is over, or when it is cancelled."""
        self._draining = True
        self._websockets.sockets.drain()
        drained = self._in_flight.drained().addTimeout(seconds, self._reactor, onTimeoutCancel=lambda *_: None)
        return drained.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def stopService(self) -> "Deferred[None]":
        """Break off what is under way. Fires when every exchange has been recorded to its end."""
        return Deferred.fromCoroutine(self._stop())

    shutdown = stopService

    async def _stop(self) -> None:
        self._draining = True
        sockets_closed = self._websockets.sockets.stop()
        self._in_flight.stop()
        await sockets_closed
        await self._interceptors.close()
        await self._in_flight.drained()
        if self._tracer is not None:
            flushed = maybeDeferred(self._tracer.flush)  # a host's own may fail; the recorder has to end nevertheless
            await flushed.addErrback(lambda failure: _log.failure("the last traces were not exported", failure))
        await self._interceptors.dumps.flush().addTimeout(_DUMPS_TIMEOUT, self._reactor, lambda result, seconds: None)
        self._deadlines.stop()
        recorder = self.settings.recorder
        if IOnDemandRecorder.providedBy(recorder):
            await IOnDemandRecorder(recorder).release()

    def render(self, request: Any) -> int:
        """Serve a request of twisted.web, in its own time."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    async def _serve(self, request: Any) -> None:
        """Serve a request, and leave no client waiting, whatever fails."""
        reply = Reply(request, self._reactor)
        reply.hides_redirects = self._authenticate is not None
        if self._cors_origins:
            reply.origin = allowed_origin(request.requestHeaders, self._cors_origins)
            if reply.origin is not None and is_preflight(request.method, request.requestHeaders):
                reply.allow_request()
                return
        exchange = Exchange(reply)
        self._in_flight.add(exchange)
        try:
            await self._respond(request, exchange)
        except ClientLeft:
            exchange.reply.abort()  # a client that takes nothing more may still be connected
        except GatewayError as error:
            self._refuse(request, exchange, error)
        except Exception:
            _log.failure("request failed")
            self._refuse(request, exchange, GatewayError("The gateway failed; its log says why."))
        finally:
            self._in_flight.discard(exchange)

    async def _respond(self, request: Any, exchange: Exchange) -> None:
        """Find the provider and the route, learn who asks, and intercept the request or pass it through."""
        path = read_path(request.uri, len(request.prepath))
        interceptors, settings = self._interceptors.by_name, self.settings
        interceptor = interceptors.get(path.provider)
        if interceptor is None:
            usual = " or ".join(f"/{name}" for name in interceptors)
            raise RouteUnknown(f"No provider is named {path.provider[:64]!r} here: the base URL's path is {usual}.")
        if request.method == b"GET" and _wants_websocket(request):
            await self._websockets.serve(request, path, interceptor, exchange, settings)
            return
        route = interceptor.provider.route(request.method, path.decoded)
        if route.cloud is not None and route.cloud.framed:
            cast(Reply, exchange.reply).encode = BedrockEncoder().encode
        if route.answered_here:
            exchange.reply.send_json({})
            return
        if self._draining or len(self._in_flight.exchanges) > settings.max_concurrent_requests:
            self._admit()
        actor = await identify(self._authenticate, request, exchange.wait) if self._authenticate else ANONYMOUS
        exchange.actor = actor
        with self._rate_limiter.enter(actor.id) if self._rate_limiter else nullcontext():
            headers = request.requestHeaders
            if type(headers) is not RawHeaders:
                headers = RawHeaders.of(headers)
            if b"origin" in headers.by_name:
                refuse_unasked(request.method, headers, self._cors_origins, is_open=self._authenticate is None)
            asked = ClientRequest(request, path, route, actor, settings.max_body_bytes, headers)
            if route.tells_spending:
                await tell_spending(exchange, interceptor.budgets, actor)
            elif route.format is None:
                method = self.metrics.method(request.method.decode("ascii", "replace"))
                self.metrics.passthrough.labels(interceptor.provider.name, route.path, method).inc()
                await pass_through(asked, exchange, interceptor, settings.recorder)
            else:
                parsed = asked.parse(route.format)
                prepare = (interceptor.failover or interceptor).prepare
                interception = await prepare(asked, parsed, route.format, exchange)
                del asked, parsed, headers, prepare  # the answer may take long
                await interception.run()

    def _admit(self) -> None:
        """Raise a `GatewayError` if no request is accepted now."""
        if self._draining:
            raise Draining("The gateway is about to stop. Try again in a moment.")
        most = self.settings.max_concurrent_requests
        if len(self._in_flight.exchanges) > most:
            raise OverCapacity(f"The gateway is at capacity: at most {most} requests at a time. Try again in a moment.")

    def _socket_services(self) -> Services:
        """Return what WebSockets need of the bridge."""

        def limit(actor: Actor) -> AbstractContextManager[None]:
            return self._rate_limiter.enter(actor.id) if self._rate_limiter else nullcontext()

        def check_limits(actor: Actor) -> None:
            if self._rate_limiter is not None:
                self._rate_limiter.check(actor.id)

        return Services(
            deadlines=self._deadlines,
            in_flight=self._in_flight,
            interceptor=self._interceptors.present,
            admit=self._admit,
            identify=self._identify,
            check_limits=check_limits,
            limit=limit,
            refused=self._refuse_message,
        )

    async def _identify(self, request: Any, exchange: IExchange) -> Actor:
        return await identify(self._authenticate, request, exchange.wait) if self._authenticate else ANONYMOUS

    def _refuse_message(self, handshake: Handshake, error: GatewayError) -> None:
        request = handshake.request
        target = f"/{request.path.provider}".encode() + request.path.raw
        self.refusal(target, error, b"GET", request.headers, request.actor)

    def _refuse(self, request: Any, exchange: Exchange, error: GatewayError) -> None:
        """Respond with an error, or cut off an answer that has begun."""
        try:
            if exchange.reply.begun:
                exchange.reply.abort()
                return
            if type(error) is RouteUnknown:
                error = self._base_urls.explain(request, error)
            headers = RawHeaders.of(request.requestHeaders)
            body = self.refusal(request.uri, error, request.method, headers, exchange.actor)
            exchange.reply.refuse(error, body)
        except Exception:
            _log.failure("request not answered")
            exchange.reply.abort()

    def refusal(
        self, target: bytes, error: GatewayError, method: bytes, headers: RawHeaders, actor: Actor | None = None
    ) -> dict[str, Any]:
        """Count and log a refused request, and return the error's body in the shape of the API that it was sent to.

        Of a request whose head is incomplete, method and headers are empty.
        """
        path = split_target(target)[1]
        self._refusal_log.add(error, method, path, headers.by_name, actor.id if actor is not None else None)
        segments = path.decode("ascii", "replace").split("/")
        interceptors = self._interceptors.by_name
        interceptor = next((interceptors[name] for name in segments if name in interceptors), None)
        name = interceptor.provider.name if interceptor else ""
        self.metrics.refused.labels(name, str(error.status)).inc()
        if interceptor is None:
            return error.as_either()
        if interceptor.adapter is None:
            return interceptor.provider.error_body(error)
        path_below = "/" + "/".join(segments[segments.index(name) + 1 :])
        return interceptor.adapter.provider.error_body_on(path_below, error)


def _the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def _wants_websocket(request: Any) -> bool:
    values = request.requestHeaders.getRawHeaders(b"upgrade", ())
    return any(b"websocket" in value.lower() for value in values)

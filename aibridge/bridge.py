"""The Resource that a host program mounts: below it are the providers, each under its name."""

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from .client.paths import RequestPath, read_path
from .client.reply import Reply
from .client.request import ClientRequest
from .errors import Draining, GatewayError, OverCapacity, RouteUnknown, UpgradeRefused
from .http.agent import UpstreamAgent
from .http.deadlines import Deadlines
from .identity.authenticate import Authenticate, as_function, identify
from .in_flight import InFlight
from .interceptor import Interceptor
from .interfaces import IAuthenticator, IMemory, IRecorder, IToolbox
from .metrics import Metrics
from .passthrough import pass_through
from .providers.base import Provider
from .rate_limits import Limits, RateLimiter
from .record.batches import batch_writer
from .tools.conversation import Conversations
from .tools.memory import ShortMemory
from .upstream.circuit_breaker import Circuits
from .upstream.client import Upstream
from .waiters import Waiters

_log = Logger()
_MOST_BODY_BYTES = 64 * 1024 * 1024


class RequestBridge(Resource):
    """Relays and records the requests below it, under any path of any Site, as often in one process as one likes.

    `authenticate` takes the request and gives its `Actor` or None, as a value or a Deferred; without it everyone is
    ``anonymous``. `agent` is any IAgent, in place of the bridge's own. `max_body_bytes` bounds a request's body,
    unpacked too; over `max_concurrent_requests` requests are refused with 503, and what is over an actor's `limits`
    with 429. `stall_timeout`: the seconds that a client may take nothing of its answer. With a `toolbox` its tools are
    offered to every model, in at most `max_rounds` rounds an answer; `memory` keeps what clients don't see of them, in
    this process unless one is given.
    """

    isLeaf = True

    def __init__(
        self,
        providers: Sequence[Provider],
        recorder: IRecorder,
        authenticate: Authenticate | IAuthenticator | None = None,
        *,
        metrics: Metrics | None = None,
        max_body_bytes: int = _MOST_BODY_BYTES,
        max_concurrent_requests: int = 10_000,
        limits: Limits | None = None,
        stall_timeout: float = 600.0,
        agent: IAgent | None = None,
        toolbox: IToolbox | None = None,
        memory: IMemory | None = None,
        max_rounds: int = 25,
        reactor: Any = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.metrics = metrics or Metrics(CollectorRegistry())
        self._reactor = reactor or _the_reactor()
        self._watchdog = Deadlines(self._reactor)
        self._underway = InFlight()
        self._authenticate = as_function(authenticate)
        self._recorder = recorder
        self._record_all = batch_writer(recorder)
        self._max_body_bytes = max_body_bytes
        self._max_concurrent_requests = max_concurrent_requests
        self._rate_limiter = RateLimiter(limits or Limits(), self._reactor)
        self._stall_timeout = stall_timeout
        self._conversations = Conversations(toolbox, memory or ShortMemory(), max_rounds) if toolbox else None
        self._own_agents: list[UpstreamAgent] = []
        self._interceptors = {provider.name: self._interceptor(provider, agent) for provider in providers}
        self.in_flight = 0
        """How many requests are under way."""
        self._idle = Waiters()
        self._draining = False

    def circuits(self) -> dict[str, list[dict[str, Any]]]:
        """Of each provider the circuits that aren't closed, as JSON values for operators."""
        made = {name: interceptor.circuits for name, interceptor in self._interceptors.items()}
        return {name: circuits.report() if circuits else [] for name, circuits in sorted(made.items())}

    def startService(self) -> None:
        """Ready from the beginning; here for hosts that start and stop everything alike."""
        self._draining = False

    def drain(self, seconds: float) -> "Deferred[None]":
        """Refuses new requests. Fires when none is under way, when that time is over, or when it is cancelled."""
        self._draining = True
        idle = self._when_idle().addTimeout(seconds, self._reactor, onTimeoutCancel=lambda result, seconds: None)
        return idle.addErrback(lambda failure: failure.trap(CancelledError) and None)

    def stopService(self) -> "Deferred[None]":
        """Breaks off what is still under way; fires when each has been recorded to its end."""
        return Deferred.fromCoroutine(self._stop())

    shutdown = stopService

    def render(self, request: Any) -> int:
        """Answers in its own time."""
        Deferred.fromCoroutine(self._serve(request))
        return NOT_DONE_YET

    def refusal(self, target: bytes, error: GatewayError) -> dict[str, Any]:
        """Counts a request that is refused, and gives the error's body in the shape of the API it was meant for."""
        segments = target.decode("ascii", "replace").split("/")
        interceptor = next((self._interceptors[name] for name in segments if name in self._interceptors), None)
        name = interceptor.provider.name if interceptor else ""
        self.metrics.refused.labels(name, str(error.status)).inc()
        return interceptor.provider.error_body(error) if interceptor else error.as_either()

    async def _serve(self, request: Any) -> None:
        reply = Reply(request, self._reactor.callLater)
        self.in_flight += 1
        try:
            path = read_path(request.uri, len(request.prepath))
            await self._answer(request, reply, self._interceptor_of(path), path)
        except GatewayError as error:
            self._refuse(request, reply, error)
        except Exception:
            _log.failure("a request failed")
            self._refuse(request, reply, GatewayError("The gateway failed; its log says why."))
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.notify()

    async def _answer(self, request: Any, reply: Reply, interceptor: Interceptor, path: RequestPath) -> None:
        if request.method == b"GET" and _wants_websocket(request):
            raise UpgradeRefused("There are no WebSockets here: go on over HTTP.")
        route = interceptor.provider.route(request.method, path.decoded)
        if route.answered_here:
            reply.answer_json({})
            return
        self._admit()
        actor = await identify(self._ask_who, request)
        if reply.gone:
            return
        ask = ClientRequest(request, path, route, actor, self._max_body_bytes)
        with self._rate_limiter.enter(actor.id):
            if route.format is None:
                await pass_through(ask, reply, interceptor.provider, interceptor.upstream, self._recorder, self.metrics)
            else:
                await (await interceptor.intercept(ask, route.format, reply)).run()

    def _refuse(self, request: Any, reply: Reply, error: GatewayError) -> None:
        """No client is left waiting, whatever failed."""
        try:
            if reply.begun:
                reply.cut()
            else:
                reply.refuse(error, self.refusal(request.uri, error))
        except Exception:
            _log.failure("a request was not answered")

    def _ask_who(self, request: Any) -> Any:
        actor = self._authenticate(request)
        return self._underway.track(actor) if isinstance(actor, Deferred) else actor

    def _admit(self) -> None:
        if self._draining:
            raise Draining("The gateway is about to stop; come again.")
        if self.in_flight > self._max_concurrent_requests:
            raise OverCapacity("As many requests are under way as the gateway takes.")

    def _interceptor_of(self, path: RequestPath) -> Interceptor:
        try:
            return self._interceptors[path.provider]
        except KeyError:
            raise RouteUnknown(f"There is no provider {path.provider[:64]!r} here.") from None

    def _interceptor(self, provider: Provider, agent: IAgent | None) -> Interceptor:
        if agent is None:
            agent = UpstreamAgent(self._reactor, connect_timeout=provider.connect_timeout)
            self._own_agents.append(agent)
        upstream = Upstream(
            name=provider.name,
            agent=agent,
            clock=self._reactor,
            watchdog=self._watchdog,
            underway=self._underway,
            first_byte_timeout=provider.first_byte_timeout,
            idle_timeout=provider.idle_timeout,
            stall_timeout=self._stall_timeout,
        )
        return Interceptor(
            provider,
            upstream,
            self._record_all,
            self.metrics,
            self._watchdog,
            self._underway,
            self._reactor,
            self._conversations,
            self._circuits(provider),
        )

    def _circuits(self, provider: Provider) -> Circuits | None:
        settings = provider.circuit_breaker
        return Circuits(provider.name, settings, self.metrics, self._reactor) if settings is not None else None

    async def _stop(self) -> None:
        self._draining = True
        self._underway.stop()
        await DeferredList([agent.close() for agent in self._own_agents])
        await self._when_idle()
        self._watchdog.stop()

    def _when_idle(self) -> "Deferred[None]":
        return self._idle.wait() if self.in_flight else succeed(None)


def _the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def _wants_websocket(request: Any) -> bool:
    values = request.requestHeaders.getRawHeaders(b"upgrade", ())
    return any(b"websocket" in value.lower() for value in values)

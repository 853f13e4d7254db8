"""The interceptors of all providers. They are made anew when the settings change, while exchanges are under way."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from weakref import WeakSet

from attrs import Attribute, field, frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.iweb import IAgent

from .access import ProviderAccess
from .costs.calculator import Prices
from .dumps.providers import Dumps
from .failover import Failover
from .http.agent import UpstreamAgent
from .http.client import make_client
from .http.deadlines import Deadlines
from .http.tls import TLSPolicy
from .identity.authenticate import Authenticate
from .interceptor import Interceptor
from .interfaces import (
    IAuthenticator,
    IAuthorizer,
    IBatchRecorder,
    IBudgets,
    IMemory,
    IProvider,
    IProviderPolicy,
    IRecorder,
    IToolbox,
    ITracer,
    IUpstream,
)
from .metrics import Metrics
from .rate_limits import Limits
from .record.batches import batch_writer
from .retries import FailedTurns
from .settings import InvalidSetting, kind_of
from .stored_objects import guard_storage
from .tools.conversation import Conversations
from .tracing.upstream import TracedUpstream
from .upstream.adaptation import make_adapter
from .upstream.circuit_breaker import Circuits
from .upstream.client import Upstream
from .upstream.key_pool import make_pool
from .upstream.pooled import PooledUpstream
from .upstream.refusals import LearntRefusals
from .websocket.settings import WebSocketSettings

MAX_BODY_BYTES = 64 * 1024 * 1024


def _check_providers(_: object, attribute: "Attribute[Any]", value: Sequence[IProvider]) -> None:
    names = [provider.name for provider in value if IProvider.providedBy(provider)]
    if len(names) < len(value):
        raise InvalidSetting(attribute.name, "must be a list of providers, such as [AnthropicProvider(api_key=...)]")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidSetting(attribute.name, f"two are named {twice[0]!r}; give one of them another name=")


def _check_recorder(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if not callable(getattr(value, "record_interception", None)) and not IBatchRecorder.providedBy(value):
        raise InvalidSetting(attribute.name, f"must provide IRecorder, as SQLRecorder does, not {kind_of(value)}")


def _check_authenticate(_: object, attribute: "Attribute[Any]", value: Any) -> None:
    if value is not None and not callable(value) and not IAuthenticator.providedBy(value):
        raise InvalidSetting(attribute.name, f"must be a function, or provide IAuthenticator, not {kind_of(value)}")


@frozen(kw_only=True)
class BridgeSettings:
    """The settings of a bridge that can change while it serves; `RequestBridge` says what each means.

    :raises ValueError: for providers of one name, and for what is no provider, recorder or authenticator.
    """

    providers: Sequence[IProvider] = field(validator=_check_providers)
    recorder: IRecorder = field(validator=_check_recorder)
    authenticate: Authenticate | IAuthenticator | None = field(default=None, validator=_check_authenticate)
    max_body_bytes: int = MAX_BODY_BYTES
    max_concurrent_requests: int = 10_000
    limits: Limits | None = None
    stall_timeout: float = 600.0
    toolbox: IToolbox | None = None
    memory: IMemory | None = None
    max_rounds: int = 25
    max_tools: int | None = None
    cors_origins: Collection[str] = ()
    prices: Prices | None = None
    websocket: WebSocketSettings = field(factory=WebSocketSettings)
    tracer: ITracer | None = None


@frozen(eq=False)
class _OwnAgent:
    """The bridge's own HTTP client for one provider, and the settings that it was made with."""

    agent: UpstreamAgent
    made_with: tuple[object, ...] = field(repr=False)


class Interceptors:
    """The interceptor of each provider.

    An exchange keeps the interceptor with which it began, so a change of settings does not reach it. What providers and
    gateway know of each other outlives the change: free connections, where the settings of connections stay the same;
    open circuits and learnt refusals, where all settings of the provider do.

    :param agent: sends the requests to all providers, in place of a client of the bridge's own for each.
    """

    def __init__(self, metrics: Metrics, deadlines: Deadlines, agent: IAgent | HTTPClient | None, reactor: Any) -> None:
        self.by_name: Mapping[str, Interceptor] = {}
        self._metrics = metrics
        self._deadlines = deadlines
        self._agent = agent
        self._reactor = reactor
        self._own: dict[str, _OwnAgent] = {}
        self._retired: WeakSet[UpstreamAgent] = WeakSet()
        """Earlier agents; each lives as long as an exchange that uses it."""
        self.dumps = Dumps(metrics, reactor)

    def apply(self, settings: BridgeSettings, conversations: Conversations | None) -> None:
        """Make the interceptors for these settings. If they can't be used, nothing changes."""
        _check_fallbacks(settings.providers)
        self.dumps.apply(settings.providers)
        before = self.by_name
        self.by_name = {
            provider.name: self._make(provider, settings, conversations, before.get(provider.name))
            for provider in settings.providers
        }
        _add_failovers(self.by_name)
        for name in self._own.keys() - self.by_name.keys():
            self._retire(self._own.pop(name))
        for name, interceptor in before.items():
            successor = self.by_name.get(name)
            if interceptor.circuits and (successor is None or successor.circuits is not interceptor.circuits):
                interceptor.circuits.retire()

    def present(self, earlier: Interceptor) -> Interceptor:
        """Return the interceptor that has taken the place of an earlier one, if its provider is still the same."""
        present = self.by_name.get(earlier.provider.name)
        return present if present is not None and present.provider == earlier.provider else earlier

    def circuits(self) -> dict[str, list[dict[str, object]]]:
        """Return the circuits that are not closed, as JSON values, for each provider."""
        made = {name: interceptor.circuits for name, interceptor in self.by_name.items()}
        return {name: circuits.report() if circuits else [] for name, circuits in sorted(made.items())}

    def refusals(self) -> dict[str, list[dict[str, str]]]:
        """Return what providers refuse of the gateway's additions to requests, as JSON values, for each provider."""
        return {name: interceptor.refusals.report() for name, interceptor in sorted(self.by_name.items())}

    def keys(self) -> dict[str, list[dict[str, object]]]:
        """Return the keys that cool down, as JSON values, for each provider with a pool of keys."""
        accesses = {name: interceptor.access for name, interceptor in sorted(self.by_name.items())}
        return {name: access.pool.report() for name, access in accesses.items() if access and access.pool}

    def credentials(self) -> dict[str, str]:
        """Return the state of the credentials that are looked for in a cloud, for each such provider."""
        return {name: authorizer.problem or "ok" for name, authorizer in sorted(self._authorizers())}

    def start(self) -> None:
        """Begin to look for credentials in clouds, so that no request need wait for them.

        After `close`, connections are made again.
        """
        for own in self._own.values():
            own.agent.open()
        for _, authorizer in self._authorizers():
            authorizer.start()

    def _authorizers(self) -> Iterator[tuple[str, IAuthorizer]]:
        for name, interceptor in self.by_name.items():
            if interceptor.adapter is not None and interceptor.adapter.authorizer is not None:
                yield name, interceptor.adapter.authorizer

    def close(self) -> "Deferred[list[None]]":
        """Close every connection to a provider. Fires when all are closed."""
        agents = [*(own.agent for own in self._own.values()), *self._retired]
        return gatherResults([agent.close() for agent in agents])

    def _make(
        self,
        provider: IProvider,
        settings: BridgeSettings,
        conversations: Conversations | None,
        before: Interceptor | None,
    ) -> Interceptor:
        """Make a provider's interceptor, with what its predecessor has that still holds."""
        own = self._own_agent(provider) if self._agent is None else None
        access = self._access(provider, settings, before)
        upstream = self._upstream(provider, settings, own)
        if access is not None and access.pool is not None:
            upstream = PooledUpstream(upstream, access.pool, self._deadlines)
        if settings.tracer is not None:
            upstream = TracedUpstream(upstream)
        same = before if before is not None and before.provider == provider else None
        name, breaker = provider.name, provider.circuit_breaker
        circuits = same.circuits if same else None
        if breaker is not None and circuits is None:
            circuits = Circuits(name, breaker, self._metrics, self._reactor)
        return Interceptor(
            provider=provider,
            upstream=upstream,
            access=access,
            record_all=batch_writer(settings.recorder),
            metrics=self._metrics,
            deadlines=self._deadlines,
            clock=self._reactor,
            observe=partial(self._observe, provider, settings.tracer),
            tracer=settings.tracer,
            conversations=conversations,
            prices=settings.prices,
            budgets=IBudgets(settings.recorder, None),
            agent=own,
            refusals=same.refusals if same else LearntRefusals(name, self._metrics.learnt_refusals, self._reactor),
            circuits=circuits,
            failed_turns=same.failed_turns if same else FailedTurns(),
            adapter=same.adapter if same else make_adapter(provider, self._reactor),
        )

    def _upstream(self, provider: IProvider, settings: BridgeSettings, own: UpstreamAgent | None) -> IUpstream:
        """Return a provider's HTTP side, with its dumps."""
        agent = own or self._agent
        assert agent is not None
        upstream = Upstream(
            name=provider.name,
            client=make_client(agent, self._reactor),
            clock=self._reactor,
            deadlines=self._deadlines,
            first_byte_timeout=provider.first_byte_timeout,
            idle_timeout=provider.idle_timeout,
            stall_timeout=settings.stall_timeout,
        )
        return self.dumps.observe(provider, upstream)

    def _observe(self, provider: IProvider, tracer: ITracer | None, upstream: IUpstream) -> IUpstream:
        """Return another HTTP side of a provider, with its dumps and its traces."""
        dumped = self.dumps.observe(provider, upstream)
        return dumped if tracer is None else TracedUpstream(dumped)

    def _access(
        self, provider: IProvider, settings: BridgeSettings, before: Interceptor | None
    ) -> ProviderAccess | None:
        """Return the keys and the storage of a provider; None if it has one key, and nothing to guard."""
        known = before.access.pool if before is not None and before.access is not None else None
        pool = make_pool(provider, self._metrics, self._reactor, known)
        policies = [IProviderPolicy(each, None) for each in settings.providers]
        is_fallback = any(policy is not None and provider.name in policy.fallback for policy in policies)
        objects = guard_storage(provider, settings.recorder, settings.authenticate is not None, is_fallback)
        return ProviderAccess(pool, objects) if pool or objects else None

    def _own_agent(self, provider: IProvider) -> UpstreamAgent:
        """Return the client for a provider: the present one, if its connections are made in the same way."""
        files = [provider.ca_file, provider.client_cert]
        contents = [sha256(Path(name).read_bytes()).digest() if name is not None else None for name in files]
        made_with = (provider.connect_timeout, provider.proxy, *files, *contents)
        present = self._own.get(provider.name)
        if present is not None and present.made_with == made_with:
            return present.agent
        agent = UpstreamAgent(
            self._reactor,
            connect_timeout=provider.connect_timeout,
            tls_policy=TLSPolicy(provider.ca_file, provider.client_cert),
            proxy=provider.proxy,
        )
        if present is not None:
            self._retire(present)
        self._own[provider.name] = _OwnAgent(agent, made_with)
        return agent

    def _retire(self, own: _OwnAgent) -> None:
        """Let exchanges that are under way use the client to their end; it keeps no free connection for others."""
        own.agent.retire()
        self._retired.add(own.agent)


def _check_fallbacks(providers: Sequence[IProvider]) -> None:
    """Raise ValueError if there is no provider of a fallback's name."""
    names = {provider.name for provider in providers}
    for provider in providers:
        policy = IProviderPolicy(provider, None)
        unknown = set(policy.fallback) - (names - {provider.name}) if policy is not None else ()
        for fallback in unknown:
            raise ValueError(f"{provider.name}.fallback: no other provider is named {fallback!r}")


def _add_failovers(interceptors: Mapping[str, Interceptor]) -> None:
    """Give each provider with fallbacks its failover."""
    for interceptor in interceptors.values():
        policy = IProviderPolicy(interceptor.provider, None)
        if policy is not None and policy.fallback:
            fallbacks = [interceptors[fallback] for fallback in policy.fallback]
            interceptor.failover = Failover(interceptor, fallbacks, policy.fallback_mid_conversation)

"""The parts of a standalone gateway, made from its configuration. They are connected, but not started."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from attrs import asdict, frozen
from prometheus_client import CollectorRegistry, ProcessCollector

from ..bridge import RequestBridge
from ..config.model import Config, ServerConfig
from ..costs.calculator import Prices
from ..costs.load import load_prices
from ..errors import RecordingError
from ..http.server import GatewaySite
from ..identity.disabled_users import DisabledUsers, EnabledUsersOnly, find_disabled
from ..identity.header import HeaderAuthenticator
from ..identity.keys import KeyAuthenticator
from ..interceptors import BridgeSettings
from ..interfaces import IAuthenticator, ITracer
from ..metrics import Metrics, ServerStates
from ..rate_limits import IRateLimiter
from ..record.budgets.budget_store import BudgetStore
from ..record.budgets.gate import BudgetEvents
from ..record.budgets.notices import Notices
from ..record.budgets.warnings import BudgetWarning
from ..record.upgrade import upgrade_apart
from ..recorder import FilteredRecorder, SQLRecorder
from ..tools.sql_memory import SQLMemory
from ..tools.toolbox import Toolbox, make_toolbox
from ..websocket.settings import WebSocketSettings
from .admin import Admin, Check, run_checks
from .budget_webhook import BudgetWebhook
from .console_part import ConsolePart
from .gateway import GatewayService
from .spend_limits import SpendLimits

_SITE_SETTINGS = (
    "max_body_bytes",
    "head_timeout",
    "body_timeout",
    "request_timeout",
    "keepalive_timeout",
    "stall_timeout",
)
"""The keys of the configuration's ``server`` section that a site has too."""


@frozen(kw_only=True)
class Parts:
    """The parts of a standalone gateway."""

    gateway: GatewayService
    registry: CollectorRegistry
    """The metrics."""
    sites: Mapping[str, GatewaySite]
    """The sites that listen, in this order, each by its endpoint's key in the configuration's ``server`` section."""
    reload: Callable[[Config, Prices | None], Awaitable[None]]
    """Lets the parts serve with another configuration and these prices, from the moment on at which it returns."""
    report: Callable[[], Awaitable[dict[str, Any]]]
    """Returns the report of readiness."""
    webhook: BudgetWebhook | None = None
    """Sends warnings about budgets, if that is configured. It runs beside the gateway."""
    console: ConsolePart | None = None


def assemble(config: Config, reactor: Any, rate_limiter: IRateLimiter | None = None) -> Parts:
    """Make and connect all parts that the configuration asks for.

    :param rate_limiter: counts requests together with those of other processes.
    """
    assembly = _Assembly(config, configured_prices(config), rate_limiter, reactor)
    return Parts(
        gateway=assembly.gateway,
        registry=assembly.metrics.registry,
        sites=assembly.sites,
        webhook=assembly.webhook,
        reload=assembly.reload,
        report=assembly.report,
        console=assembly.console,
    )


def configured_prices(config: Config) -> Prices | None:
    """Return the prices of the configured providers. Takes up to a second, and blocks; see `load_prices`."""
    return load_prices(config.prices, *config.price_sources)


class _Assembly:
    """The parts of one gateway. When the configuration changes, recorder, metrics and sites stay."""

    def __init__(self, config: Config, prices: Prices | None, rate_limiter: IRateLimiter | None, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.metrics = Metrics(registry)
        ServerStates(registry, self._server_states)
        self.webhook = _make_webhook(config, reactor)
        self._recorder = _make_recorder(config, self.metrics, self.webhook, reactor)
        self._memory: SQLMemory | None = None
        self._authenticator = AUTHENTICATORS[config.auth.mode](config, reactor)
        self._disabled = DisabledUsers(find_disabled(config.database.url, reactor), reactor)
        self._toolbox = make_toolbox(config.mcp.servers.values(), reactor) if config.mcp.servers else None
        self._tracer = _make_tracer(config, self.metrics, reactor)
        settings = self._settings(config, prices, self._authenticator, self._toolbox)
        self._bridge = RequestBridge(
            **asdict(settings, recurse=False), metrics=self.metrics, rate_limiter=rate_limiter, reactor=reactor
        )
        self._checks: dict[str, Check] = {}
        self._set_checks()
        self.console = ConsolePart(config, partial(run_checks, self._checks), registry, reactor)
        admin = Admin(registry, self._checks, self.console.root)
        admin.putChild(b"v1", make_spend_limits(config, self.console, reactor))
        self.sites = {  # in this order: whoever reaches the gateway can ask for its state
            "admin_listen": make_site(admin, config.server, reactor),
            "listen": make_site(self._bridge, config.server, reactor),
        }
        self.gateway = GatewayService(
            self._bridge,
            self._recorder,
            toolbox=self._toolbox,
            drain_seconds=config.server.drain_seconds,
            reactor=reactor,
        )

    async def reload(self, config: Config, prices: Prices | None) -> None:
        """Let the parts serve with another configuration, whose listeners and database are the present ones."""
        authenticator, toolbox, servers = self._authenticator, self._toolbox, config.mcp.servers
        if config.auth != self._config.auth or config.auth.jwks_file:
            authenticator = AUTHENTICATORS[config.auth.mode](config, self._reactor)
        if servers != self._config.mcp.servers:
            present = toolbox or Toolbox(())
            toolbox = present.with_servers(servers.values(), self._reactor) if servers else None
        if config.otel != self._config.otel:
            self._tracer = _make_tracer(config, self.metrics, self._reactor)
        await self.gateway.reload(self._settings(config, prices, authenticator, toolbox), toolbox)
        self.console.reload(config)
        self.gateway.drain_seconds = config.server.drain_seconds
        for site in self.sites.values():
            set_limits(site, config.server)
        self._config, self._authenticator, self._toolbox = config, authenticator, toolbox
        self._set_checks()

    def _settings(
        self, config: Config, prices: Prices | None, authenticator: IAuthenticator | None, toolbox: Toolbox | None
    ) -> BridgeSettings:
        if toolbox is not None and self._memory is None:
            self._memory = SQLMemory(config.database.url, self._recorder, self._reactor)
        return BridgeSettings(
            providers=[*config.providers.values()],
            recorder=FilteredRecorder(self._recorder, config.record),
            authenticate=EnabledUsersOnly(authenticator, self._disabled) if authenticator else None,
            max_body_bytes=config.server.max_body_bytes,
            max_concurrent_requests=config.server.max_concurrent_requests,
            limits=config.limits,
            stall_timeout=config.server.stall_timeout,
            cors_origins=config.server.cors_origins,
            websocket=WebSocketSettings(
                max_age=config.server.websocket_max_age,
                idle_timeout=config.server.websocket_idle_timeout,
                per_actor=config.server.websocket_per_actor,
                connections=config.server.websocket_connections,
                compression=config.server.websocket_compression,
            ),
            toolbox=toolbox,
            memory=self._memory,
            max_rounds=config.mcp.max_rounds,
            max_tools=config.mcp.max_tools,
            prices=prices,
            tracer=self._tracer,
        )

    async def report(self) -> dict[str, Any]:
        """Return the report of ``/readyz``."""
        return await run_checks(self._checks)

    def _server_states(self) -> dict[str, bool]:
        return {each["name"]: each["state"] == "up" for each in self._toolbox.status()} if self._toolbox else {}

    def _set_checks(self) -> None:
        """Set the parts of the readiness report. The operator's site reads them for each request."""
        self._checks.clear()
        self._checks["database"] = lambda: _check_recorder(self._recorder)
        self._checks["providers"] = self._bridge.circuits
        self._checks["refusals"] = self._bridge.refusals
        if self._bridge.credentials():
            self._checks["credentials"] = self._bridge.credentials
        if self._bridge.keys():
            self._checks["keys"] = self._bridge.keys
        if self._bridge.dumps():
            self._checks["dumps"] = self._bridge.dumps
        check = getattr(self._authenticator, "check", None)  # of keys and of tokens
        if check is not None:
            self._checks["authentication"] = check
        if self._toolbox is not None:
            self._checks["mcp"] = self._toolbox.status


def _make_jwt_authenticator(config: Config, reactor: Any) -> IAuthenticator:
    from ..identity.jwt import JWTAuthenticator  # with PyJWT, which only this mode needs

    auth = config.auth
    # Held by the configuration: the mode "jwt" needs both.
    assert auth.issuer is not None and auth.audience is not None
    return JWTAuthenticator(
        issuer=auth.issuer,
        audience=auth.audience,
        jwks_url=auth.jwks_url,
        jwks_file=auth.jwks_file,
        actor_claim=auth.actor_claim,
        leeway=auth.leeway,
        metadata_claims=auth.metadata_claims,
        reactor=reactor,
    )


AUTHENTICATORS: Mapping[str, Callable[[Config, Any], IAuthenticator | None]] = {
    "none": lambda config, reactor: None,
    "keys": lambda config, reactor: KeyAuthenticator(config.database.url, reactor=reactor),
    "header": lambda config, reactor: HeaderAuthenticator(
        trusted_proxies=config.auth.trusted_proxies,
        header=config.auth.header,
        metadata_headers=config.auth.metadata_headers,
    ),
    "jwt": _make_jwt_authenticator,
}
"""The maker of each authentication mode's authenticator; mode ``none`` has none."""


def make_spend_limits(config: Config, console: ConsolePart, reactor: Any) -> SpendLimits:
    """Make the resource of budgets for the operator's site, with the rights that the console has now."""
    return SpendLimits(BudgetStore(config.database.url, config.budget), reactor, console.authorize)


def _make_webhook(config: Config, reactor: Any) -> BudgetWebhook | None:
    budget = config.budget
    if budget.webhook is None or budget.webhook_secret is None:
        return None
    return BudgetWebhook(budget.webhook, budget.webhook_secret, Notices(config.database.url), reactor)


def _make_tracer(config: Config, metrics: Metrics, reactor: Any) -> ITracer | None:
    """Make the tracer, if traces are configured. Only then are OpenTelemetry's packages imported."""
    if config.otel is None:
        return None
    from ..tracing.tracer import Tracer

    return Tracer(config.otel, metrics, reactor)


def _make_recorder(config: Config, metrics: Metrics, webhook: BudgetWebhook | None, reactor: Any) -> SQLRecorder:
    """Make the recorder, and connect its figures to the metrics."""

    def warned(warning: BudgetWarning) -> None:
        metrics.budget_warnings.labels(warning.standing.cap.scope).inc()
        if webhook is not None:
            webhook.wake()

    def show_cap(scope: str, name: str) -> None:
        ratio = metrics.budget_used.labels(scope, name)
        ratio.set_function(lambda: recorder.gate.used_ratio(scope, name) if recorder.gate else 0.0)

    commits = metrics.commit.labels()
    recorder = SQLRecorder(
        **asdict(config.database),
        budgets=config.budget,
        budget_events=BudgetEvents(
            on_refused=lambda scope: metrics.budget_refusals.labels(scope).inc(), on_warning=warned, on_cap=show_cap
        ),
        reactor=reactor,
        observe=lambda seconds, rows: commits.observe(seconds),
        upgrade=upgrade_apart,
    )
    metrics.budget_reserved.set_function(lambda: recorder.gate.reserved_usd if recorder.gate else 0.0)
    metrics.queued_rows.set_function(lambda: recorder.queued_rows)
    metrics.spooled_rows.set_function(lambda: recorder.spooled_rows)
    return recorder


def _check_recorder(recorder: SQLRecorder) -> dict[str, Any]:
    """Return the recorder's state. Raise `RecordingError` if no request can be recorded now.

    The database may be away as long as the spool has room, unless it has never been reached: its URL may be wrong.
    """
    state = recorder.state()
    if state.refuses:
        raise RecordingError(state.refuses)
    if not state.reached:
        raise RecordingError(f"the database has never been reached: {state.reason or 'the first connection is tried'}")
    return asdict(state)


def make_site(resource: Any, server: ServerConfig, reactor: Any) -> GatewaySite:
    """Return a site that serves a resource within the configured limits."""
    return GatewaySite(resource, **{name: getattr(server, name) for name in _SITE_SETTINGS}, reactor=reactor)


def set_limits(site: GatewaySite, server: ServerConfig) -> None:
    """Let a site have other configured limits from its next connection on."""
    for name in _SITE_SETTINGS:
        setattr(site, name, getattr(server, name))

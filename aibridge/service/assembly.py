"""The parts of a standalone gateway, made from its configuration. They are connected, but not started."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import asdict, frozen
from prometheus_client import CollectorRegistry, ProcessCollector

from ..bridge import RequestBridge
from ..config.model import Config, ServerConfig
from ..costs.load import load_prices
from ..errors import RecordingError
from ..http.server import GatewaySite
from ..identity.header import HeaderAuthenticator
from ..identity.jwt import JWTAuthenticator
from ..identity.keys import KeyAuthenticator
from ..interfaces import IAuthenticator
from ..metrics import Metrics
from ..recorder import FilteredRecorder, SQLRecorder
from ..tools.sql_memory import SQLMemory
from ..tools.toolbox import make_toolbox
from .admin import Admin, Check
from .gateway import GatewayService


@frozen(kw_only=True)
class Parts:
    """The parts of a standalone gateway."""

    gateway: GatewayService
    sites: Mapping[str, GatewaySite]
    """The sites that listen, in this order, each by its endpoint's key in the configuration's ``server`` section."""


def assemble(config: Config, reactor: Any) -> Parts:
    """Make and connect all parts that the configuration asks for."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = Metrics(registry)
    recorder = _make_recorder(config, metrics, reactor)
    authenticator = AUTHENTICATORS[config.auth.mode](config, reactor)
    toolbox = make_toolbox(config.mcp.servers.values(), reactor) if config.mcp.servers else None
    bridge = RequestBridge(
        providers=[*config.providers.values()],
        recorder=FilteredRecorder(recorder, config.record),
        authenticate=authenticator,
        metrics=metrics,
        max_body_bytes=config.server.max_body_bytes,
        max_concurrent_requests=config.server.max_concurrent_requests,
        limits=config.limits,
        stall_timeout=config.server.stall_timeout,
        cors_origins=config.server.cors_origins,
        toolbox=toolbox,
        memory=SQLMemory(config.database.url, recorder, reactor) if toolbox is not None else None,
        max_rounds=config.mcp.max_rounds,
        max_tools=config.mcp.max_tools,
        prices=load_prices(config.prices, {name: each.base_url for name, each in config.providers.items()}),
        reactor=reactor,
    )
    checks: dict[str, Check] = {"database": lambda: _check_recorder(recorder), "providers": bridge.circuits}
    checks["refusals"] = bridge.refusals
    if isinstance(authenticator, KeyAuthenticator | JWTAuthenticator):
        checks["authentication"] = authenticator.check
    if toolbox is not None:
        checks["mcp"] = toolbox.status
    admin = Admin(registry, checks)
    sites = {  # in this order: whoever reaches the gateway can ask for its state
        "admin_listen": _make_site(admin, config.server, reactor),
        "listen": _make_site(bridge, config.server, reactor),
    }
    gateway = GatewayService(
        bridge, recorder, toolbox=toolbox, drain_seconds=config.server.drain_seconds, reactor=reactor
    )
    return Parts(gateway=gateway, sites=sites)


def _make_jwt_authenticator(config: Config, reactor: Any) -> IAuthenticator:
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
        reactor=reactor,
    )


AUTHENTICATORS: Mapping[str, Callable[[Config, Any], IAuthenticator | None]] = {
    "none": lambda config, reactor: None,
    "keys": lambda config, reactor: KeyAuthenticator(config.database.url, reactor=reactor),
    "header": lambda config, reactor: HeaderAuthenticator(
        trusted_proxies=config.auth.trusted_proxies, header=config.auth.header
    ),
    "jwt": _make_jwt_authenticator,
}
"""The maker of each authentication mode's authenticator; mode ``none`` has none."""


def _make_recorder(config: Config, metrics: Metrics, reactor: Any) -> SQLRecorder:
    """Make the recorder, and connect its figures to the metrics."""
    recorder = SQLRecorder(
        **asdict(config.database),
        reactor=reactor,
        observe=lambda seconds, rows: metrics.commit.observe(seconds),
    )
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


def _make_site(resource: Any, server: ServerConfig, reactor: Any) -> GatewaySite:
    return GatewaySite(
        resource,
        max_body_bytes=server.max_body_bytes,
        head_timeout=server.head_timeout,
        body_timeout=server.body_timeout,
        request_timeout=server.request_timeout,
        keepalive_timeout=server.keepalive_timeout,
        stall_timeout=server.stall_timeout,
        reactor=reactor,
    )

"""The whole configuration, as values. `aibridge.config.loader` makes it."""

from collections.abc import Mapping

from attrs import field, frozen

from .. import settings
from ..console.settings import ConsoleSettings
from ..costs.settings import PriceSettings
from ..identity.header import DEFAULT_HEADER, proxies
from ..identity.metadata import DEFAULT_ACTOR_CLAIM, DEFAULT_LEEWAY, metadata_claims, metadata_headers
from ..process_log import LogSettings
from ..providers.base import Provider
from ..rate_limits import Limits
from ..record.budgets.settings import BudgetSettings
from ..record.policy import ContentPolicy
from ..record.settings import DatabaseSettings
from ..tracing.settings import TracingSettings
from . import endpoints
from .mcp import McpConfig

DEFAULT_DATABASE = "sqlite:///aibridge.sqlite"
"""The database's URL where none is configured."""

DEMO_DATABASE = "sqlite:///aibridge-demo.sqlite"
"""The database's URL of the demo."""


@frozen(kw_only=True)
class ServerConfig:
    """The gateway's listeners and limits. Times are in seconds."""

    listen: str = endpoints.endpoint("tcp:8080:interface=127.0.0.1")
    admin_listen: str = endpoints.endpoint("tcp:8081:interface=127.0.0.1", off=True)
    workers: int = settings.count(1, most=256)
    """Processes that share the port of `listen`."""
    max_body_bytes: int = settings.count(64 * 2**20)
    max_concurrent_requests: int = settings.count(10_000)
    head_timeout: float = settings.seconds(20.0)
    body_timeout: float = settings.seconds(60.0)
    request_timeout: float = settings.seconds(300.0)
    keepalive_timeout: float = settings.seconds(75.0)
    stall_timeout: float = settings.seconds(600.0)
    drain_seconds: float = settings.seconds(30.0, zero=True)
    websocket_max_age: float = settings.seconds(3600.0)
    websocket_idle_timeout: float = settings.seconds(3600.0)
    websocket_per_actor: int = settings.count(16)
    websocket_connections: int = settings.count(5000)
    websocket_compression: bool = settings.switch(False)
    cors_origins: tuple[str, ...] = settings.origins()
    """The origins of web pages that may use the gateway; without any, no browser lets a page do so."""
    tls_certificate: str | None = settings.text()
    """PEM file with the certificate of `listen`, and the certificates between it and its authority."""
    tls_key: str | None = settings.text()
    """PEM file with the certificate's private key, if that is not in the same file."""


@frozen(kw_only=True)
class AuthConfig:
    """The authentication of actors. `leeway` is in seconds."""

    mode: str = settings.choice("none", "keys", "header", "jwt", default="none")
    allow_anonymous: bool = settings.switch(False)
    header: str = settings.header_name(DEFAULT_HEADER)
    trusted_proxies: tuple[str, ...] = proxies()
    jwks_url: str | None = settings.url()
    jwks_file: str | None = settings.text()
    issuer: str | None = settings.text()
    audience: str | None = settings.text()
    actor_claim: str = settings.word(DEFAULT_ACTOR_CLAIM)
    leeway: float = settings.seconds(DEFAULT_LEEWAY, zero=True)
    metadata_claims: Mapping[str, str] = metadata_claims()
    """Mode ``jwt``: the claim of each name of metadata."""
    metadata_headers: Mapping[str, str] = metadata_headers()
    """Mode ``header``: the header of each name of metadata."""


@frozen(kw_only=True)
class Config:
    """The whole configuration; each attribute is a section of the file.

    ``record.retention_days`` of the file is ``database.retention_days`` here.
    """

    server: ServerConfig
    log: LogSettings
    database: DatabaseSettings
    record: ContentPolicy
    auth: AuthConfig
    limits: Limits
    providers: Mapping[str, Provider]
    mcp: McpConfig
    prices: PriceSettings
    otel: TracingSettings | None
    """None without an ``otel`` section: nothing is traced."""
    budget: BudgetSettings
    console: ConsoleSettings
    warnings: tuple[str, ...] = field(default=(), eq=False)
    """Lines about settings that will not work, each with its key."""

    @property
    def price_sources(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The URLs and the types of the providers, by which their prices are found."""
        urls = {name: provider.base_url for name, provider in self.providers.items()}
        return urls, {name: provider.type for name, provider in self.providers.items()}

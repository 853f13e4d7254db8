"""The configuration: TOML file, environment and command line become one frozen `Config`.

The command line beats the file, the file beats the environment. A setting that can't be used raises `ConfigError`,
which names the source of the setting, its key in that source and what is wrong with it.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from attrs import AttrsInstance, evolve, field, fields, frozen

from .. import settings
from ..console.settings import ConsoleSettings
from ..costs.settings import PriceSettings
from ..errors import ConfigError
from ..http.proxies import find_proxy, is_loopback
from ..http.server_tls import ServerCertificate
from ..identity.header import DEFAULT_HEADER, proxies
from ..identity.metadata import DEFAULT_ACTOR_CLAIM, DEFAULT_LEEWAY, metadata_claims, metadata_headers
from ..process_log import LogSettings
from ..providers import PROVIDER_TYPES, USUAL_TYPES
from ..providers.base import Provider
from ..providers.refused import RefusedSettings
from ..rate_limits import Limits
from ..record.budgets.settings import BudgetSettings
from ..record.policy import ContentPolicy
from ..record.settings import DatabaseSettings
from ..record.urls import DRIVERS, parse_url
from ..tracing.settings import TracingSettings
from ..upstream.circuit_breaker import BreakerSettings
from . import endpoints
from .budget import WebhookSecretSource, read_budget
from .console import FIGURES_RETENTION, read_console, refuse_open_console
from .endpoints import OFF, parse_endpoint
from .environment import CONFIG_VARIABLE, apply_environment
from .mcp import McpConfig, read_mcp
from .prices import read_prices
from .sources import ConfigSources, KeyPath, read_toml

T = TypeVar("T", bound=AttrsInstance)

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


@frozen(kw_only=True)
class _KeySource:
    """The source of a provider's key, if that is not the file itself."""

    api_key_env: str | None = settings.text()
    api_key_file: str | None = settings.text()


@frozen(kw_only=True)
class _KeysSource:
    """The source of a provider's keys, if it has several and they are not in the file itself."""

    api_keys_env: tuple[str, ...] = settings.words()
    api_key_files: tuple[str, ...] = settings.words()


@frozen(kw_only=True)
class _UrlSource:
    """The source of the database's URL, if that is not the file itself."""

    url_env: str | None = settings.text()
    url_file: str | None = settings.text()


_REQUIRED = {"header": ("trusted_proxies",), "jwt": ("issuer", "audience")}
"""Keys of ``[auth]`` by mode."""
_RETENTION = "retention_days"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def load_config(
    path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[KeyPath, str]] | None = None
) -> Config:
    """Return the configuration of a file, or else of the one that ``AIBRIDGE_CONFIG`` names, if any.

    ``options`` gives, for each option of the command line, the key that it sets and the value.
    """
    path = path or environ.get(CONFIG_VARIABLE)
    applied = apply_environment(read_toml(path) if path else {}, environ)
    source = path or "defaults"
    return configure(ConfigSources(applied.table, source, environ, options or {}, applied.origins, applied.texts))


def configure(sources: ConfigSources) -> Config:
    """Return the configuration that these sources make together."""
    sources.in_file((), {*_keys(Config)} - {"warnings"})
    providers = _providers(sources)
    config = Config(
        server=_server(sources),
        log=_section(sources, LogSettings, "log"),
        database=_database(sources),
        record=_record(sources),
        auth=_auth(sources),
        limits=_section(sources, Limits, "limits"),
        providers=providers,
        mcp=read_mcp(sources),
        prices=read_prices(sources, providers),
        otel=_tracing(sources),
        budget=read_budget(sources, _secret(sources, ("budget",), WebhookSecretSource, "webhook_secret")),
        console=read_console(sources),
        warnings=tuple(sources.warnings),
    )
    _refuse_anonymous_strangers(config, sources)
    _refuse_loop(config, sources)
    _refuse_one_port_for_both(config, sources)
    _refuse_private_database(config, sources)
    refuse_open_console(config.server.admin_listen, config.console, sources)
    _check_proxies(config, sources)
    _check_fallbacks(config, sources)
    return config


def _keys(cls: type[AttrsInstance]) -> list[str]:
    return [key.name for key in fields(cls)]


def _section(sources: ConfigSources, cls: type[T], name: str) -> T:
    return sources.make(cls, (name,), sources.in_file((name,), _keys(cls)) | sources.on_command_line((name,)))


def _server(sources: ConfigSources) -> ServerConfig:
    """Read ``[server]``, and check the files that it names."""
    server = _section(sources, ServerConfig, "server")
    if server.tls_certificate is None:
        if server.tls_key is not None:
            raise sources.error(("server", "tls_certificate"), "missing; server.tls_key requires it")
        return server
    if parse_endpoint(server.listen).kind == "ssl":
        raise sources.error(("server", "listen"), "has a certificate of its own: write tcp: in place of ssl:")
    folder = Path(sources.source).parent
    certificate, key = str(folder / server.tls_certificate), server.tls_key and str(folder / server.tls_key)
    try:
        ServerCertificate(certificate, key)
    except ValueError as error:
        raise sources.error(("server", "tls_certificate"), f"{server.tls_certificate}: {error}") from error
    return evolve(server, tls_certificate=certificate, tls_key=key)


def _tracing(sources: ConfigSources) -> TracingSettings | None:
    """Read ``[otel]``, without which nothing is traced. Raise ConfigError if packages are missing."""
    if "otel" not in sources.table:
        return None
    try:
        is_installed = find_spec("opentelemetry.exporter.otlp.proto.http") and find_spec("opentelemetry.sdk")
    except ModuleNotFoundError:
        is_installed = None
    if not is_installed:
        raise sources.error(("otel",), "needs OpenTelemetry's packages: pip install 'aibridge[otel]'")
    return _section(sources, TracingSettings, "otel")


def _database(sources: ConfigSources) -> DatabaseSettings:
    """Read ``[database]``, and the retention of ``[record]``."""
    path = ("database",)
    table = sources.in_file(path, {*_keys(DatabaseSettings), *_keys(_UrlSource)} - {_RETENTION})
    given = sources.on_command_line(path)
    values = {"url": DEFAULT_DATABASE, "spool_dir": "aibridge-spool"}
    values |= {} if "url" in given else _database_url(sources)
    values |= {key: value for key, value in table.items() if key not in _keys(_UrlSource)} | given
    if _RETENTION in (record := sources.in_file(("record",))):
        sources.origins[(*path, _RETENTION)] = (sources.source, f"record.{_RETENTION}")
        values[_RETENTION] = record[_RETENTION]
    database = sources.make(DatabaseSettings, path, values)
    if parse_url(database.url).drivername not in DRIVERS:
        raise sources.error((*path, "url"), f"must begin with {' or '.join(DRIVERS)}")
    return database


def _database_url(sources: ConfigSources) -> dict[str, str]:
    """Return the database's URL from the variable or file that is named there. Raise ConfigError if it is missing."""
    path = ("database",)
    found, variable = _secret(sources, path, _UrlSource, "url")
    if variable and not found:
        raise sources.error((*path, "url_env"), f"the variable {variable} is not set")
    return found


def _record(sources: ConfigSources) -> ContentPolicy:
    table = sources.in_file(("record",), [*_keys(ContentPolicy), _RETENTION, FIGURES_RETENTION])
    return sources.make(
        ContentPolicy, ("record",), {key: table[key] for key in table if key not in (_RETENTION, FIGURES_RETENTION)}
    )


def _auth(sources: ConfigSources) -> AuthConfig:
    """Read ``[auth]``, and check the keys that its mode requires."""
    auth = _section(sources, AuthConfig, "auth")
    for key in _REQUIRED.get(auth.mode, ()):
        if not getattr(auth, key):
            raise sources.error(("auth", key), f"missing; auth.mode {auth.mode} requires it")
    for key, mode in (("metadata_claims", "jwt"), ("metadata_headers", "header")):
        if getattr(auth, key) and auth.mode != mode:
            sources.warnings.append(f"auth.{key}: not used, as auth.mode is {auth.mode}; it belongs to mode {mode}")
    if auth.mode == "jwt" and bool(auth.jwks_url) == bool(auth.jwks_file):
        raise sources.error(("auth", "jwks_url"), "give either jwks_url or jwks_file, for the issuer's keys")
    if not auth.jwks_file:
        return auth
    from ..identity.jwks import read_keys  # with PyJWT, which only this mode needs

    path = ("auth", "jwks_file")
    try:
        read_keys(sources.in_text_file(path, path, auth.jwks_file)["jwks_file"].encode())
    except ValueError as error:
        raise sources.error(path, f"{auth.jwks_file}: {error}") from error
    return evolve(auth, jwks_file=str(Path(sources.source).parent / auth.jwks_file))


def _providers(sources: ConfigSources) -> dict[str, Provider]:
    """Read the tables of providers; without any, there is a provider of each type."""
    names = sources.in_file(("providers",)) if "providers" in sources.table else USUAL_TYPES
    return {name: _provider(sources, name) for name in names}


def _provider(sources: ConfigSources, name: str) -> Provider:
    path = ("providers", name)
    if why := settings.check_name(name):
        raise sources.error(path, why)
    cls = _provider_type(sources, path)
    key_sources = [*_keys(_KeySource), *_keys(_KeysSource)]
    table = sources.in_file(path, {"type", *_keys(cls), *key_sources} - {"name"})
    values = {key: value for key, value in table.items() if key not in ("type", *key_sources)}
    # The environment's variables belong to a provider that has the name of its own type, as they do in the SDKs.
    prefix = name.upper() if name == cls.type else ""
    if "base_url" not in table:
        values |= sources.in_environment((*path, "base_url"), prefix and f"{prefix}_BASE_URL")
    for key in cls.variables.keys() - table.keys() - ({"resource"} if "base_url" in values else set()):
        for variable in reversed(cls.variables[key]):
            values |= sources.in_environment((*path, key), variable)
    for key in ("ca_file", "client_cert"):
        if type(values.get(key)) is str:
            values[key] = str(Path(sources.source).parent / values[key])
    values |= _pooled_keys(sources, path)
    if "api_keys" not in values:
        values |= _secret(sources, path, _KeySource, "api_key", prefix and f"{prefix}_API_KEY")[0]
    if "circuit_breaker" in table:
        breaker = (*path, "circuit_breaker")
        values["circuit_breaker"] = sources.make(
            BreakerSettings, breaker, sources.in_file(breaker, _keys(BreakerSettings))
        )
    if "refused" in table:
        refused = (*path, "refused")
        values["refused"] = sources.make(RefusedSettings, refused, sources.in_file(refused, _keys(RefusedSettings)))
    return sources.make(cls, path, {"name": name} | values)


def _provider_type(sources: ConfigSources, path: KeyPath) -> type[Provider]:
    """Return the class of the provider at that path: that of its ``type``, or else of its name."""
    table = sources.in_file(path)
    kind = table.get("type", path[-1])
    if type(kind) is not str:
        raise sources.error((*path, "type"), f"must be a string, not {settings.kind_of(kind)}")
    if kind not in PROVIDER_TYPES:
        known = " or ".join(f'"{name}"' for name in PROVIDER_TYPES)
        raise sources.error((*path, "type"), f"must be {known}" if "type" in table else f"missing; it is {known}")
    return PROVIDER_TYPES[kind]


def _secret(
    sources: ConfigSources, path: KeyPath, cls: type[AttrsInstance], key: str, usual: str = ""
) -> tuple[dict[str, str], str]:
    """Return a secret that its table does not hold, and the variable that is to hold it, if any.

    It is in the variable or the file that the table names, or else in the usual variable.
    """
    table = sources.in_file(path)
    given = [each for each in (key, *_keys(cls)) if each in table]
    if len(given) > 1:
        raise sources.error((*path, given[1]), f"given besides {given[0]}; keep one of them")
    if key in table:
        return {}, ""
    named = sources.make(cls, path, {each: table[each] for each in given})
    if file := getattr(named, f"{key}_file"):
        return sources.in_text_file((*path, key), (*path, f"{key}_file"), file), ""
    variable = getattr(named, f"{key}_env") or usual
    found = sources.in_environment((*path, key), variable)
    if variable != usual and not found:
        sources.warnings.append(f"{'.'.join(path)}.{key}_env: the variable {variable} is not set")
    return found, variable


def _pooled_keys(sources: ConfigSources, path: KeyPath) -> dict[str, object]:
    """Return the keys of a provider that has several; nothing if its table names one at most.

    They are in the variables or the files that the table names, or in the table itself.
    """
    table = sources.in_file(path)
    given = [key for key in ("api_keys", *_keys(_KeysSource), "api_key", *_keys(_KeySource)) if key in table]
    if not given or given[0] not in ("api_keys", *_keys(_KeysSource)):
        return {}
    if len(given) > 1:
        raise sources.error((*path, given[1]), f"given besides {given[0]}; keep one of them")
    if given[0] == "api_keys":
        return {"api_keys": table["api_keys"]}
    target, named = (*path, "api_keys"), sources.make(_KeysSource, path, {given[0]: table[given[0]]})
    found = [sources.in_text_file(target, (*path, "api_key_files"), name) for name in named.api_key_files]
    for variable in named.api_keys_env:
        found.append(sources.in_environment(target, variable))
        if not found[-1]:
            sources.warnings.append(f"{'.'.join(path)}.api_keys_env: the variable {variable} is not set")
    return {"api_keys": tuple(each["api_keys"] for each in found if each)}


def _refuse_anonymous_strangers(config: Config, sources: ConfigSources) -> None:
    """Raise if other machines reach the gateway without authentication, unless the operator allows that.

    The operator's site is another matter: it uses no provider, and may be open to a monitoring system.
    """
    if config.auth.mode != "none" or config.auth.allow_anonymous:
        return
    if not parse_endpoint(config.server.listen).is_loopback:
        raise sources.error(
            ("server", "listen"),
            "reachable by others, while auth.mode is none: set auth.allow_anonymous = true if that is meant",
        )


def _refuse_loop(config: Config, sources: ConfigSources) -> None:
    """Raise if the gateway would call itself.

    A variable that points clients here does that if it is set in the gateway's own environment, too.
    """
    own = parse_endpoint(config.server.listen)
    for provider in config.providers.values():
        url = urlsplit(provider.base_url)
        if is_loopback(url.hostname or "") and (url.port or _DEFAULT_PORTS[url.scheme]) == own.port:
            raise sources.error(("providers", provider.name, "base_url"), "is where this gateway itself listens")


def _refuse_one_port_for_both(config: Config, sources: ConfigSources) -> None:
    """Raise if both listeners would need the same port of the same addresses."""
    if config.server.admin_listen == OFF:
        return
    gateway, admin = parse_endpoint(config.server.listen), parse_endpoint(config.server.admin_listen)
    overlap = gateway.interface == admin.interface or gateway.is_everywhere or admin.is_everywhere
    if gateway.port and gateway.port == admin.port and overlap:
        raise sources.error(("server", "admin_listen"), "must not be the port of server.listen; choose another one")


def _refuse_private_database(config: Config, sources: ConfigSources) -> None:
    """Raise if each of several workers would have a database of its own, in its memory."""
    url = parse_url(config.database.url)
    if config.server.workers > 1 and url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise sources.error(("server", "workers"), "must be 1 with a database in memory: give database.url a file")


def _check_fallbacks(config: Config, sources: ConfigSources) -> None:
    """Raise if a provider's fallback is no other provider."""
    for name, provider in config.providers.items():
        for fallback in provider.fallback:
            if fallback == name or fallback not in config.providers:
                others = ", ".join(sorted(config.providers.keys() - {name})) or "none is configured"
                raise sources.error(
                    ("providers", name, "fallback"), f'"{fallback}" is no other provider; there are: {others}'
                )


def _check_proxies(config: Config, sources: ConfigSources) -> None:
    """Raise if a proxy that the environment names can't be used, and is needed."""
    servers = {server.url: server.proxy for server in config.mcp.servers.values() if server.url}
    servers |= {provider.base_url: provider.proxy for provider in config.providers.values()}
    servers |= {config.auth.jwks_url: None} if config.auth.jwks_url else {}
    for url, proxy in servers.items():
        try:
            find_proxy(url, proxy, sources.environ)
        except ValueError as error:
            raise ConfigError("environment", "", str(error)) from error

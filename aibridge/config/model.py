"""What the operator asks for: TOML file, environment and command line become one frozen `Config`.

The command line beats the file, the file beats the environment. Whatever can't be used raises `ConfigError`, which
names the source it came from, the key in that source and what is wrong with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import evolve, fields, frozen
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .. import settings
from ..identity.header import proxies
from ..identity.jwks import read_keys
from ..rate_limits import Limits
from ..upstream.circuit_breaker import BreakerSettings
from . import endpoints
from .endpoints import OFF, is_loopback, read_description
from .mcp import McpConfig, read_mcp
from .sources import ConfigSources, KeyPath, read_toml

T = TypeVar("T")

BASE_URLS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
"""The types of provider, and where each is unless it is told otherwise."""


_DRIVERS = ("sqlite", "postgresql+psycopg")


def database_url(default: str) -> Any:
    """A URL of SQLAlchemy's. It may hold a password."""
    return settings.setting(str, _check_database, default=default, repr=False)


def _check_database(value: str) -> str | None:
    # SQLAlchemy quotes parts of what it can't parse, the password may be among them.
    try:
        driver = make_url(value).drivername
    except (ArgumentError, ValueError):
        return "is no database URL, such as sqlite:///aibridge.sqlite"
    return None if driver in _DRIVERS else f"must begin with {' or '.join(_DRIVERS)}"


@frozen(kw_only=True)
class ServerConfig:
    """Where the gateway listens and what it bears. All times in seconds."""

    listen: str = endpoints.endpoint("tcp:8080:interface=127.0.0.1")
    admin_listen: str = endpoints.endpoint("tcp:8081:interface=127.0.0.1", off=True)
    max_body_bytes: int = settings.count(64 * 2**20)
    max_concurrent_requests: int = settings.count(10_000)
    head_timeout: float = settings.seconds(20.0)
    body_timeout: float = settings.seconds(60.0)
    request_timeout: float = settings.seconds(300.0)
    keepalive_timeout: float = settings.seconds(75.0)
    stall_timeout: float = settings.seconds(600.0)
    drain_seconds: float = settings.seconds(30.0, zero=True)


@frozen(kw_only=True)
class DatabaseConfig:
    """Where records are kept, and where they wait while that is away. ``commit_timeout`` in seconds."""

    url: str = database_url("sqlite:///aibridge.sqlite")
    spool_dir: str = settings.word("aibridge-spool")
    spool_max_bytes: int = settings.count(2**30)
    commit_timeout: float = settings.seconds(5.0)


@frozen(kw_only=True)
class RecordConfig:
    """Which content is kept; where one is off, the row remains without it. And for how long; 0 days: for ever."""

    prompts: bool = settings.switch(True)
    tool_arguments: bool = settings.switch(True)
    tool_results: bool = settings.switch(False)
    thoughts: bool = settings.switch(True)
    retention_days: int = settings.count(0, least=0, most=36_500)


@frozen(kw_only=True)
class AuthConfig:
    """How it is known who asks. `leeway` in seconds."""

    mode: str = settings.choice("none", "keys", "header", "jwt", default="none")
    allow_anonymous: bool = settings.switch(False)
    header: str = settings.header_name("X-Forwarded-User")
    trusted_proxies: tuple[str, ...] = proxies()
    jwks_url: str | None = settings.url()
    jwks_file: str | None = settings.text()
    issuer: str | None = settings.text()
    audience: str | None = settings.text()
    actor_claim: str = settings.word("sub")
    leeway: float = settings.seconds(30.0, zero=True)


@frozen(kw_only=True)
class ProviderConfig:
    """One provider; its name is the first segment of its routes. All times in seconds."""

    name: str
    type: str = settings.choice(*BASE_URLS)
    base_url: str = settings.base_url()
    api_key: str | None = settings.secret()
    connect_timeout: float = settings.seconds(10.0)
    first_byte_timeout: float = settings.seconds(600.0)
    idle_timeout: float = settings.seconds(300.0)
    on_disconnect: str = settings.choice("abort", "drain", default="abort")
    send_actor_headers: bool = settings.switch(False)
    extra_headers: Mapping[str, str] = settings.headers()
    circuit_breaker: BreakerSettings | None = None
    passthrough: tuple[str, ...] = settings.paths()


@frozen(kw_only=True)
class Config:
    """Everything that can be set."""

    server: ServerConfig
    database: DatabaseConfig
    record: RecordConfig
    auth: AuthConfig
    limits: Limits
    providers: Mapping[str, ProviderConfig]
    mcp: McpConfig


@frozen(kw_only=True)
class _KeySource:
    """Where else than in the file a provider's key may be."""

    api_key_env: str | None = settings.text()
    api_key_file: str | None = settings.text()


_NEEDED = {"header": ("trusted_proxies",), "jwt": ("issuer", "audience")}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SECTIONS = [section.name for section in fields(Config)]
_BREAKER_KEYS = [key.name for key in fields(BreakerSettings)]
_KEY_SOURCES = [source.name for source in fields(_KeySource)]
_PROVIDER_KEYS = {key.name for key in fields(ProviderConfig)} - {"name"} | {*_KEY_SOURCES}


def load_config(
    path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[KeyPath, str]] | None = None
) -> Config:
    """The configuration in that file, if any, above the environment and below the command line.

    ``options`` says for each option of the command line which key it sets, and to what.
    """
    return configure(ConfigSources(read_toml(path) if path else {}, path or "defaults", environ, options or {}))


def configure(layers: ConfigSources) -> Config:
    """The configuration that comes of these layers."""
    layers.in_file((), _SECTIONS)
    config = Config(
        server=_section(layers, ServerConfig, "server"),
        database=_section(layers, DatabaseConfig, "database"),
        record=_section(layers, RecordConfig, "record"),
        auth=_auth(layers),
        limits=_section(layers, Limits, "limits"),
        providers=_providers(layers),
        mcp=read_mcp(layers),
    )
    _refuse_open_door(config, layers)
    _refuse_loop(config, layers)
    return config


def _section(layers: ConfigSources, cls: type[T], name: str) -> T:
    table = layers.in_file((name,), [key.name for key in fields(cls)])  # type: ignore[arg-type]
    return layers.make(cls, (name,), table | layers.on_command_line((name,)))


def _auth(layers: ConfigSources) -> AuthConfig:
    """How it is known who asks, with all that the mode needs."""
    auth = _section(layers, AuthConfig, "auth")
    for key in _NEEDED.get(auth.mode, ()):
        if not getattr(auth, key):
            raise layers.error(("auth", key), f"missing; auth.mode {auth.mode} can't do without it")
    if auth.mode == "jwt" and bool(auth.jwks_url) == bool(auth.jwks_file):
        raise layers.error(("auth", "jwks_url"), "one of jwks_url and jwks_file says where the issuer's keys are")
    return evolve(auth, jwks_file=_jwks_file(layers, auth.jwks_file)) if auth.jwks_file else auth


def _jwks_file(layers: ConfigSources, name: str) -> str:
    """Where that file is, if it is one that can be used; it is looked for beside the configuration."""
    path = ("auth", "jwks_file")
    try:
        read_keys(layers.in_text_file(path, path, name)["jwks_file"].encode())
    except ValueError as error:
        raise layers.error(path, f"{name}: {error}") from error
    return str(Path(layers.source).parent / name)


def _providers(layers: ConfigSources) -> dict[str, ProviderConfig]:
    names = layers.in_file(("providers",)) if "providers" in layers.table else BASE_URLS
    return {name: _provider(layers, name) for name in names}


def _provider(layers: ConfigSources, name: str) -> ProviderConfig:
    path = ("providers", name)
    if why := settings.check_name(name):
        raise layers.error(path, why)
    table = layers.in_file(path, _PROVIDER_KEYS)
    if "type" not in table and name not in BASE_URLS:
        raise layers.error((*path, "type"), f"missing; one of {', '.join(BASE_URLS)}")
    values = {"name": name, "type": name} | _base_url(layers, path, table) | _api_key(layers, path, table)
    values |= {key: value for key, value in table.items() if key not in _KEY_SOURCES}
    if "circuit_breaker" in table:
        values["circuit_breaker"] = _circuit_breaker(layers, (*path, "circuit_breaker"))
    return layers.make(ProviderConfig, path, values)


def _circuit_breaker(layers: ConfigSources, path: KeyPath) -> BreakerSettings:
    return layers.make(BreakerSettings, path, layers.in_file(path, _BREAKER_KEYS))


def _base_url(layers: ConfigSources, path: KeyPath, table: Mapping[str, Any]) -> dict[str, Any]:
    """Where the provider is, as far as its table doesn't say."""
    if "base_url" in table:
        return {}
    usual = {"base_url": BASE_URLS.get(str(table.get("type", path[-1])), "")}
    return usual | layers.in_environment((*path, "base_url"), _variable(path[-1], table, "BASE_URL"))


def _api_key(layers: ConfigSources, path: KeyPath, table: Mapping[str, Any]) -> dict[str, str]:
    """The provider's key, as far as its table doesn't hold it; nothing where there is none."""
    given = [way for way in ("api_key", *_KEY_SOURCES) if way in table]
    if len(given) > 1:
        raise layers.error((*path, given[1]), f"given besides {given[0]}; one of them is enough")
    if "api_key" in table:
        return {}
    source = layers.make(_KeySource, path, {way: table[way] for way in given})
    if source.api_key_file:
        return layers.in_text_file((*path, "api_key"), (*path, "api_key_file"), source.api_key_file)
    variable = source.api_key_env or _variable(path[-1], table, "API_KEY")
    return layers.in_environment((*path, "api_key"), variable)


def _variable(name: str, table: Mapping[str, Any], suffix: str) -> str:
    """What its own SDKs call it, as long as the provider of that name is what its name says."""
    return f"{name.upper()}_{suffix}" if name in BASE_URLS and table.get("type", name) == name else ""


def _refuse_open_door(config: Config, layers: ConfigSources) -> None:
    """Where nobody has to say who they are, only this machine may come in, unless the operator wants it so."""
    if config.auth.mode != "none" or config.auth.allow_anonymous:
        return
    for key in ("listen", "admin_listen"):
        description = getattr(config.server, key)
        if description != OFF and not read_description(description).is_loopback:
            raise layers.error(
                ("server", key),
                "reachable by others, while auth.mode is none: set auth.allow_anonymous = true if that is meant",
            )


def _refuse_loop(config: Config, layers: ConfigSources) -> None:
    """A variable that points clients here would, in the gateway's own environment, make it call itself."""
    own = read_description(config.server.listen)
    for provider in config.providers.values():
        url = urlsplit(provider.base_url)
        if is_loopback(url.hostname or "") and (url.port or _DEFAULT_PORTS[url.scheme]) == own.port:
            raise layers.error(("providers", provider.name, "base_url"), "is where this gateway itself listens")

"""The configuration: TOML file, environment and command line become one frozen `Config`.

The command line beats the file, the file beats the environment. A setting that can't be used raises `ConfigError`,
which names the source of the setting, its key in that source and what is wrong with it.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from attrs import AttrsInstance, evolve, fields, frozen, has

from .. import settings
from ..http.server_tls import ServerCertificate
from ..process_log import LogSettings
from ..rate_limits import Limits
from ..record.policy import ContentPolicy
from ..record.settings import DatabaseSettings
from ..record.urls import DRIVERS, parse_url
from ..tracing.settings import TracingSettings
from .budget import WebhookSecretSource, read_budget
from .conflicts import refuse_conflicts
from .console import FIGURES_RETENTION, read_console
from .endpoints import parse_endpoint
from .environment import CONFIG_VARIABLE, apply_environment, find_short_names
from .mcp import read_mcp
from .model import DEFAULT_DATABASE, AuthConfig, Config, ServerConfig
from .prices import read_prices
from .provider_tables import read_providers
from .secrets import read_secret
from .sources import ConfigSources, KeyPath, keys_of, read_toml

T = TypeVar("T", bound=AttrsInstance)


@frozen(kw_only=True)
class _UrlSource:
    """The source of the database's URL, if that is not the file itself."""

    url_env: str | None = settings.text()
    url_file: str | None = settings.text()


_REQUIRED = {"header": ("trusted_proxies",), "jwt": ("issuer", "audience")}
"""Keys of ``[auth]`` by mode."""
_RETENTION = "retention_days"


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
    sources.in_file((), {*keys_of(Config)} - {"warnings"})
    _warn_of_short_names(sources)
    providers = read_providers(sources)
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
        budget=read_budget(sources, read_secret(sources, ("budget",), WebhookSecretSource, "webhook_secret")),
        console=read_console(sources),
        warnings=tuple(sources.warnings),
    )
    refuse_conflicts(config, sources)
    return config


def _warn_of_short_names(sources: ConfigSources) -> None:
    """Warn of variables such as ``AIBRIDGE_DATABASE_URL``, which set nothing, unless the file names them itself."""
    sections = {section.name: section.type for section in fields(Config) if section.type and has(section.type)}
    keys = [(name, key) for name, cls in sections.items() for key in keys_of(cls)]
    for name, right in find_short_names(sources.environ, keys).items():
        if name not in str(sources.table):
            sources.warnings.append(f"environment: {name}: not used; write {right}, with two underscores")


def _section(sources: ConfigSources, cls: type[T], name: str) -> T:
    return sources.make(cls, (name,), sources.in_file((name,), keys_of(cls)) | sources.on_command_line((name,)))


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
    table = sources.in_file(path, {*keys_of(DatabaseSettings), *keys_of(_UrlSource)} - {_RETENTION})
    given = sources.on_command_line(path)
    values = {"url": DEFAULT_DATABASE, "spool_dir": "aibridge-spool"}
    values |= {} if "url" in given else _database_url(sources)
    values |= {key: value for key, value in table.items() if key not in keys_of(_UrlSource)} | given
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
    found, variable = read_secret(sources, path, _UrlSource, "url")
    if variable and not found:
        raise sources.error((*path, "url_env"), f"the variable {variable} is not set")
    return found


def _record(sources: ConfigSources) -> ContentPolicy:
    table = sources.in_file(("record",), [*keys_of(ContentPolicy), _RETENTION, FIGURES_RETENTION])
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

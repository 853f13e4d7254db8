"""Settings that are right by themselves, and can't be used together."""

from urllib.parse import urlsplit

from ..errors import ConfigError
from ..http.proxies import find_proxy, is_loopback
from ..record.urls import parse_url
from .console import refuse_open_console
from .endpoints import OFF, parse_endpoint
from .model import Config
from .sources import ConfigSources

_DEFAULT_PORTS = {"http": 80, "https": 443}


def refuse_conflicts(config: Config, sources: ConfigSources) -> None:
    """Raise `ConfigError` for the first setting that can't be used with the others."""
    _refuse_anonymous_strangers(config, sources)
    _refuse_loop(config, sources)
    _refuse_one_port_for_both(config, sources)
    _refuse_unshared(config, sources)
    refuse_open_console(config.server.admin_listen, config.console, sources)
    _check_proxies(config, sources)
    _check_fallbacks(config, sources)


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


def _refuse_unshared(config: Config, sources: ConfigSources) -> None:
    """Raise if several workers can't share the database, or the socket, as one of systemd's."""
    if config.server.workers == 1:
        return
    url = parse_url(config.database.url)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise sources.error(("server", "workers"), "must be 1 with a database in memory: give database.url a file")
    if parse_endpoint(config.server.listen).kind == "systemd":
        raise sources.error(("server", "workers"), "must be 1 with a socket of systemd's: or listen on tcp: or unix:")


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

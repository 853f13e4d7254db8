"""The lines that the log begins with: addresses, providers, database, and how to connect a client."""

from collections.abc import Iterator, Mapping

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from ..config.model import Config, ServerConfig
from ..identity.credentials import ALLOW
from ..providers.base import Provider
from ..record.database import printable

TITLES = {"listen": "gateway", "admin_listen": "operator's site"}
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound
"""The address at which this machine reaches a port on all addresses."""


def announce(config: Config, addresses: Mapping[str, IAddress]) -> Iterator[str]:
    """Yield the lines.

    :param addresses: the address of each listening port, by its endpoint's key in the ``server`` section.
    """
    for key, address in addresses.items():
        everywhere = ", on all addresses of this machine" if getattr(address, "host", "") in _LOCAL else ""
        yield f"{TITLES[key]}: {url_of(address, is_secure(config.server, key))}{everywhere}"
    for provider in config.providers.values():
        key = "its configured keys" if provider.api_keys else "its configured key"
        if provider.byok == ALLOW and provider.has_key:
            key += ", where a client sends none"
        elif provider.finds_credentials and not provider.has_key:
            key = "the credentials that are found here"
        elif not provider.has_key:
            key = "each client's own key" if provider.byok == ALLOW else "no key"
        yield f"provider {provider.name}: {provider.base_url}, with {key}"
    yield f"database: {printable(config.database.url)}"
    gateway = addresses.get("listen")
    if isinstance(gateway, IPv4Address | IPv6Address):
        local = _LOCAL.get(gateway.host, "")
        url = url_of(gateway, is_secure(config.server, "listen"), local)
        yield from _client_settings(url, config.providers, ", on this machine" if local else "")


def is_secure(server: ServerConfig, key: str) -> bool:
    """Return True if the listener of that key has TLS."""
    return (key == "listen" and bool(server.tls_certificate)) or getattr(server, key).lower().startswith("ssl:")


def url_of(address: IAddress, secure: bool, host: str = "") -> str:
    """Return the URL of a port, with its own address unless another host is given."""
    if isinstance(address, UNIXAddress):
        name = address.name
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    assert isinstance(address, IPv4Address | IPv6Address)
    host = host or (f"[{address.host}]" if ":" in address.host else address.host)
    return f"{'https' if secure else 'http'}://{host}:{address.port}"


def _client_settings(gateway: str, providers: Mapping[str, Provider], where: str) -> Iterator[str]:
    """Yield the settings with which the two most common clients use the gateway.

    Codex has no environment variable for its base URL.
    """
    first = {provider.client_type: provider.name for provider in reversed([*providers.values()])}
    if name := first.get("anthropic"):
        yield f"Claude Code{where}: export ANTHROPIC_BASE_URL={gateway}/{name}"
    if name := first.get("openai"):
        yield f"Codex{where}: codex -c openai_base_url={gateway}/{name}/v1"

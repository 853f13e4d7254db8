"""The lines that the log begins with: addresses, providers, database, and how to connect a client."""

from collections.abc import Iterator, Mapping

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from ..config.model import Config
from ..providers.base import Provider
from ..record.database import printable

TITLES = {"listen": "gateway", "admin_listen": "operator's site"}
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


def announce(config: Config, addresses: Mapping[str, IAddress]) -> Iterator[str]:
    """Yield the lines.

    :param addresses: the address of each listening port, by its endpoint's key in the ``server`` section.
    """
    urls = {key: url_of(address, getattr(config.server, key)) for key, address in addresses.items()}
    for key, url in urls.items():
        yield f"{TITLES[key]}: {url}"
    for provider in config.providers.values():
        key = "its configured key, where a client sends none" if provider.api_key else "each client's own key"
        yield f"provider {provider.name}: {provider.base_url}, with {key}"
    yield f"database: {printable(config.database.url)}"
    gateway = urls.get("listen", "")
    if gateway.startswith("http"):
        yield from _client_settings(gateway, config.providers)


def url_of(address: IAddress, description: str) -> str:
    """Return the URL at which a client on this machine reaches a port, given its address and endpoint description."""
    if isinstance(address, UNIXAddress):
        name = address.name
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    assert isinstance(address, IPv4Address | IPv6Address)
    scheme = "https" if description.lower().startswith("ssl:") else "http"
    host = _ANY.get(address.host, address.host)
    return f"{scheme}://[{host}]:{address.port}" if ":" in host else f"{scheme}://{host}:{address.port}"


def _client_settings(gateway: str, providers: Mapping[str, Provider]) -> Iterator[str]:
    """Yield the settings with which the two most common clients use the gateway.

    Codex has no environment variable for its base URL.
    """
    first = {provider.type: provider.name for provider in reversed([*providers.values()])}
    if name := first.get("anthropic"):
        yield f"Claude Code: export ANTHROPIC_BASE_URL={gateway}/{name}"
    if name := first.get("openai"):
        yield f"Codex: codex -c openai_base_url={gateway}/{name}/v1"

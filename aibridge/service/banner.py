"""What an operator reads at the start: what runs where, and how to point a client at it."""

from collections.abc import Iterator, Mapping
from typing import Any

from twisted.internet.address import UNIXAddress

from ..config.model import Config
from ..providers.base import Provider
from ..record.database import printable

TITLES = {"listen": "gateway", "admin_listen": "operator's site"}
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


def announce(config: Config, addresses: Mapping[str, Any]) -> Iterator[str]:
    """The lines, given the address of each listener by the key that asked for it."""
    urls = {key: url_of(address, getattr(config.server, key)) for key, address in addresses.items()}
    for key, url in urls.items():
        yield f"{TITLES[key]}: {url}"
    for provider in config.providers.values():
        yield f"provider {provider.name}: {_describe(provider)}"
    yield f"database: {printable(config.database.url)}"
    gateway = urls.get("listen", "")
    if gateway.startswith("http"):
        yield from _pointers(gateway, config.providers)


def url_of(address: Any, description: str) -> str:
    """Where a client on this machine reaches a listener."""
    if isinstance(address, UNIXAddress):
        name = address.name
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    scheme = "https" if description.lower().startswith("ssl:") else "http"
    host = _ANY.get(address.host, address.host)
    return f"{scheme}://[{host}]:{address.port}" if ":" in host else f"{scheme}://{host}:{address.port}"


def _describe(provider: Provider) -> str:
    key = "with its configured key, where a client sends none" if provider.api_key else "with each client's own key"
    return f"{provider.base_url}, {key}"


def _pointers(gateway: str, providers: Mapping[str, Provider]) -> Iterator[str]:
    """How the two commonest clients find the gateway. Codex heeds no variable of the environment for it."""
    first = {provider.type: provider.name for provider in reversed([*providers.values()])}
    if name := first.get("anthropic"):
        yield f"Claude Code: export ANTHROPIC_BASE_URL={gateway}/{name}"
    if name := first.get("openai"):
        yield f"Codex: codex -c openai_base_url={gateway}/{name}/v1"

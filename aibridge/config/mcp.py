"""The tables ``[mcp]`` and ``[mcp.NAME]`` of the configuration."""

from collections.abc import Mapping
from typing import Any

from attrs import Factory, frozen

from .. import settings
from ..tools.settings import MCPServerSettings
from .sources import ConfigSources, KeyPath, keys_of


@frozen(kw_only=True)
class McpConfig:
    """The MCP servers, and the settings that they share."""

    max_rounds: int = settings.count(25)
    """The most requests to the model for one request of a client, each of the later ones with results of tools."""
    max_tools: int | None = settings.count(None, least=0)
    """The most of the gateway's tools in one conversation; None for no bound."""
    servers: Mapping[str, MCPServerSettings] = Factory(dict)
    """By name."""


@frozen(kw_only=True)
class _SecretSources:
    """The variables and files that hold values of ``headers`` and ``env``, by the name of each value."""

    headers_env: Mapping[str, str] = settings.sources()
    headers_file: Mapping[str, str] = settings.sources()
    env_env: Mapping[str, str] = settings.sources()
    env_file: Mapping[str, str] = settings.sources()


_SOURCES = keys_of(_SecretSources)
_SERVER_KEYS = {*keys_of(MCPServerSettings)} - {"name"} | {*_SOURCES}


def read_mcp(sources: ConfigSources) -> McpConfig:
    """Return the configuration of MCP servers. Raise ConfigError for a wrong setting."""
    servers = [name for name, value in sources.in_file(("mcp",)).items() if type(value) is dict]
    table = sources.in_file(("mcp",), ["max_rounds", "max_tools", *servers])
    shared = {key: value for key, value in table.items() if key not in servers}
    return sources.make(McpConfig, ("mcp",), shared | {"servers": {name: _server(sources, name) for name in servers}})


def _server(sources: ConfigSources, name: str) -> MCPServerSettings:
    path = ("mcp", name)
    if why := settings.check_name(name):
        raise sources.error(path, why)
    table = sources.in_file(path, _SERVER_KEYS)
    secrets = sources.make(_SecretSources, path, {key: table[key] for key in _SOURCES if key in table})
    values = {"name": name} | {key: value for key, value in table.items() if key not in _SOURCES}
    for kind in ("headers", "env"):
        if found := _secrets(sources, (*path, kind), secrets):
            values[kind] = _merged(sources, (*path, kind), values.get(kind, {}), found)
    return sources.make(MCPServerSettings, path, values)


def _secrets(sources: ConfigSources, path: KeyPath, secrets: _SecretSources) -> dict[str, str]:
    """Return the values, for the table at that path, that variables and files hold."""
    kind = path[-1]
    found: dict[str, str] = {}
    for name, variable in getattr(secrets, f"{kind}_env").items():
        key = (*path[:-1], f"{kind}_env", name)
        if not (value := sources.in_environment((*path, name), variable)):
            raise sources.error(key, f"the variable {variable} is not set")
        found |= value
    for name, file in getattr(secrets, f"{kind}_file").items():
        key = (*path[:-1], f"{kind}_file", name)
        found = _merged(sources, path, found, sources.in_text_file((*path, name), key, file))
    return found


def _merged(sources: ConfigSources, path: KeyPath, given: Any, found: dict[str, str]) -> Any:
    """Return both together. Raise ConfigError if they share a name; leave it to the validator to refuse no table."""
    if type(given) is not dict:
        return given
    for name in found:
        if name in given:
            raise sources.error(path, f"{name} is given twice; keep one of them")
    return given | found

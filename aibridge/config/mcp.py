"""The tables ``[mcp]`` and ``[mcp.NAME]`` of the configuration."""

from collections.abc import Mapping
from typing import Any

from attrs import Factory, fields, frozen

from .. import settings
from ..tools.settings import ServerSettings
from .sources import ConfigSources, KeyPath


@frozen(kw_only=True)
class McpConfig:
    """The MCP servers, by name, and what holds for all of them."""

    max_rounds: int = settings.count(25)
    """How often, for one request of a client's, the model is asked again after its tools have run."""
    servers: Mapping[str, ServerSettings] = Factory(dict)


@frozen(kw_only=True)
class _SecretSources:
    """Where else than in the file the values of secrets may be."""

    headers_env: Mapping[str, str] = settings.sources()
    headers_file: Mapping[str, str] = settings.sources()
    env_env: Mapping[str, str] = settings.sources()
    env_file: Mapping[str, str] = settings.sources()


_SOURCES = [source.name for source in fields(_SecretSources)]
_SERVER_KEYS = {key.name for key in fields(ServerSettings)} - {"name"} | {*_SOURCES}


def read_mcp(layers: ConfigSources) -> McpConfig:
    """What the configuration says of MCP servers. ConfigError where something can't be used."""
    servers = [name for name, value in layers.in_file(("mcp",)).items() if type(value) is dict]
    table = layers.in_file(("mcp",), ["max_rounds", *servers])
    own = {key: value for key, value in table.items() if key not in servers}
    return layers.make(McpConfig, ("mcp",), own | {"servers": {name: _server(layers, name) for name in servers}})


def _server(layers: ConfigSources, name: str) -> ServerSettings:
    path = ("mcp", name)
    if why := settings.check_name(name):
        raise layers.error(path, why)
    table = layers.in_file(path, _SERVER_KEYS)
    sources = layers.make(_SecretSources, path, {key: table[key] for key in _SOURCES if key in table})
    values = {"name": name} | {key: value for key, value in table.items() if key not in _SOURCES}
    for kind in ("headers", "env"):
        if found := _secrets(layers, (*path, kind), sources):
            values[kind] = _together(layers, (*path, kind), values.get(kind, {}), found)
    return layers.make(ServerSettings, path, values)


def _secrets(layers: ConfigSources, path: KeyPath, sources: _SecretSources) -> dict[str, str]:
    """The values of the table at that path that are somewhere else."""
    kind = path[-1]
    found: dict[str, str] = {}
    for name, variable in getattr(sources, f"{kind}_env").items():
        key = (*path[:-1], f"{kind}_env", name)
        if not (value := layers.in_environment((*path, name), variable)):
            raise layers.error(key, f"the variable {variable} is not set")
        found |= value
    for name, file in getattr(sources, f"{kind}_file").items():
        key = (*path[:-1], f"{kind}_file", name)
        found = _together(layers, path, found, layers.in_text_file((*path, name), key, file))
    return found


def _together(layers: ConfigSources, path: KeyPath, given: Any, found: dict[str, str]) -> Any:
    """Both, unless they say two things of one name; what is no table is left for the validator to refuse."""
    if type(given) is not dict:
        return given
    for name in found:
        if name in given:
            raise layers.error(path, f"{name} is given twice; one of them is enough")
    return given | found

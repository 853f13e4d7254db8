"""The tables ``[providers.NAME]`` of the configuration."""

from collections.abc import Mapping
from pathlib import Path

from attrs import AttrsInstance, frozen

from .. import settings
from ..providers import PROVIDER_TYPES, USUAL_TYPES
from ..providers.base import Provider
from ..providers.refused import RefusedSettings
from ..upstream.circuit_breaker import BreakerSettings
from .secrets import read_secret
from .sources import ConfigSources, KeyPath, keys_of


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


_TABLES: Mapping[str, type[AttrsInstance]] = {"circuit_breaker": BreakerSettings, "refused": RefusedSettings}
"""The tables within a provider's table."""


def read_providers(sources: ConfigSources) -> dict[str, Provider]:
    """Read the tables of providers; without any, there is a provider of each type."""
    names = sources.in_file(("providers",)) if "providers" in sources.table else USUAL_TYPES
    return {name: _provider(sources, name) for name in names}


def _provider(sources: ConfigSources, name: str) -> Provider:
    """Read the table of one provider, with what the environment says of it."""
    path = ("providers", name)
    if why := settings.check_name(name):
        raise sources.error(path, why)
    cls = _provider_type(sources, path)
    key_sources = [*keys_of(_KeySource), *keys_of(_KeysSource)]
    table = sources.in_file(path, {"type", *keys_of(cls), *key_sources} - {"name"})
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
        values |= read_secret(sources, path, _KeySource, "api_key", prefix and f"{prefix}_API_KEY")[0]
    for key, its_class in _TABLES.items():
        if key in table:
            inner = (*path, key)
            values[key] = sources.make(its_class, inner, sources.in_file(inner, keys_of(its_class)))
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


def _pooled_keys(sources: ConfigSources, path: KeyPath) -> dict[str, object]:
    """Return the keys of a provider that has several; nothing if its table names one at most.

    They are in the variables or the files that the table names, or in the table itself.
    """
    table = sources.in_file(path)
    given = [key for key in ("api_keys", *keys_of(_KeysSource), "api_key", *keys_of(_KeySource)) if key in table]
    if not given or given[0] not in ("api_keys", *keys_of(_KeysSource)):
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

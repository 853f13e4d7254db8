"""``aibridge config check``: the configuration as it takes effect."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from attrs import AttrsInstance, asdict, evolve, fields, has

from ..config.checks import config_warnings, database_warnings
from ..config.model import Config
from ..costs.load import check_price_file
from ..record.database import printable
from ..settings import SECRET

_NOT_SHOWN = ("name", "retention_days", "retention_figures_days", "api_key_env", "api_key_file")
"""Attributes that another section shows, or that only say where a key is read from."""


def check_config(config: Config) -> Iterator[str]:
    """Show the configuration as it takes effect, without its secrets.

    Raise ConfigError if its file of prices can't be used: the gateway would not start.
    """
    check_price_file(config.prices)
    for section in ("server", "log", "database"):
        yield from _table(section, getattr(config, section))
    yield from _table(
        "record",
        config.record,
        retention_days=config.database.retention_days,
        retention_figures_days=config.console.retention_figures_days,
    )
    for section in ("auth", "console", "limits"):
        yield from _table(section, getattr(config, section))
    for name, provider in config.providers.items():
        yield from _table(f"providers.{name}", provider, type=provider.type)
    yield from _table("prices", config.prices)
    for pattern, own in config.prices.models.items():
        yield from _table(f"prices.models.{json.dumps(pattern)}", own)
    yield from _table("budget", config.budget)
    if config.otel is not None:
        yield from _table("otel", config.otel)
    yield from _table("mcp", config.mcp)
    for name, server in config.mcp.servers.items():
        yield from _table(f"mcp.{name}", evolve(server, url=server.url and server.address))
    warnings = config_warnings(config)
    yield from (f"# warning: {warning}" for warning in warnings)
    count = {0: "without a warning", 1: "with one warning"}.get(len(warnings), f"with {len(warnings)} warnings")
    if any(database_warnings(config.database)):
        yield f"# The gateway can't start with this configuration as this user, {count}."
    else:
        yield f"# The gateway can start with this configuration, {count}."


def _table(title: str, values: AttrsInstance, **further: Any) -> Iterator[str]:
    """Show one section of the configuration, as in its file; its tables have sections of their own."""
    yield f"[{title}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in further.items())
    for key in fields(type(values)):
        is_table = key.name == "servers" or (title == "prices" and key.name == "models")
        if key.name not in _NOT_SHOWN and not is_table:
            yield f"{key.name.rstrip('_')} = {_show(key.name, getattr(values, key.name), key.metadata)}"
    yield ""


def _show(name: str, value: Any, metadata: Mapping[str, Any]) -> str:
    """Show a setting's value; of a secret, only whether it is set."""
    if name == "url" and value:
        return json.dumps(printable(value))
    if has(type(value)):
        return "{" + ", ".join(f"{option} = {_show('', given, {})}" for option, given in asdict(value).items()) + "}"
    if isinstance(value, dict) and not metadata.get(SECRET):
        return "{" + ", ".join(f"{json.dumps(option)} = {json.dumps(given)}" for option, given in value.items()) + "}"
    if not metadata.get(SECRET):
        return value.isoformat() if isinstance(value, date) else json.dumps(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(header)} = (set)" for header in value) + "}"
    return "(set)" if value else "(not set)"

"""Checks of a configuration that can be used, for what will not work nevertheless."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..client.routes import find_route
from ..providers.base import Provider
from ..record.settings import DatabaseSettings
from ..record.urls import exists, parse_url
from .endpoints import OFF, parse_endpoint
from .model import Config

_LIKE_REGEX = re.compile(r"^\^|\$$|\\|\(|\.\+")


def config_warnings(config: Config) -> list[str]:
    """Return what looks wrong: a line for each setting, with its key."""
    warnings = [*config.warnings, *database_warnings(config.database)]
    if config.server.admin_listen != OFF and not parse_endpoint(config.server.admin_listen).is_loopback:
        warnings.append("server.admin_listen: other machines can reach the operator's site, which has no login")
    for name, provider in config.providers.items():
        warnings += [f"providers.{name}.{why}" for why in provider.warnings()]
        if provider.dump_dir and not _can_be_written(Path(provider.dump_dir)):
            warnings.append(f"providers.{name}.dump_dir: {provider.dump_dir} can't be written")
        for fallback in provider.fallback:
            if why := _fallback_warning(provider, config.providers[fallback]):
                warnings.append(f'providers.{name}.fallback: "{fallback}" never takes over: {why}')
    for pattern in filter(_LIKE_REGEX.search, config.prices.models):
        warnings.append(f'prices.models.{json.dumps(pattern)}: is no regular expression; "*" stands for any text')
    return warnings


def _fallback_warning(provider: Provider, fallback: Provider) -> str | None:
    """Return the reason why a provider's fallback can serve none of its requests; None if it can."""
    if not provider.has_own_credential:
        return f"{provider.name} has no api_key, and requests with clients' own keys stay where they are"
    if not fallback.has_own_credential:
        return "it has no api_key"
    for route in provider.routes:
        found = find_route(fallback, b"POST", route.path)
        other = found.format if found is not None else None
        if route.format is not None and other is not None and other.name == route.format.name:
            return None
    return f"it has none of the APIs of {provider.name}"


def database_warnings(database: DatabaseSettings) -> Iterator[str]:
    """Yield a line for a database or a spool that this user can't write, without which the gateway can't start."""
    url = parse_url(database.url)
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        path = Path(url.database or "")
        if not os.access(path if exists(path) else path.parent, os.W_OK):
            yield f"database.url: {path} can't be written"
    if database.spool_dir is not None and not _can_be_written(Path(database.spool_dir)):
        yield f"database.spool_dir: {database.spool_dir} can't be written"


def _can_be_written(folder: Path) -> bool:
    """Return True if files can be made in the folder, or the folder itself where it is missing."""
    existing = next(each for each in (folder, *folder.absolute().parents) if exists(each))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)

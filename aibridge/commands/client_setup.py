"""``aibridge setup``: the settings of a client program for this gateway."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..config.endpoints import parse_endpoint
from ..config.loader import load_config
from ..config.model import Config
from ..config.sources import KeyPath
from ..errors import ConfigError
from ..service.banner import is_secure
from .clients import CLIENTS, ClientProgram, fill, fill_tree
from .settings_files import write_settings

_CREDENTIALS = {
    "none": "your own key for the provider goes into {own_key}",
    "header": "the proxy in front of the gateway names the user; your own key for the provider goes into {own_key}",
    "keys": "the gateway requires a key of its own, which `aibridge keys create --actor NAME` prints, in {key}",
    "jwt": "the gateway requires a token of {issuer}, in {key}",
}
"""The note on a client's credential, by the mode of authentication."""


def load_without_client_variables(
    path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[KeyPath, str]]
) -> Config:
    """Return the gateway's configuration without the providers' variables: in this environment they are a client's."""
    own = {name: value for name, value in environ.items() if name.startswith("AIBRIDGE_")}
    return load_config(path, own, options)


def set_up_client(config: Config, client: str, url: str | None, provider: str | None, write: bool) -> Iterator[str]:
    """Print a client's settings for this gateway, or write them into the client's own settings file."""
    program = CLIENTS[client]
    base_urls = _base_urls(config, url, program, provider)
    if write:
        yield from _write(program, base_urls)
    else:
        yield from _show(program, base_urls)
    note = _CREDENTIALS[config.auth.mode]
    yield "# " + note.format(key=program.key, own_key=program.own_key, issuer=config.auth.issuer)


def _base_urls(config: Config, url: str | None, program: ClientProgram, name: str | None) -> dict[str, str]:
    """Return the base URL of a provider of each type that the client can use: of the named one, or else of the first.

    Raise ConfigError if there is none.
    """
    if name is not None and name not in config.providers:
        known = ", ".join(config.providers)
        raise ConfigError("command line", "--provider", f"there is no provider {name}; the configuration has {known}")
    gateway = url or _local_url(config)
    for provider in config.providers.values():
        if gateway.endswith((f"/{provider.name}", f"/{provider.name}{provider.mount}")):
            why = f"must be the gateway's own URL; /{provider.name}{provider.mount} is added to it"
            raise ConfigError("command line", "--url", why)
    found: dict[str, str] = {}
    for provider in config.providers.values():
        if provider.client_type in program.types and name in (None, provider.name):
            found.setdefault(provider.client_type, f"{gateway}/{provider.name}{provider.mount}")
    if not found:
        raise ConfigError(
            "command line", "CLIENT", f"{program.title} needs a provider of type {' or '.join(program.types)}"
        )
    return found


def _local_url(config: Config) -> str:
    """Return the gateway's URL on this machine. Raise ConfigError if the configuration does not tell it."""
    listener = parse_endpoint(config.server.listen)
    if not listener.port:
        why = f"add it, such as --url https://aibridge.example: server.listen is {config.server.listen}"
        raise ConfigError("command line", "--url", why)
    host = "127.0.0.1" if listener.is_everywhere else listener.interface or "127.0.0.1"
    scheme = "https" if is_secure(config.server, "listen") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.port}"


def _show(program: ClientProgram, base_urls: Mapping[str, str]) -> Iterator[str]:
    if program.variables:
        yield "# in the client's environment:"
        for name, text in program.variables.items():
            yield f"export {name}={fill(text, base_urls)}"
    if program.command:
        yield "# for one run:"
        yield fill(program.command, base_urls) or ""
    if program.code:
        yield "# in your program:"
        yield fill(program.code, base_urls) or ""
    if program.file:
        yield f"# in {program.file.find(os.environ, Path.home())}, where --write puts it:"
        yield program.file.format.show(fill_tree(program.file.settings, base_urls))


def _write(program: ClientProgram, base_urls: Mapping[str, str]) -> Iterator[str]:
    if program.file is None:
        why = f"{program.title} has no settings file; leave --write away to see the settings"
        raise ConfigError("command line", "--write", why)
    settings = fill_tree(program.file.settings, base_urls)
    yield from write_settings(program.file.find(os.environ, Path.home()), program.file.format, settings)

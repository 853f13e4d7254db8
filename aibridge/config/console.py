"""The table ``[console]`` of the configuration."""

from pathlib import Path

from attrs import evolve

from ..console.settings import ConsoleSettings
from .endpoints import OFF, parse_endpoint
from .sources import ConfigSources, keys_of

_PATH = ("console",)
_SHARED = ("header", "trusted_proxies", "jwks_url", "jwks_file", "issuer", "audience", "actor_claim", "leeway")
"""Keys that are those of ``[auth]`` where they are absent here."""
FIGURES_RETENTION = "retention_figures_days"
"""A key of ``[record]`` about what the console shows."""
_REQUIRED = {"header": ("trusted_proxies",), "jwt": ("issuer", "audience")}


def read_console(sources: ConfigSources) -> ConsoleSettings:
    """Return the settings of the console. Raise ConfigError for a wrong or a missing one."""
    table = sources.in_file(_PATH, {*keys_of(ConsoleSettings)} - {FIGURES_RETENTION})
    record = sources.in_file(("record",))
    for key in (FIGURES_RETENTION, "retention_days"):
        if key in record:
            sources.origins[(*_PATH, FIGURES_RETENTION)] = (sources.source, f"record.{key}")
            table = table | {FIGURES_RETENTION: record[key]}
            break
    shared = {key: value for key, value in sources.in_file(("auth",)).items() if key in _SHARED}
    if "jwks_url" in table or "jwks_file" in table:
        shared = {key: value for key, value in shared.items() if key not in ("jwks_url", "jwks_file")}
    console = sources.make(ConsoleSettings, _PATH, shared | table)
    for key in _REQUIRED.get(console.auth or "", ()):
        if not getattr(console, key):
            raise sources.error((*_PATH, key), f"missing; console.auth {console.auth} requires it, here or in auth")
    if console.auth == "jwt" and bool(console.jwks_url) == bool(console.jwks_file):
        raise sources.error((*_PATH, "jwks_url"), "give either jwks_url or jwks_file, for the issuer's keys")
    if console.auth in _REQUIRED and not console.roles and not console.role_claim:
        raise sources.error((*_PATH, "roles"), "missing; without it, or role_claim, nobody has a role")
    if not console.jwks_file:
        return console
    from ..identity.jwks import read_keys  # with PyJWT, which only this mode needs

    path = (*_PATH, "jwks_file")
    try:
        read_keys(sources.in_text_file(path, path, console.jwks_file)["jwks_file"].encode())
    except ValueError as error:
        raise sources.error(path, f"{console.jwks_file}: {error}") from error
    return evolve(console, jwks_file=str(Path(sources.source).parent / console.jwks_file))


def refuse_open_console(admin_listen: str, console: ConsoleSettings, sources: ConfigSources) -> None:
    """Raise ConfigError if the console would be open to other machines without any sign-in."""
    if console.auth == "none" and admin_listen != OFF and not parse_endpoint(admin_listen).is_loopback:
        raise sources.error(
            (*_PATH, "auth"), "none, while others reach server.admin_listen: use password, header or jwt"
        )


def console_mode(admin_listen: str, console: ConsoleSettings) -> str | None:
    """Return how visitors are recognised; None if there is no console."""
    if admin_listen == OFF:
        return None
    return console.auth or ("none" if parse_endpoint(admin_listen).is_loopback else None)

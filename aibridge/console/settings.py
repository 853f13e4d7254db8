"""The settings of the console."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from .. import settings
from ..identity.header import DEFAULT_HEADER, proxies
from ..identity.metadata import DEFAULT_ACTOR_CLAIM, DEFAULT_LEEWAY
from .roles import ROLES

EVERYONE = "*"
"""Stands in the table of roles for everybody who is not in it."""


def roles() -> Any:
    """A table of roles by name."""

    def check(value: Mapping[str, object]) -> str | None:
        wrong = [role for role in value.values() if role not in ROLES]
        return f"must give each name one of the roles {', '.join(ROLES)}" if wrong else None

    return settings.setting(dict, check, factory=dict)


@frozen(kw_only=True)
class ConsoleSettings:
    """Access to the console, and its limits. Settings of ``header`` and ``jwt`` default to those of ``[auth]``."""

    auth: str | None = settings.choice("none", "password", "header", "jwt", default=None)
    """None: ``none`` on a listener that only this machine reaches; no console on any other."""
    query_timeout: float = settings.seconds(5.0)
    retention_figures_days: int = settings.count(0, least=0, most=36_500)
    """The age at which sums and sessions are deleted; 0 keeps them for ever. ``[record]`` has this key."""
    self_service: bool = settings.switch(False)
    """True if actors may see their own sessions and spending, with their gateway key."""
    roles: Mapping[str, str] = roles()
    role_claim: str | None = settings.text()
    """The claim of a token that holds the role."""
    header: str = settings.header_name(DEFAULT_HEADER)
    trusted_proxies: tuple[str, ...] = proxies()
    jwks_url: str | None = settings.url()
    jwks_file: str | None = settings.text()
    issuer: str | None = settings.text()
    audience: str | None = settings.text()
    actor_claim: str = settings.word(DEFAULT_ACTOR_CLAIM)
    leeway: float = settings.seconds(DEFAULT_LEEWAY, zero=True)

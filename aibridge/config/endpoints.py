"""What an endpoint description says, before anything listens on it.

The descriptions are Twisted's: https://docs.twisted.org/en/stable/core/howto/endpoints.html
"""

import re
from ipaddress import ip_address
from typing import Any

from attrs import frozen
from twisted.internet.endpoints import serverFromString

from .. import settings

OFF = "off"
"""Stands for no listener at all."""

_PLACE_OF_INTERFACE = {"tcp": 2, "ssl": 5}


@frozen
class Listening:
    """As much of a description as the gateway's own rules look at."""

    kind: str
    port: int | None = None
    """None where it has no port, or none that is known here."""
    interface: str | None = None
    """The address; empty for all of them, None where it has none that is known here."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. What isn't known to be so isn't."""
        return self.kind == "unix" or is_loopback(self.interface or "")


def read_description(description: str) -> Listening:
    """What the description says. Raises `ValueError` where Twisted could not listen on it."""
    _try_out(description)
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.split(r"(?<!\\):", description)]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    placed = dict(enumerate(word for word in words if "=" not in word))
    kind = placed[0].lower()
    if kind not in _PLACE_OF_INTERFACE:
        return Listening(kind)
    port = int(named.get("port") or placed[1])
    if port not in range(65536):
        raise ValueError(f"there is no port {port}")
    return Listening(kind, port, named.get("interface") or placed.get(_PLACE_OF_INTERFACE[kind], ""))


def is_loopback(host: str) -> bool:
    """Whether that name or address is this machine's own."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _try_out(description: str) -> None:
    """Let Twisted and its endpoint plugins parse it. They only store the reactor, so that none is needed here."""
    try:
        serverFromString(None, description)
    except Exception as error:  # a plugin's parser may raise anything
        raise ValueError(f"can't be listened on: {error}") from error


def endpoint(default: str, *, off: bool = False) -> Any:
    """A description of where to listen; or ``off``, where that is possible."""

    def check(value: str) -> str | None:
        return None if off and value == OFF else check_endpoint(value)

    return settings.setting(str, check, default=default)


def check_endpoint(value: str) -> str | None:
    try:
        read_description(value)
    except ValueError as error:
        return settings.on_one_line(error)
    return None

"""Endpoint descriptions, parsed before anything listens on them.

The descriptions are Twisted's: https://docs.twisted.org/en/stable/core/howto/endpoints.html
"""

import re
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.endpoints import serverFromString

from .. import settings
from ..http.proxies import is_loopback

T = TypeVar("T")

OFF = "off"
"""The value of an endpoint setting for no listener at all."""

_SHORT = re.compile(r"(?:(?P<host>localhost|[0-9]+(?:\.[0-9]+){3}):)?(?P<port>[0-9]+)")
_PLACE_OF_INTERFACE = {"tcp": 2, "ssl": 5}


@frozen
class Endpoint:
    """The parts of an endpoint description that the gateway's own rules need."""

    kind: str
    port: int | None = None
    """None if the endpoint has no port, or its kind is not known here."""
    interface: str | None = None
    """An address; empty for all addresses, None if the endpoint has none or its kind is not known here."""

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect. An unknown kind of endpoint counts as reachable by others."""
        return self.kind == "unix" or is_loopback(self.interface or "")

    @property
    def is_everywhere(self) -> bool:
        """True if it is on all addresses of this machine."""
        return self.port is not None and self.interface in ("", "0.0.0.0", "::")  # noqa: S104 - read, not bound


def parse_endpoint(description: str) -> Endpoint:
    """Return the parts of a description. Raise ValueError if Twisted can't listen on it."""
    try:
        # Twisted and its plugins only store the reactor, so that none is needed here.
        serverFromString(None, description)
    except Exception as error:  # a plugin's parser may raise anything
        hint = "write a port such as 9090, an address such as 10.0.0.5:9090, or an endpoint of Twisted's"
        raise ValueError(f"can't be listened on: {settings.on_one_line(error)}; {hint}") from error
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.split(r"(?<!\\):", description)]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    placed = dict(enumerate(word for word in words if "=" not in word))
    kind = placed[0].lower()
    if kind not in _PLACE_OF_INTERFACE:
        return Endpoint(kind)
    port = int(named.get("port") or placed[1])
    if port not in range(65536):
        raise ValueError(f"can't be listened on: no port {port}, the highest is 65535")
    return Endpoint(kind, port, named.get("interface") or placed.get(_PLACE_OF_INTERFACE[kind], ""))


def write_out(value: T) -> T | str:
    """Return the endpoint description of a port, or of an address with a port; any other value as it is."""
    if isinstance(value, str) and (short := _SHORT.fullmatch(value)):
        return f"tcp:{short['port']}:interface={short['host'] or '127.0.0.1'}"
    return value


def endpoint(default: str, *, off: bool = False) -> Any:
    """A setting for an endpoint description, or a port alone; ``off`` is accepted too if that is possible."""

    def check(value: str) -> str | None:
        if off and value == OFF:
            return None
        try:
            parse_endpoint(value)
        except ValueError as error:
            return settings.on_one_line(error)
        return None

    return settings.setting(str, check, default=default, converter=write_out)

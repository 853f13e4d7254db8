"""Mode ``header``: a proxy in front has found out who asks, and says so in a header."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from attrs import frozen
from twisted.internet.address import UNIXAddress
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from zope.interface import implementer

from .. import settings
from ..interfaces import IAuthenticator
from .authenticate import Actor

UNIX = "unix"
"""Stands for whoever may connect to a socket in the file system."""


@frozen
class Proxies:
    """Addresses whose word is taken."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool

    def include(self, peer: Any) -> bool:
        """Whether the other end of a connection is one of them."""
        if isinstance(peer, UNIXAddress):
            return self.unix
        try:
            address = ip_address(peer.host)
        except (AttributeError, ValueError):
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def read_proxies(words: Sequence[str]) -> Proxies:
    """Of CIDRs, single addresses and ``unix``. ValueError, which names it, for anything else."""
    return Proxies(tuple(ip_network(word) for word in words if word != UNIX), UNIX in words)


@implementer(IAuthenticator)
class HeaderAuthenticator:
    """Believes the named header, from those proxies only: CIDRs of the connection's other end, or ``unix``."""

    def __init__(self, *, trusted_proxies: Sequence[str], header: str = "X-Forwarded-User") -> None:
        self._proxies = read_proxies(trusted_proxies)
        self._header = header

    def authenticate(self, request: IRequest) -> Actor | None:
        """The actor that the proxy names. The header is gone then."""
        name = _only(request.requestHeaders, self._header)
        request.requestHeaders.removeHeader(self._header)
        if name is None or not self._proxies.include(request.getClientAddress()):
            return None
        return Actor(name)


def _only(headers: Headers, name: str) -> str | None:
    """The one value. Of several, in as many lines or behind commas, one may be the client's own: none is believed."""
    values = headers.getRawHeaders(name.encode(), ())
    try:
        value = b",".join(values).decode().strip()
    except UnicodeDecodeError:
        return None
    return value if value and value.isprintable() and "," not in value else None


def proxies() -> Any:
    """Whom a word is taken from: CIDRs, addresses, ``unix``."""
    return settings.setting(tuple, _check_proxies, default=(), converter=settings.as_tuple)


def _check_proxies(value: tuple[Any, ...]) -> str | None:
    if not all(type(word) is str for word in value):
        return 'must be a list of CIDRs, such as ["10.0.0.0/8"]'
    try:
        read_proxies(value)
    except ValueError as error:
        return f"takes CIDRs, addresses and unix: {settings.on_one_line(error)}"
    return None

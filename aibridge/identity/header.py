"""Mode ``header``: a proxy in front has authenticated the actor, and names it in a header."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from attrs import frozen
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from zope.interface import implementer

from .. import settings
from ..errors import Unauthorized
from ..interfaces import Actor, IAuthenticator, IRevocable
from .metadata import from_headers

DEFAULT_HEADER = "X-Forwarded-User"
UNIX = "unix"
"""Stands among addresses for every program that can connect to a socket in the file system."""

_NOT_SIGNED_IN = "Not signed in. Send requests through the proxy that signs you in to this gateway."


@frozen
class Proxies:
    """The addresses of trusted proxies."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool
    """True if connections over sockets in the file system are trusted."""

    def include(self, peer: IAddress) -> bool:
        """Return True if the other end of a connection is such a proxy."""
        if isinstance(peer, UNIXAddress):
            return self.unix
        try:
            address = ip_address(getattr(peer, "host", ""))
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def parse_proxies(words: Sequence[str]) -> Proxies:
    """Return the proxies of a list of CIDRs, single addresses and ``unix``. Raise ValueError for any other word."""
    return Proxies(tuple(ip_network(word) for word in words if word != UNIX), UNIX in words)


def proxies() -> Any:
    """A setting for the addresses of trusted proxies: CIDRs, single addresses, ``unix``."""

    def check(value: tuple[Any, ...]) -> str | None:
        if not all(type(word) is str for word in value):
            return 'must be a list of CIDRs, such as ["10.0.0.0/8"]'
        try:
            parse_proxies(value)
        except ValueError as error:
            return f"must be CIDRs, addresses or unix: {settings.on_one_line(error)}"
        return None

    return settings.setting(tuple, check, default=(), converter=settings.as_tuple)


@implementer(IAuthenticator, IRevocable)
class HeaderAuthenticator:
    """Trusts the named header if the connection comes from one of the proxies: CIDRs, single addresses or ``unix``.

    `metadata_headers` has the header of each name of the actor's metadata.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Sequence[str],
        header: str = DEFAULT_HEADER,
        metadata_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._proxies = parse_proxies(trusted_proxies)
        self._header = header
        self._metadata_headers = metadata_headers or {}

    def authenticate(self, request: IRequest) -> Actor:
        """Return the actor that the proxy names, and remove its headers. Raise Unauthorized if there is none."""
        name = _single_value(request.requestHeaders, self._header)
        metadata = from_headers(request.requestHeaders, self._metadata_headers) if self._metadata_headers else {}
        request.requestHeaders.removeHeader(self._header)
        peer = request.getClientAddress()
        if not self._proxies.include(peer):
            address = "unix" if isinstance(peer, UNIXAddress) else getattr(peer, "host", "an unknown address")
            raise Unauthorized(_NOT_SIGNED_IN, reason=f"{address} is not among the trusted proxies")
        if name is None:
            raise Unauthorized(
                _NOT_SIGNED_IN, reason=f"the proxy did not send exactly one plain value of {self._header}"
            )
        return Actor(name, metadata)


def _single_value(headers: Headers, name: str) -> str | None:
    """Return a header's value, or None if there are several, as lines or behind commas: one may be the client's own."""
    values = headers.getRawHeaders(name.encode(), ())
    try:
        value = b",".join(values).decode().strip()
    except UnicodeDecodeError:
        return None
    return value if value and value.isprintable() and "," not in value else None

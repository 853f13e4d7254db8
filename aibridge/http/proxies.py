"""The HTTP proxy that a request goes through, if any: one rule for providers, MCP servers and issuers of tokens.

The variables are read as curl reads them: https://curl.se/docs/manpage.html#ENVIRONMENT. Beyond curl, ``HTTP_PROXY`` is
read in upper case too, and a host in ``NO_PROXY`` may have a port.
"""

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

OFF = "off"
"""The setting of a server that is reached without a proxy, whatever the environment says."""

_DEFAULT_PORT = 1080  # curl's, for a proxy without one
_VARIABLES = {True: ("https_proxy", "all_proxy"), False: ("http_proxy", "all_proxy")}
"""The variables that name the proxy, by whether the request is made over TLS. The first that is set counts."""


@frozen
class Proxy:
    """An HTTP proxy. Only its address is ever shown."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    authorization: bytes | None = field(default=None, repr=False)
    """The value of the ``Proxy-Authorization`` header, if the proxy wants one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_proxy(url: str) -> Proxy:
    """Return the proxy of a URL such as ``http://user:password@host:3128``; user, password and scheme may be absent.

    :raises ValueError: the URL can't be used. The message does not contain it, as it may hold a password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
        usable = parts.scheme == "http" and host and port != 0 and url.isprintable() and not set(" \\") & {*url}
        usable = usable and parts.path in ("", "/") and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable or not host:
        raise ValueError("must be the URL of an HTTP proxy, such as http://host:3128 or http://user:password@host:3128")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + b64encode(credentials.encode())
    return Proxy(host, port or _DEFAULT_PORT, authorization)


def find_proxy(url: str, setting: str | None, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for requests to that URL; None to connect directly.

    This machine itself is never reached through a proxy. `setting` is the URL of a proxy, or `OFF`; it replaces what
    the environment's variables say, ``NO_PROXY`` too.

    :raises ValueError: the URL of the proxy can't be used; the message names the variable that it came from.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme.lower() == "https"
    host = (parts.hostname or "").rstrip(".")
    if setting == OFF or is_loopback(host):
        return None
    if setting is not None:
        return read_proxy(setting)
    for name in _VARIABLES[is_tls]:
        if given := _variable(environ, name):
            break
    else:
        return None
    port = parts.port or (443 if is_tls else 80)
    exempt = _variable(environ, "no_proxy").lower().replace(",", " ").split()
    if any(entry == "*" or _matches(host, port, entry) for entry in exempt):
        return None
    try:
        return read_proxy(given)
    except ValueError as error:
        raise ValueError(f"{name.upper()} in the environment {error}") from None


def names_proxy(setting: str | None, environ: Mapping[str, str]) -> bool:
    """Return True if there is any server for which `find_proxy` would find a proxy."""
    names = {name for variables in _VARIABLES.values() for name in variables}
    return setting != OFF and (setting is not None or any(_variable(environ, name) for name in names))


def is_fixed(host: str) -> bool:
    """Return True for an address and for ``localhost``: others can let no name of theirs lead to them."""
    try:
        ip_address(host)
    except ValueError:
        return is_loopback(host)
    return True


def is_loopback(host: str) -> bool:
    """Return True if that name or address is this machine's own."""
    try:
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False


def _variable(environ: Mapping[str, str], name: str) -> str:
    """Return a variable's value. Its name in lower case comes first, if it is set at all."""
    return environ.get(name, environ.get(name.upper(), "")).strip()


def _matches(host: str, port: int, entry: str) -> bool:
    """Return True if an entry of ``NO_PROXY`` names that host: a name with all below it, an address or a network."""
    name, colon, only_port = entry.rpartition(":")
    if colon and only_port.isdigit() and (name.endswith("]") or ":" not in name):
        return int(only_port) == port and _matches(host, port, name)
    try:
        address = ip_address(host)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False

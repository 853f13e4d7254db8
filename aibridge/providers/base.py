"""What all providers are: a name, an upstream, routes, a credential, and how patiently they are waited for."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from attrs import field, frozen
from twisted.web.http_headers import Headers
from zope.interface import implementer

from ..client.crossing import ACTOR_ID, ACTOR_METADATA_PREFIX
from ..client.routes import Route
from ..errors import GatewayError, MethodNotAllowed, RouteUnknown
from ..identity.authenticate import Actor
from ..identity.credentials import Credential, choose_credential
from ..interfaces import IProvider
from ..upstream.circuit_breaker import BreakerSettings

# TRACE is not among them: a provider that knows it would tell the client the credential that it was asked with.
_PASSED = (b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT")
ABORT = "abort"
DRAIN = "drain"


def without_slash(url: str) -> str:
    """A base URL, to which paths can be added."""
    return url.rstrip("/")


# Without slots, of which attrs makes every look at an attribute dear where there are cached properties.
@implementer(IProvider)
@frozen(kw_only=True, slots=False)
class Provider:
    """A configured provider. Times are in seconds."""

    type: ClassVar[str]
    routes: ClassVar[tuple[Route, ...]]
    mount: ClassVar[str] = ""
    """What the client's path has before the part that `base_url` goes on with."""
    credential_header: ClassVar[bytes]
    credential_form: ClassVar[bytes]
    overloaded: ClassVar[frozenset[int]] = frozenset({429, 503, 504})
    """Statuses by which it says that it can't take more."""

    name: str
    base_url: str = field(converter=without_slash)
    api_key: str | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 300.0
    """Between two pieces of an answer."""
    on_disconnect: str = ABORT
    """What becomes of an answer whose client has gone: `ABORT` ends it, `DRAIN` reads on for exact figures."""
    send_actor_headers: bool = False
    extra_headers: Mapping[str, str] = field(factory=dict, repr=False)
    circuit_breaker: BreakerSettings | None = None
    """When it is left alone because it fails; never, without."""
    passthrough: tuple[str, ...] = field(default=(), converter=tuple)
    """Further paths that pass through, with all that is below them; ``/embeddings`` follows on the base URL."""

    def route(self, method: bytes, path: str) -> Route:
        """The route of a decoded path below the provider's name; RouteUnknown or MethodNotAllowed without one."""
        matching = self._known_paths.get(path) or self._matching(path)
        if not matching:
            raise RouteUnknown(f"The gateway passes no {path[:200]!r} on to {self.name}.")
        for route in matching:
            if method in (route.methods or _PASSED):
                return route
        allowed = sorted({name.decode() for route in matching for name in route.methods or _PASSED})
        raise MethodNotAllowed(f"{path[:200]!r} takes {', '.join(allowed)}.", allowed=allowed)

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        """Where the provider has what the client asked for; both parts travel byte for byte.

        RouteUnknown where the mount is written in another way, such as ``/v1%2F``: the rest of the path would no
        longer begin with the slash that keeps it apart from the base URL's host.
        """
        before, mount, path = raw_path.partition(self.mount.encode() + b"/")
        if before or not mount:
            raise RouteUnknown(f"The paths of {self.name} begin with {self.mount}/, written just so.")
        return b"%b/%b%b" % (self.base_url.encode(), path, b"?" + query if query else b"")

    def credential(self, client: Headers) -> Credential:
        """The credential of a request with these headers."""
        key = self.api_key
        configured = (self.credential_header, self.credential_form % key.encode()) if key else None
        return choose_credential(client, configured, f"providers.{self.name}.api_key")

    def complete(self, headers: Headers, credential: Credential, actor: Actor) -> None:
        """Adds what only the gateway may say: credential, configured headers, and who asks where that is wanted."""
        for header, secret in credential.headers:
            headers.setRawHeaders(header, [secret])
        for name, text in self.extra_headers.items():
            headers.setRawHeaders(name, [text])
        if self.send_actor_headers:
            headers.setRawHeaders(ACTOR_ID, [_header_text(actor.id)])
            for key, item in actor.metadata.items():
                headers.setRawHeaders(ACTOR_METADATA_PREFIX + _header_name(key), [_header_text(item)])

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """An error in the shape of this provider's API."""
        raise NotImplementedError

    def _matching(self, path: str) -> list[Route]:
        return [route for route in self._all_routes if route.matches(path)]

    @cached_property
    def _known_paths(self) -> dict[str, list[Route]]:
        """What matches the paths that nearly all requests have."""
        return {route.path: self._matching(route.path) for route in self._all_routes}

    @cached_property
    def _all_routes(self) -> tuple[Route, ...]:
        further = [f"{self.mount}/{path.strip('/')}" for path in self.passthrough]
        return (*self.routes, *map(Route, further), *(Route(path + "/") for path in further))


def _header_name(value: object) -> bytes:
    """A name that a header can have. https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2"""
    return re.sub(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]", "-", str(value)).encode()


def _header_text(value: object) -> bytes:
    """Text that can't break out of its header."""
    return "".join(character if character.isprintable() else " " for character in str(value)).strip().encode()

"""The routes of a provider: the paths below its name, and how each is served."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from ..errors import GatewayError
from ..wire.formats import WireFormat

if TYPE_CHECKING:
    from ..interfaces import IProvider


class PathRequest(Protocol):
    """A request of a cloud's own client, a part of which stands in its path."""

    @property
    def framed(self) -> bool:
        """True if the client expects a stream in Amazon's framing."""

    def restore(self, body: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
        """Return the body with the part of the path in it, and the headers that belong to it.

        Raise BadRequest if the body is no JSON object.
        """


@frozen
class Route:
    """A path below the provider's name; with a slash at its end, every path below that."""

    path: str
    format: WireFormat | None = None
    """The API of an intercepted route; None passes requests through."""
    methods: tuple[bytes, ...] = ()
    """The methods that the route takes; empty for all that may pass through."""
    offers_tools: bool = True
    """True if tools may be injected, on an intercepted route."""
    fetched: WireFormat | None = None
    """The API of responses that a GET fetches after their exchange, on a passed route."""
    adapted: WireFormat | None = None
    """The API as which a request on a passed route that names a model is read, to be adapted to the provider."""
    cloud: PathRequest | None = None
    """The part of the request in its path, if a cloud's own client makes it."""
    answered_here: bool = False
    """True for a client's probe, which needs no credential and reaches no provider."""
    label: str = ""
    """The route's name in metrics, if that is not its path."""

    tells_spending: bool = False
    """True for the gateway's own route on which actors learn what they have spent."""

    def matches(self, path: str) -> bool:
        """Return True if this decoded path is on the route."""
        if self.path.endswith("/"):
            return path.startswith(self.path) and path != self.path
        return path.removesuffix("/") == self.path


def find_route(provider: "IProvider", method: bytes, path: str) -> Route | None:
    """Return a provider's route for a decoded path; None if the provider has no such route."""
    try:
        return provider.route(method, path)
    except GatewayError:
        return None

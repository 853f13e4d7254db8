"""The routes of a provider: the paths below its name, and how each is served."""

from attrs import frozen

from ..wire.formats import WireFormat


@frozen
class Route:
    """A path below the provider's name; with a slash at its end, all that is below it.

    Without a format it is passed through.
    """

    path: str
    format: WireFormat | None = None
    methods: tuple[bytes, ...] = ()
    """The methods that it takes; all that may pass, where none is named."""
    offers_tools: bool = True
    """Whether the gateway's tools may be offered on an intercepted route."""
    fetched: WireFormat | None = None
    """The format of answers that a GET of a passed route fetches after their exchange."""
    answered_here: bool = False
    """A client's probe, which needs no credential and reaches no provider."""

    def matches(self, path: str) -> bool:
        """Whether that decoded path is this route."""
        if self.path.endswith("/"):
            return path.startswith(self.path) and path != self.path
        return path.removesuffix("/") == self.path

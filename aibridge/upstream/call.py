"""The request of one round, and the ending of its answer, as values."""

from enum import Enum
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.web.http_headers import Headers

if TYPE_CHECKING:
    from ..identity.credentials import Credential
    from .adaptation import Adaptation
    from .key_pool import Conversation


@define(eq=False)
class UpstreamCall:
    """A request as it goes to the provider."""

    method: bytes
    url: bytes
    headers: Headers
    body: bytes = field(repr=False)
    credential: "Credential | None" = None
    """The credential that the headers have."""
    conversation: "Conversation | None" = None
    """The conversation that keeps its key, where the provider has several."""
    once: bool = False
    """True if the request must not be sent again once the provider may have read it."""
    pinned: bool = False
    """True if the request goes on from what the provider keeps for the credential, so that no other key can serve."""
    adaptation: "Adaptation | None" = None
    """None if the provider takes the request as it is."""

    def renew(self, body: bytes) -> None:
        """Set the body of another round."""
        self.body = body if self.adaptation is None else self.adaptation.edit(body)


class Ending(Enum):
    """The way in which a provider's answer ended."""

    WHOLE = "whole"
    """Its last event was read, or its body had its proper end."""
    UNBOUNDED = "unbounded"
    """Its body ended with its connection, which may have been cut: only what was read can tell."""
    BROKEN = "broken"
    """Its connection broke."""

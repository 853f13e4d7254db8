"""The request of one round, and the ending of its answer, as values."""

from enum import Enum

from attrs import define, field
from twisted.web.http_headers import Headers


@define(eq=False)
class UpstreamCall:
    """One request as it goes to the provider."""

    method: bytes
    url: bytes
    headers: Headers
    body: bytes = field(repr=False)
    once: bool = False
    """True if the request must not be sent again once the provider may have read it."""


class Ending(Enum):
    """The way in which a provider's answer ended."""

    WHOLE = "whole"
    """Its last event was read, or its body had its proper end."""
    UNBOUNDED = "unbounded"
    """Its body ended with its connection, which may have been cut: only what was read can tell."""
    BROKEN = "broken"
    """Its connection broke."""

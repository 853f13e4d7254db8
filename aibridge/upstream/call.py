"""The request of one round, as a value."""

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

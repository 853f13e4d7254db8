"""A client's request once it is known who asks for what."""

from typing import Any

from attrs import define, field
from twisted.web.http_headers import Headers

from ..errors import BodyTooLarge
from ..identity.authenticate import Actor
from .paths import RequestPath
from .routes import Route


@define(eq=False)
class ClientRequest:
    """What came, from whom, on which route. `limit` bounds the body, in bytes."""

    request: Any
    path: RequestPath
    route: Route
    actor: Actor
    limit: int
    headers: Headers = field(init=False)
    """The client's headers."""

    @headers.default
    def _headers_of_request(self) -> Headers:
        headers: Headers = self.request.requestHeaders
        return headers

    @property
    def method(self) -> bytes:
        """Such as ``POST``."""
        method: bytes = self.request.method
        return method

    def header(self, name: str) -> str | None:
        """The first value of that header."""
        values = self.headers.getRawHeaders(name.encode())
        return values[0].decode("utf-8", "replace") if values else None

    def read_body(self) -> bytes:
        """The whole body as it came, once. BodyTooLarge, where a host's Site let more through."""
        body: bytes = self.request.content.read(self.limit + 1)
        self.request.content.close()  # nobody else reads it, and the answer may take long
        if len(body) > self.limit:
            raise BodyTooLarge(f"The body is over the {self.limit} bytes that are allowed here.")
        return body

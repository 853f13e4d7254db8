"""A client's request: who sends it, on which route, and what its body asks of the model."""

from collections.abc import Mapping
from typing import Any

from attrs import define

from ..errors import BodyTooLarge
from ..http.headers import RawHeaders
from ..identity.clients import client_of, session_of
from ..interfaces import Actor
from ..wire.formats import WireFormat
from ..wire.request_body import RequestBody, decode_body, read_request
from ..wire.stored_ids import continued_ids, object_ids
from .paths import RequestPath
from .routes import Route


@define(eq=False)
class ModelRequest:
    """A request to a model, parsed once. Strings are the client's, None where it sent none."""

    body: RequestBody
    prompt: str | None
    """The user's words of this turn."""
    tool_result_id: str | None
    """The id of the tool call that the newest tool result answers."""
    client: str
    """The client program's name."""
    session: str | None
    """The client's own id of the conversation."""
    user_agent: str | None
    facts: Mapping[str, object] | None = None
    """Further facts of the request for the records' metadata, by name."""

    @property
    def continued_ids(self) -> list[str]:
        """The ids of what the provider keeps of earlier requests, and this request goes on from."""
        return continued_ids(self.body.document)

    @property
    def object_ids(self) -> list[str]:
        """The ids of the provider's files and vector stores that the request names."""
        return object_ids(self.body.decoded, self.body.document)


@define(eq=False)
class ClientRequest:
    """An authenticated request to a known route. `max_body_bytes` bounds its body, unpacked too."""

    request: Any
    path: RequestPath
    route: Route
    actor: Actor
    max_body_bytes: int
    headers: RawHeaders
    """The client's headers, less the gateway's own credential."""

    def read_body(self) -> bytes:
        """Return the body as it came; it can be read once. Raises `BodyTooLarge` if a host's Site let more through."""
        content, limit = self.request.content, self.max_body_bytes
        body: bytes = content.read(limit + 1)
        content.close()  # the answer may take long
        if len(body) > limit:
            raise BodyTooLarge(f"The body is over the limit of {limit} bytes.")
        return body

    def peek_body(self) -> bytes:
        """Return a passed request's body without its content codings. It can still be read.

        Raise `BadRequest` if it is not compressed as it says, `BodyTooLarge` if it unpacks to too much.
        """
        encoded: bytes = self.request.content.read(self.max_body_bytes + 1)
        self.request.content.seek(0)
        codings = self.headers.by_name.get(b"content-encoding")
        return decode_body(encoded, codings[0].decode("latin-1"), self.max_body_bytes) if codings else encoded

    def parse(self, wire_format: WireFormat) -> ModelRequest:
        """Read and parse the body. Raises `BadRequest` or `BodyTooLarge` if it is no request to a model."""
        fields = self.headers.by_name
        given = fields.get(b"content-encoding")
        codings = given[0].decode("latin-1") if given else ""
        encoded = self.read_body()
        if self.route.cloud is not None:
            encoded, restored = self.route.cloud.restore(decode_body(encoded, codings, self.max_body_bytes))
            codings = ""
            self.headers.removeHeader(b"content-encoding")
            for name, value in restored.items():
                self.headers.set(name, value)
        body = read_request(encoded, codings, self.max_body_bytes)
        turn = wire_format.last_turn(body.document)
        client = client_of(fields)
        user_agent = fields.get(b"user-agent")
        return ModelRequest(
            body,
            turn.prompt,
            turn.tool_result_id,
            client,
            session_of(client, fields, body.document),
            user_agent[0].decode("utf-8", "replace") if user_agent else None,
        )

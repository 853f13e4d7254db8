"""A client's request: who sends it, on which route, and what its body asks of the model."""

from collections.abc import Mapping
from typing import Any

from attrs import define

from ..errors import BadRequest, BodyTooLarge
from ..http.headers import RawHeaders
from ..identity.clients import client_of, session_of
from ..interfaces import Actor
from ..wire import jsontext
from ..wire.formats import WireFormat
from ..wire.jsontext import JsonObject, nonempty_str
from ..wire.request_body import RequestBody, decode_body, read_request
from .paths import RequestPath
from .routes import Route

_CONTINUATIONS = frozenset(("conversation", "previous_response_id", "thread"))
"""The members of a request that go on from what the provider keeps."""


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
    """What else the records say of the request."""

    @property
    def continued_ids(self) -> list[str]:
        """The ids of what the provider keeps of earlier requests, and this request goes on from."""
        return _continued_ids(self.body.document)


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

    def peek_continued_ids(self) -> list[str]:
        """Return the ids of what a passed request goes on from. Its body can still be read.

        Raise `BadRequest` if that is neither empty nor a JSON object, `BodyTooLarge` if it unpacks to too much.
        """
        encoded = self.request.content.read(self.max_body_bytes + 1)
        self.request.content.seek(0)
        codings = self.headers.by_name.get(b"content-encoding")
        if codings:
            encoded = decode_body(encoded, codings[0].decode("latin-1"), self.max_body_bytes)
        document = jsontext.load_object(encoded) if encoded else {}
        if document is None:
            raise BadRequest("The request body must be a JSON object.")
        return _continued_ids(document)

    def parse(self, wire_format: WireFormat) -> ModelRequest:
        """Read and parse the body. Raises `BadRequest` or `BodyTooLarge` if it is no request to a model."""
        fields = self.headers.by_name
        codings = fields.get(b"content-encoding")
        encoded = self.read_body()
        if self.route.cloud is not None:
            encoded, restored = self.route.cloud.restore(encoded)
            for name, value in restored.items():
                self.headers.set(name, value)
        body = read_request(encoded, codings[0].decode("latin-1") if codings else "", self.max_body_bytes)
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


def _continued_ids(document: JsonObject) -> list[str]:
    if _CONTINUATIONS.isdisjoint(document):
        return []
    conversation, thread = document.get("conversation"), document.get("thread")
    found = [
        document.get("previous_response_id"),
        conversation.get("id") if isinstance(conversation, dict) else conversation,
        thread.get("previous_message_id") if isinstance(thread, dict) else None,
    ]
    return [name for each in found if (name := nonempty_str(each)) is not None]

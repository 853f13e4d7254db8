"""The requests on a WebSocket, read as requests to a model."""

from attrs import frozen

from ..client.request import ClientRequest, ModelRequest
from ..failover import Failover
from ..identity.clients import client_of, session_of
from ..identity.credentials import Credential
from ..wire import json_splice, jsontext
from ..wire.jsontext import JsonObject, nonempty_str
from ..wire.request_body import read_request
from ..wire.responses.reader import last_turn
from ..wire.sse import BOM

CREATE, STEER = "response.create", "response.steer"
_SESSION_HEADER = b"session-id"
_BLANK = BOM + b" \t\r\n"


@frozen(eq=False, kw_only=True)
class Handshake:
    """The request that opened a WebSocket; each request on it has its headers and its actor."""

    request: ClientRequest
    connection_id: str
    credential: Credential
    """The credential with which the provider's end was opened."""
    failover: Failover | None = None
    """The failover by which this provider serves in the place of another one, if it does."""

    def read(self, message: bytes, document: JsonObject) -> ModelRequest:
        """Return the request to a model that a message is. Raise `BadRequest` if it names no model.

        A request that only warms the provider up has no prompt.
        """
        body = read_request(message, "", self.request.max_body_bytes)
        body.streaming = True
        turn = last_turn(document)
        is_prewarm = warms_up(document)
        facts: dict[str, object] = {"transport": "websocket", "connection_id": self.connection_id}
        for name in ("stream_id", "previous_response_id"):
            if value := nonempty_str(document.get(name)):
                facts[name] = value
        if is_prewarm:
            facts["prewarm"] = True
        headers = self.request.headers.by_name
        client = client_of(headers)
        agents = headers.get(b"user-agent")
        return ModelRequest(
            body,
            None if is_prewarm else turn.prompt,
            turn.tool_result_id,
            client,
            self._session(client, document),
            agents[0].decode("utf-8", "replace") if agents else None,
            facts,
        )

    def _session(self, client: str, document: JsonObject) -> str | None:
        """Return the client's own name for the conversation, from the handshake or else from the message."""
        if (given := session_of_handshake(self.request)) is not None:
            return given
        headers = self.request.headers.by_name
        metadata = document.get("client_metadata")
        named = nonempty_str(metadata.get("session_id")) if isinstance(metadata, dict) else None
        return named or session_of(client, headers, document)


def may_be_create(message: bytes) -> bool:
    """Return True if a parser more lenient than the gateway's could find a request in a text that is no JSON."""
    return message.lstrip(_BLANK)[:1] == b"{" and (CREATE.encode() in message or b"\\u" in message)


def session_of_handshake(request: ClientRequest) -> str | None:
    """Return the client's own name for the conversation, if it says so when it asks for a WebSocket."""
    headers = request.headers.by_name
    if named := session_of(client_of(headers), headers, {}):
        return named
    values = headers.get(_SESSION_HEADER)
    return values[0].decode("utf-8", "replace") if values and values[0] else None


def warms_up(document: JsonObject) -> bool:
    """Return True for a request that only warms the provider up: there is no answer of the model."""
    return document.get("generate") is False or document.get("prewarm") is True


def steered_request(create: bytes, steers: list[JsonObject], response_id: str | None) -> bytes:
    """Return the request that an answer would have had which follows a steered one.

    `create` asked for that one, which has the `response_id`; the client has steered it with `steers`.
    """
    given = [item for steer in steers for item in _input_of(steer)]
    members = {"input": jsontext.dump(given)}
    if response_id is not None:
        members["previous_response_id"] = jsontext.dump(response_id)
    return json_splice.remove_member(json_splice.change_members(create, members), "generate")


def request_of_unknown(event: JsonObject, stream_id: str | None) -> bytes:
    """Return the request of an answer to which no request is known."""
    response = event.get("response")
    model = nonempty_str(response.get("model")) if isinstance(response, dict) else None
    lane = {} if stream_id is None else {"stream_id": stream_id}
    return jsontext.dump({"type": CREATE, "model": model or "unknown", "input": [], **lane})


def _input_of(steer: JsonObject) -> list[object]:
    """Return the input items of a steering message. A string is a message of the user."""
    given = steer.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return given if isinstance(given, list) else []

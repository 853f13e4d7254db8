"""What a client asks: one parse of its body, and the little that the gateway must know of it."""

from attrs import define

from ..errors import BadRequest
from . import jsontext
from .encoding import decode_body
from .jsontext import JsonObject

_LONGEST_MODEL = 512
"""Characters; what is kept by the model's name, metrics among it, must not grow with what a client makes up."""


@define(eq=False)
class RequestBody:
    """A request's body: as it came, without its content codings, and read."""

    encoded: bytes
    decoded: bytes
    document: JsonObject
    model: str
    streaming: bool


def read_request(encoded: bytes, codings: str, limit: int) -> RequestBody:
    """Reads a body that may be compressed. BadRequest or BodyTooLarge, where it isn't what every request must be."""
    decoded = decode_body(encoded, codings, limit) if codings else encoded
    try:
        body = jsontext.load(decoded)
    except ValueError:
        raise BadRequest("The request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise BadRequest("The request body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model: Field required: the name of a model.")
    if len(model) > _LONGEST_MODEL:
        raise BadRequest(f"model: A model's name has {_LONGEST_MODEL} characters at most.")
    return RequestBody(encoded, decoded, body, model, body.get("stream") is True)

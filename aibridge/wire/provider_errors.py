"""A provider's errors that can't pass as they are, because the client has the beginning of an answer already.

The client gets the provider's error object in the form of an event: clients act on its type, code and words.
"""

from typing import NoReturn

from ..errors import ProviderError, UpstreamFailed
from . import json_splice, jsontext
from .formats import Answer, error_name
from .jsontext import JsonObject, nonempty_str

MAX_ERROR = 64 * 1024
"""Bytes of an error's body that are read. Of a longer one the status says what it is."""

# https://docs.claude.com/en/api/errors and https://platform.openai.com/docs/guides/error-codes
_KINDS = {
    401: ("authentication_error", "invalid_request_error", "invalid_api_key"),
    402: ("billing_error", "insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "invalid_request_error", None),
    404: ("not_found_error", "invalid_request_error", None),
    408: ("timeout_error", "server_error", "timeout"),
    413: ("request_too_large", "invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    503: ("overloaded_error", "server_error", "server_is_overloaded"),
    504: ("timeout_error", "server_error", "timeout"),
    529: ("overloaded_error", "server_error", "server_is_overloaded"),
}
"""Anthropic's type, and OpenAI's type and code, by status, for errors that say nothing in the form of an API."""


class ErrorTap:
    """A tap on the body of an answer that can't pass: it is read, and raised as an error of the gateway's own."""

    rewritten_length = None
    at_end = False

    def __init__(self, provider: str, status: int, answer: Answer, between_frames: bool) -> None:
        self.answer = answer
        self.between_frames = between_frames
        self._provider = provider
        self._status = status
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Keep the beginning of the body. Raise the error if the body is longer than errors are."""
        self._body += data
        if len(self._body) > MAX_ERROR:
            self._raise()
        return b""

    def close(self, whole: bool = True) -> None:
        """Raise the error that the body holds."""
        self._raise()

    def release(self) -> bytes:
        """Return nothing: no byte passes."""
        return b""

    def _raise(self) -> NoReturn:
        error = provider_error(self._provider, self._status, self._body)
        if isinstance(error, ProviderError):
            self.answer.error = error.recorded
        raise error


def provider_error(provider: str, status: int, body: bytes) -> UpstreamFailed:
    """Return the error of a response with this status and body, after which an answer can't go on."""
    document = document_of(body)
    fields = error_object(document)
    if status < 400 and not fields:
        return UpstreamFailed(f"{provider} changed its answer's form: a stream and a JSON body can't be joined.")
    kind = error_kind(status)
    message = nonempty_str(fields.get("message")) or f"{provider} responded with HTTP {status} during the answer."
    name = error_name(fields)
    return ProviderError(
        message,
        fields={key: value for key, value in fields.items() if value is not None},
        kind=kind,
        request_id=nonempty_str(document.get("request_id")),
        provider_status=status,
        recorded=f"{kind[0] if name == 'error' else name} (HTTP {status})",
    )


def error_kind(status: int) -> tuple[str, str, str | None]:
    """Return Anthropic's type, and OpenAI's type and code, of an error of which only the status is known."""
    default = ("invalid_request_error", "invalid_request_error", None)
    return _KINDS.get(status, default if 400 <= status < 500 else ("api_error", "server_error", None))


def document_of(body: bytes) -> JsonObject:
    """Return the JSON object in an error's body; an empty one if it holds none."""
    if body.lstrip().startswith(b"["):  # Google puts the error into a list
        try:
            body = next(iter(json_splice.elements(body)), b"")
        except ValueError:
            return {}
    return jsontext.load_object(body) or {}


def error_object(document: JsonObject) -> JsonObject:
    """Return the error in a document, in whichever of the usual places it stands."""
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if nonempty_str(error):
        return {"message": error}
    if nonempty_str(document.get("message")):
        return {key: document[key] for key in ("message", "type", "code", "param") if key in document}
    return {"message": document["detail"]} if nonempty_str(document.get("detail")) else {}

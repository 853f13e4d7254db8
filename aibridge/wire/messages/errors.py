"""Errors of clouds in Anthropic's shape. AWS, Google and Azure have shapes of their own, which no client reads."""

from collections.abc import Mapping

from .. import jsontext
from ..jsontext import JsonObject, nonempty_str
from ..provider_errors import MAX_ERROR, document_of, error_kind, error_object

_KINDS = {
    "throttling": "rate_limit_error",
    "servicequotaexceeded": "rate_limit_error",
    "resource_exhausted": "rate_limit_error",
    "modelnotready": "rate_limit_error",
    "modeltimeout": "timeout_error",
    "deadline_exceeded": "timeout_error",
    "serviceunavailable": "overloaded_error",
    "unavailable": "overloaded_error",
    "accessdenied": "permission_error",
    "permission_denied": "permission_error",
    "unrecognizedclient": "authentication_error",
    "invalidsignature": "authentication_error",
    "expiredtoken": "authentication_error",
    "unauthenticated": "authentication_error",
    "resourcenotfound": "not_found_error",
    "not_found": "not_found_error",
    "validation": "invalid_request_error",
    "invalid_argument": "invalid_request_error",
    "failed_precondition": "invalid_request_error",
}
"""Anthropic's types by the clouds' names of errors, in lower case and without ``Exception``."""


class ErrorTranslator:
    """Translates the body of one error. A body that has Anthropic's shape already keeps its bytes."""

    ended = False

    def __init__(self, status: int, name: str = "", request_id: str | None = None) -> None:
        self._status = status
        self._name = name
        """The error's name in the head of the response; empty if it stands in the body."""
        self._request_id = request_id
        self._body = b""
        self._is_long = False

    def feed(self, data: bytes) -> bytes:
        """Keep the beginning of the body. What is longer than errors are passes as it is."""
        if self._is_long:
            return data
        self._body += data
        if len(self._body) <= MAX_ERROR:
            return b""
        self._is_long = True
        return self._body

    def close(self) -> bytes:
        """Return the body in Anthropic's shape."""
        if self._is_long:
            return b""
        return anthropic_error(self._status, self._body, self._name, self._request_id)


def anthropic_error(status: int, body: bytes, name: str = "", request_id: str | None = None) -> bytes:
    """Return the body of an error in Anthropic's shape. `name` is the cloud's name of the error, if it is known."""
    document = document_of(body)
    inner = document.get("error")
    if document.get("type") == "error" and isinstance(inner, dict) and nonempty_str(inner.get("type")):
        return body
    fields = error_object(document)
    text = nonempty_str(fields.get("message")) or nonempty_str(document.get("Message"))
    shown = text or f"The provider responded with HTTP {status}."
    translated = {"type": "error", "error": {"type": _kind(status, name, fields, document), "message": shown}}
    return jsontext.dump(translated | ({"request_id": request_id} if request_id else {}))


def _kind(status: int, name: str, fields: JsonObject, document: Mapping[str, object]) -> str:
    """Return Anthropic's type of an error: by its name in the cloud, or else by its status."""
    names = (name, fields.get("status"), fields.get("code"), document.get("__type"))
    for given in filter(None, map(nonempty_str, names)):
        plain = given.rpartition("#")[2].partition(":")[0].lower().removesuffix("exception")
        if plain in _KINDS:
            return _KINDS[plain]
    return error_kind(status)[0]

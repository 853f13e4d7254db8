"""OpenAI's Responses API. https://platform.openai.com/docs/api-reference/responses · streams: …/responses-streaming"""

import re
from typing import Any

from ...errors import GatewayError, encode
from .. import jsontext
from ..formats import (
    LAST,
    PASS,
    Answer,
    Thought,
    ToolCall,
    Verdict,
    WireFormat,
    error_name,
    parse_arguments,
)
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import LastTurn, read_last_turn, user_texts
from ..sse import make_frame
from ..usage import openai_token_counts

# Every delta's sum comes again in the item's `done`, so no delta needs to be read.
_DELTA = re.compile(rb'event: (response\.[a-z_.]+\.delta)\ndata: \{"type":"\1"')
_ENDINGS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


class ResponsesReader:
    """Reads along with one answer."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._items_seen: set[str] = set()

    def skips(self, frame: bytes) -> bool:
        """Deltas of every kind."""
        return _DELTA.match(frame) is not None

    def read_event(self, data: bytes) -> Verdict:
        """One event, told by the ``type`` in its data."""
        event = jsontext.load_object(data)
        return self.read(event) if event is not None else PASS

    def read(self, event: JsonObject) -> Verdict:
        """The same of an event that has been parsed."""
        kind = nonempty_str(event.get("type"))
        if kind is None:
            return PASS
        response = event.get("response")
        if kind == "response.output_item.done":
            self._read_item(event.get("item"))
        elif kind in _ENDINGS:
            self._read_response(response if isinstance(response, dict) else {})
            return LAST
        elif kind == "error":
            self.answer.error = error_name(event.get("error") or {"type": event.get("code")})
            return LAST
        elif isinstance(response, dict):
            self._note_id(response)
        return PASS

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """A whole response object, or the API's error object."""
        self._read_response(body)
        return LAST

    def _read_response(self, body: JsonObject) -> None:
        """A response, as it stands in a JSON body and in the last event of a stream."""
        self._note_id(body)
        usage = body.get("usage")
        if isinstance(usage, dict):
            self.answer.usage = usage
        for item in objects(body.get("output")):
            self._read_item(item)
        if body.get("error") or body.get("status") == "failed":
            self.answer.error = error_name(body.get("error"))
        self.answer.deferred = body.get("status") in ("queued", "in_progress")
        self.answer.finished = not self.answer.deferred

    def _note_id(self, response: JsonObject) -> None:
        self.answer.response_id = nonempty_str(response.get("id")) or self.answer.response_id

    def _read_item(self, item: object) -> None:
        if not isinstance(item, dict) or self._seen_before(item):
            return
        kind = nonempty_str(item.get("type")) or ""
        if kind == "reasoning":
            self._think(objects(item.get("summary")), "reasoning_summary")
        elif kind == "message" and item.get("phase") == "commentary":
            self._think(objects(item.get("content")), "commentary")
        elif kind.endswith("_call"):
            self.answer.tool_calls.append(_tool_call(kind, item))

    def _seen_before(self, item: JsonObject) -> bool:
        """A streamed item comes twice: when it is done, and in the whole."""
        key = nonempty_str(item.get("id")) or nonempty_str(item.get("call_id"))
        if key is None:
            return False
        seen = key in self._items_seen
        self._items_seen.add(key)
        return seen

    def _think(self, parts: list[dict[str, Any]], source: str) -> None:
        contents = [content for part in parts if (content := nonempty_str(part.get("text")))]
        self.answer.thoughts.extend(Thought(content, source) for content in contents)


def _tool_call(kind: str, item: JsonObject) -> ToolCall:
    """A call of a function, of a custom tool, or of one of the provider's own, which have no name but their type."""
    call_id = nonempty_str(item.get("call_id")) or nonempty_str(item.get("id"))
    metadata = {} if kind == "function_call" else {"type": kind}
    if namespace := nonempty_str(item.get("namespace")):
        metadata["namespace"] = namespace
    arguments = item.get("arguments")
    if kind == "custom_tool_call":
        arguments = item.get("input")
    elif isinstance(arguments, str):
        arguments = parse_arguments(arguments or "{}")
    else:
        arguments = arguments or item.get("action") or item.get("operation")
    return ToolCall(call_id, nonempty_str(item.get("name")) or kind.removesuffix("_call"), arguments, metadata)


def _user_texts(item: JsonObject) -> list[str] | None:
    """Return the user's texts in an input item; see `prompts.user_texts`. An item without a type is a message."""
    return user_texts(item, "input_text") if item.get("type", "message") == "message" else []


def _tool_result_id(item: JsonObject) -> object:
    """Return the id of the call that an output item answers, "" if it has none, None for other items."""
    is_result = (nonempty_str(item.get("type")) or "").endswith("_call_output")
    return (item.get("call_id") or "") if is_result else None


def _last_turn(request: JsonObject) -> LastTurn:
    """Return the last turn of a request. The prompt is a string, or all text parts of the last message."""
    whole = request.get("input")
    if isinstance(whole, str):
        return LastTurn(whole or None)
    texts, tool_result_id = read_last_turn(whole, _user_texts, _tool_result_id)
    return LastTurn("\n".join(texts) or None, tool_result_id)


def _error_frame(error: GatewayError) -> bytes:
    event = {
        "type": "error",
        "code": error.code or error.openai_type,
        "message": error.message,
        "param": None,
    }
    return make_frame(encode(event), b"error")


RESPONSES = WireFormat(
    name="responses",
    last_turn=_last_turn,
    reader=lambda request: ResponsesReader(),
    count_tokens=openai_token_counts,
    error_frame=_error_frame,
)

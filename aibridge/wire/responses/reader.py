"""OpenAI's Responses API. https://platform.openai.com/docs/api-reference/responses · streams: …/responses-streaming"""

import re
from collections.abc import Iterator
from typing import Any

from ...errors import GatewayError, encode
from .. import jsontext
from ..formats import (
    LAST,
    PASS,
    Answer,
    Json,
    Thought,
    ToolCall,
    Verdict,
    WireFormat,
    backwards,
    dicts,
    error_name,
    openai_figures,
    parse_arguments,
    text,
)
from ..prompts import last_user_texts
from ..sse import make_frame

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

    def read(self, event: Json) -> Verdict:
        """The same of an event that has been parsed."""
        kind = text(event.get("type"))
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

    def read_body(self, body: Json, raw: bytes) -> Verdict:
        """A whole response object, or the API's error object."""
        self._read_response(body)
        return LAST

    def _read_response(self, body: Json) -> None:
        """A response, as it stands in a JSON body and in the last event of a stream."""
        self._note_id(body)
        usage = body.get("usage")
        if isinstance(usage, dict):
            self.answer.usage = usage
        for item in dicts(body.get("output")):
            self._read_item(item)
        if body.get("error") or body.get("status") == "failed":
            self.answer.error = error_name(body.get("error"))
        self.answer.deferred = body.get("status") in ("queued", "in_progress")
        self.answer.finished = not self.answer.deferred

    def _note_id(self, response: Json) -> None:
        self.answer.response_id = text(response.get("id")) or self.answer.response_id

    def _read_item(self, item: object) -> None:
        if not isinstance(item, dict) or self._seen_before(item):
            return
        kind = text(item.get("type")) or ""
        if kind == "reasoning":
            self._think(dicts(item.get("summary")), "reasoning_summary")
        elif kind == "message" and item.get("phase") == "commentary":
            self._think(dicts(item.get("content")), "commentary")
        elif kind.endswith("_call"):
            self.answer.tool_calls.append(_tool_call(kind, item))

    def _seen_before(self, item: Json) -> bool:
        """A streamed item comes twice: when it is done, and in the whole."""
        key = text(item.get("id")) or text(item.get("call_id"))
        if key is None:
            return False
        seen = key in self._items_seen
        self._items_seen.add(key)
        return seen

    def _think(self, parts: list[dict[str, Any]], source: str) -> None:
        contents = [content for part in parts if (content := text(part.get("text")))]
        self.answer.thoughts.extend(Thought(content, source) for content in contents)


def _tool_call(kind: str, item: Json) -> ToolCall:
    """A call of a function, of a custom tool, or of one of the provider's own, which have no name but their type."""
    call_id = text(item.get("call_id")) or text(item.get("id"))
    metadata = {} if kind == "function_call" else {"type": kind}
    if namespace := text(item.get("namespace")):
        metadata["namespace"] = namespace
    if kind == "custom_tool_call":
        arguments: Any = item.get("input")
    elif isinstance(item.get("arguments"), str):
        arguments = parse_arguments(item["arguments"] or "{}")
    else:
        arguments = item.get("arguments") or item.get("action") or item.get("operation")
    return ToolCall(call_id, text(item.get("name")) or kind.removesuffix("_call"), arguments, metadata)


def _messages(request: Json) -> Iterator[dict[str, Any]]:
    """The input items, in the form in which prompts are looked for; an item without a type is a message."""
    for item in backwards(request.get("input")):
        yield item if item.get("type", "message") == "message" else {"role": item.get("type")}


def _prompt(request: Json) -> str | None:
    whole = request.get("input")
    if isinstance(whole, str):
        return text(whole)
    return "\n".join(last_user_texts(_messages(request), "input_text")) or None


def _last_tool_result(request: Json) -> str | None:
    for item in backwards(request.get("input")):
        if (text(item.get("type")) or "").endswith("_call_output"):
            return text(item.get("call_id"))
    return None


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
    prompt=_prompt,
    last_tool_result=_last_tool_result,
    reader=lambda request: ResponsesReader(),
    figures=openai_figures,
    error_frame=_error_frame,
)

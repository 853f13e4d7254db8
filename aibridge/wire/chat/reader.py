"""OpenAI's Chat Completions API.

https://platform.openai.com/docs/api-reference/chat · streams: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import Factory, define

from ...errors import BadRequest, GatewayError, encode
from .. import json_splice, jsontext
from ..formats import (
    DROP,
    LAST,
    PASS,
    Answer,
    ToolCall,
    Verdict,
    WireFormat,
    error_name,
    parse_arguments,
)
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
from ..prompts import last_turn_of_messages
from ..sse import make_frame
from ..usage import openai_token_counts

_NOT_SENT_BACK = ("role", "tool_calls", "function_call", "annotations", "audio")


@define
class GrowingCall:
    """A tool call as it grows, with all that its provider puts to it."""

    kind: str = "function"
    fields: dict[str, Any] = Factory(dict)
    body: dict[str, Any] = Factory(dict)
    pieces: dict[str, list[str]] = Factory(dict)

    def grow(self, piece: JsonObject) -> "GrowingCall":
        for key, value in piece.items():
            if key in ("function", "custom") and isinstance(value, dict):
                self.kind = key
                self._grow_body(value)
            elif key != "index" and value not in (None, ""):
                self.fields[key] = value
        return self

    def _grow_body(self, body: JsonObject) -> None:
        for key, value in body.items():
            if isinstance(value, str):
                self.pieces.setdefault(key, []).append(value)
            elif value is not None:
                self.body[key] = value

    def text(self, key: str) -> str:
        return "".join(self.pieces.get(key, ()))

    def whole(self) -> dict[str, Any]:
        body = {**self.body, **{key: self.text(key) for key in self.pieces}}
        return {"type": self.kind, **self.fields, self.kind: body}


@define
class GrowingMessage:
    """The model's message, whatever fields its provider gives it: many put the thoughts into one of their own."""

    pieces: dict[str, list[str]] = Factory(dict)
    others: dict[str, Any] = Factory(dict)
    calls: dict[int, GrowingCall] = Factory(dict)

    def grow(self, delta: JsonObject) -> None:
        """Adds what a delta brings, but for calls."""
        for key, value in delta.items():
            if key in _NOT_SENT_BACK:
                continue
            if isinstance(value, str):
                self.pieces.setdefault(key, []).append(value)
            elif isinstance(value, list):
                before = self.others.get(key)
                self.others[key] = [*before, *value] if isinstance(before, list) else value
            elif value is not None:
                self.others[key] = value

    def grow_calls(self, delta: JsonObject) -> Iterator[tuple[int, GrowingCall]]:
        """Adds the pieces of calls; gives each call that grew, and its number."""
        for position, piece in enumerate(objects(delta.get("tool_calls"))):
            at = call_number(piece, position)
            yield at, self.calls.setdefault(at, GrowingCall()).grow(piece)

    def words(self) -> dict[str, str]:
        """Its texts, by the field that they stand in."""
        return {key: joined for key, pieces in self.pieces.items() if (joined := "".join(pieces))}

    def whole(self) -> dict[str, Any]:
        """The message as it is sent back."""
        calls = {"tool_calls": [call.whole() for call in self.calls.values()]} if self.calls else {}
        return {"role": "assistant", "content": None, **self.words(), **self.others, **calls}


def call_number(piece: JsonObject, position: int) -> int:
    """The number of the call that a piece belongs to: its place in the list, where a provider gives none."""
    at = int_or_none(piece.get("index"))
    return position if at is None else at


_CHOICE = b'"choices":[{"index":0,"delta":{"content":"'
_UNFINISHED = b'"finish_reason":null'
_DONE = b"[DONE]"


@define
class _GrowingCall:
    """A tool call whose arguments arrive in pieces."""

    id: str | None = None
    name: str = ""
    kind: str = "function"
    pieces: list[str] = Factory(list)

    def grow(self, piece: JsonObject) -> None:
        self.id = nonempty_str(piece.get("id")) or self.id
        self.kind = nonempty_str(piece.get("type")) or self.kind
        body = piece.get("custom" if self.kind == "custom" else "function")
        if isinstance(body, dict):
            self.name += nonempty_str(body.get("name")) or ""
            self.pieces.append(nonempty_str(body.get("arguments")) or nonempty_str(body.get("input")) or "")

    def whole(self) -> ToolCall:
        arguments = "".join(self.pieces)
        if self.kind == "custom":
            return ToolCall(self.id, self.name, arguments, {"type": "custom"})
        return ToolCall(self.id, self.name, parse_arguments(arguments or "{}"))


class ChatReader:
    """Reads along with one answer. `hide_usage`: the gateway asked for the usage chunk, the client didn't."""

    def __init__(self, hide_usage: bool = False) -> None:
        self.answer = Answer()
        self._hide_usage = hide_usage
        self._text_head = b""
        self._calls: dict[int | None, dict[int | str, _GrowingCall]] = {}
        self._unfinished: set[int | None] = set()

    def skips(self, frame: bytes) -> bool:
        """Pieces of the first choice's text: they begin alike throughout a stream, and the first teaches how."""
        if not self._text_head:
            return False
        find = frame.find  # which for bytes takes less than `in`
        return (
            frame.startswith(self._text_head)
            and find(_UNFINISHED) > 0
            and find(b'"tool_calls"') < 0
            and find(b'"function_call":{') < 0
            and (find(b'"usage":null') > 0 or find(b'"usage"') < 0)
        )

    def read_event(self, data: bytes) -> Verdict:
        """One chunk, or the ``[DONE]`` that ends them."""
        if data.startswith(_DONE):  # as the SDKs tell it
            self._finish()
            return LAST
        chunk = jsontext.load_object(data)
        if chunk is None:
            return PASS
        self._learn_head(data)
        return self.read(chunk)

    def read(self, chunk: JsonObject) -> Verdict:
        """The same of a chunk that has been parsed."""
        if chunk.get("error"):
            self.answer.error = error_name(chunk["error"])
            return LAST
        return self._read_chunk(chunk)

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """A whole completion, or the API's error object."""
        if body.get("error"):
            self.answer.error = error_name(body["error"])
            return LAST
        self._read_head(body)
        for choice in objects(body.get("choices")):
            message = choice.get("message")
            self._read_calls(int_or_none(choice.get("index")), message if isinstance(message, dict) else {})
            self._close_calls(int_or_none(choice.get("index")))
        self.answer.finished = True
        return LAST

    def _finish(self) -> None:
        for choice in list(self._calls):
            self._close_calls(choice)
        self.answer.finished = True

    def _learn_head(self, data: bytes) -> None:
        if not self._text_head and (end := data.find(_CHOICE)) > 0:
            self._text_head = b"data: " + data[: end + len(_CHOICE)]

    def _read_chunk(self, chunk: JsonObject) -> Verdict:
        self._read_head(chunk)
        choices = objects(chunk.get("choices"))
        for choice in choices:
            place, delta = int_or_none(choice.get("index")), choice.get("delta")
            self._read_calls(place, delta if isinstance(delta, dict) else {})
            self._note_finish(place, choice.get("finish_reason") is not None)
        hidden = self._hide_usage and not choices and isinstance(chunk.get("usage"), dict)
        return DROP if hidden else PASS

    def _read_head(self, chunk: JsonObject) -> None:
        self.answer.response_id = self.answer.response_id or nonempty_str(chunk.get("id"))
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.answer.usage = usage

    def _note_finish(self, choice: int | None, finished: bool) -> None:
        if finished:
            self._close_calls(choice)
            self._unfinished.discard(choice)
            self.answer.ending = not self._unfinished
        else:
            self._unfinished.add(choice)

    def _read_calls(self, choice: int | None, message: JsonObject) -> None:
        for position, piece in enumerate(objects(message.get("tool_calls"))):
            place = int_or_none(piece.get("index"))
            self._call(choice, position if place is None else place).grow(piece)
        legacy = message.get("function_call")
        if isinstance(legacy, dict):
            self._call(choice, "function_call").grow({"function": legacy})

    def _call(self, choice: int | None, key: int | str) -> _GrowingCall:
        return self._calls.setdefault(choice, {}).setdefault(key, _GrowingCall())

    def _close_calls(self, choice: int | None) -> None:
        """A choice's finish reason is what makes its calls whole."""
        self.answer.tool_calls.extend(call.whole() for call in self._calls.pop(choice, {}).values())


def _tool_result_id(message: JsonObject) -> object:
    """Return the id of the call that a tool message answers, "" if it has none, None for other messages."""
    return (message.get("tool_call_id") or "") if message.get("role") == "tool" else None


def asks_usage(request: JsonObject) -> bool:
    """Whether the client wants a stream's usage chunk."""
    options = request.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _amend(body: bytes, request: JsonObject) -> bytes:
    """A stream that says nothing of its usage is asked for it; nothing else of the body changes."""
    if request.get("stream") is not True or asks_usage(request):
        return body
    try:
        return json_splice.set_member(body, "stream_options", _options_with_usage(body, request))
    except ValueError as error:
        raise BadRequest("The request body is nested too deeply.") from error


def _options_with_usage(body: bytes, request: JsonObject) -> bytes:
    options = json_splice.member_text(body, "stream_options")
    if options is None or not isinstance(request.get("stream_options"), dict):
        return b'{"include_usage":true}'
    return json_splice.set_member(options, "include_usage", b"true")


def _reader(request: JsonObject) -> ChatReader:
    return ChatReader(hide_usage=not asks_usage(request))


def _error_frame(error: GatewayError) -> bytes:
    return make_frame(encode(error.as_openai()))


CHAT = WireFormat(
    name="chat/completions",
    last_turn=lambda request: last_turn_of_messages(request, _tool_result_id),
    amend=_amend,
    reader=_reader,
    count_tokens=openai_token_counts,
    error_frame=_error_frame,
)

"""OpenAI's Chat Completions API.

https://platform.openai.com/docs/api-reference/chat
Streams: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Callable, Mapping

from attrs import Factory, define

from ...errors import BadRequest, encode
from .. import json_splice, jsontext
from ..formats import DROP, LAST, PASS, Answer, ToolCall, Verdict, WireFormat, error_name, parse_arguments
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
from ..prompts import last_turn_of_messages
from ..sse import make_frame
from ..usage import openai_token_counts

_TEXT_CHOICE = b'"choices":[{"index":0,"delta":{"content":"'
_UNFINISHED = b'"finish_reason":null'
_DONE = b"[DONE]"
_FUNCTION_CALL = -1
"""The number of a call in the deprecated form, of which a message has no more than one."""


@define(eq=False)
class GrowingCall:
    """A tool call that is put together from its pieces, with all members that its provider gives it."""

    kind: str = "function"
    """The name of the member that holds the tool's name and input: ``function`` or ``custom``."""
    fields: dict[str, object] = Factory(dict)
    """The other members, such as the call's id."""
    _texts: dict[str, list[str]] = Factory(dict)
    """The pieces of each text in the tool's member."""
    _others: dict[str, object] = Factory(dict)

    def add(self, piece: JsonObject) -> None:
        """Add one piece of the call."""
        for key, value in piece.items():
            if key in ("function", "custom") and isinstance(value, dict):
                self.kind = key
                for name, part in value.items():
                    if isinstance(part, str):
                        self._texts.setdefault(name, []).append(part)
                    elif part is not None:
                        self._others[name] = part
            elif key != "index" and value not in (None, ""):
                self.fields[key] = value

    def text(self, key: str) -> str:
        """Return a text of the tool's member, such as ``name`` or ``arguments``, as far as it has come."""
        return "".join(self._texts.get(key, ()))

    def to_json(self) -> dict[str, object]:
        """Return the whole call as it is sent back to the provider."""
        texts = {key: "".join(pieces) for key, pieces in self._texts.items()}
        return {"type": self.kind, **self.fields, self.kind: {**self._others, **texts}}

    def to_tool_call(self) -> ToolCall:
        """Return the call as it is recorded."""
        call_id, name = nonempty_str(self.fields.get("id")), self.text("name")
        given = self.text("arguments") or self.text("input")
        if self.kind == "custom":
            return ToolCall(call_id, name, given, {"type": "custom"})
        return ToolCall(call_id, name, parse_arguments(given or "{}"))


def call_number(piece: JsonObject, position: int) -> int:
    """Return the number of the call that a piece belongs to: its index or, if the provider gives none, its position."""
    number = int_or_none(piece.get("index"))
    return position if number is None else number


class ChatReader:
    """Reads one answer as it passes.

    `hide_usage` is True if the gateway asked for the usage chunk and the client did not. `on_call` is called with each
    tool call that has got a new piece, and with its number.
    """

    def __init__(self, hide_usage: bool = False, on_call: Callable[[int, GrowingCall], None] | None = None) -> None:
        self.answer = Answer()
        self._hide_usage = hide_usage
        self._on_call = on_call
        self._text_head = b""
        self._calls: dict[int, dict[int, GrowingCall]] = {}
        """The unfinished calls of each choice, by their numbers."""
        self._unfinished: set[int] = set()
        """The choices that have begun and have no finish reason yet."""

    def skips(self, frame: bytes) -> bool:
        """Return True for text of the first choice. The first text chunk shows the bytes that all others begin with."""
        if not self._text_head:
            return False
        find = frame.find  # faster than `in` for bytes
        return (
            frame.startswith(self._text_head)
            and find(_UNFINISHED) > 0
            and find(b'"tool_calls"') < 0
            and find(b'"function_call":{') < 0
            and (find(b'"usage":null') > 0 or find(b'"usage"') < 0)
        )

    def read_event(self, data: bytes) -> Verdict:
        """Read one chunk, or the ``[DONE]`` after the last one."""
        if data.startswith(_DONE):  # the SDKs compare no more than this
            for choice in list(self._calls):
                self._end_calls(choice)
            self.answer.finished = True
            return LAST
        chunk = jsontext.load_object(data)
        if chunk is None:
            return PASS
        if not self._text_head and (start := data.find(_TEXT_CHOICE)) > 0:
            self._text_head = b"data: " + data[: start + len(_TEXT_CHOICE)]
        return self.read(chunk)

    def read(self, chunk: JsonObject) -> Verdict:
        """Read one chunk that is parsed already."""
        if self._read_head(chunk):
            return LAST
        choices = objects(chunk.get("choices"))
        for choice in choices:
            number = int_or_none(choice.get("index")) or 0
            self._read_calls(number, choice.get("delta"))
            if choice.get("finish_reason") is None:
                self._unfinished.add(number)
            else:
                self._end_calls(number)
                self._unfinished.discard(number)
                self.answer.ending = not self._unfinished
        is_usage_chunk = not choices and isinstance(chunk.get("usage"), dict)
        return DROP if is_usage_chunk and self._hide_usage else PASS

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole completion, or the API's error object."""
        if self._read_head(body):
            return LAST
        for choice in objects(body.get("choices")):
            number = int_or_none(choice.get("index")) or 0
            self._read_calls(number, choice.get("message"))
            self._end_calls(number)
        self.answer.finished = True
        return LAST

    def _read_head(self, document: JsonObject) -> bool:
        """Read the members beside the choices. Return True for an error."""
        if document.get("error"):
            self.answer.error = error_name(document["error"])
            return True
        self.answer.response_id = self.answer.response_id or nonempty_str(document.get("id"))
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.answer.usage = usage
        return False

    def _read_calls(self, choice: int, message: object) -> None:
        """Read the tool calls, or their pieces, in a choice's message or delta."""
        if not isinstance(message, dict):
            return
        for position, piece in enumerate(objects(message.get("tool_calls"))):
            number = call_number(piece, position)
            call = self._calls.setdefault(choice, {}).setdefault(number, GrowingCall())
            call.add(piece)
            if self._on_call is not None:
                self._on_call(number, call)
        function_call = message.get("function_call")
        if isinstance(function_call, dict):
            call = self._calls.setdefault(choice, {}).setdefault(_FUNCTION_CALL, GrowingCall())
            call.add({"function": function_call})

    def _end_calls(self, choice: int) -> None:
        """Take the calls of a choice as complete, which is so once it has a finish reason."""
        self.answer.tool_calls.extend(call.to_tool_call() for call in self._calls.pop(choice, {}).values())


def asks_for_usage(request: JsonObject) -> bool:
    """Return True if the client asks for the usage chunk of a stream."""
    options = request.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def ask_for_usage(body: bytes, request: JsonObject) -> bytes:
    """Return a request's body with ``include_usage`` set for a stream. Nothing else changes."""
    if request.get("stream") is not True or asks_for_usage(request):
        return body
    try:
        options = json_splice.member_text(body, "stream_options")
        if options is None or not isinstance(request.get("stream_options"), dict):
            options = b"{}"
        options = json_splice.set_member(options, "include_usage", b"true")
        return json_splice.set_member(body, "stream_options", options)
    except ValueError as error:
        raise BadRequest("The request body is nested too deeply.") from error


def tool_result_id_of(message: JsonObject) -> object:
    """Return the id of the call that a tool message answers, "" if it has none, None for other messages."""
    return (message.get("tool_call_id") or "") if message.get("role") == "tool" else None


CHAT = WireFormat(
    name="chat/completions",
    last_turn=lambda request: last_turn_of_messages(request, tool_result_id_of),
    amend=ask_for_usage,
    reader=lambda request: ChatReader(hide_usage=not asks_for_usage(request)),
    count_tokens=openai_token_counts,
    error_frame=lambda error: make_frame(encode(error.as_openai())),
)

"""Anthropic's Messages API. https://docs.claude.com/en/api/messages · streams: https://docs.claude.com/en/docs/build-with-claude/streaming"""

from attrs import Factory, define

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
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects, objects_reversed
from ..prompts import last_turn_of_messages
from ..sse import make_frame
from ..usage import anthropic_token_counts

_DELTA_HEAD = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
_TEXT_DELTA = b'"delta":{"type":"text_delta"'
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


@define
class _OpenBlock:
    """A content block whose deltas are arriving; only what will be recorded is kept."""

    content: JsonObject
    pieces: list[str] = Factory(list)


class MessagesReader:
    """Reads along with one answer."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._open: dict[int | None, _OpenBlock] = {}

    def skips(self, frame: bytes) -> bool:
        """Text deltas are most of a stream, and nothing of them is recorded."""
        return frame.startswith(_DELTA_HEAD) and frame.find(_TEXT_DELTA, 0, 128) > 0

    def read_event(self, data: bytes) -> Verdict:
        """One event, told by the ``type`` in its data."""
        event = jsontext.load_object(data)
        return self.read(event) if event is not None else PASS

    def read(self, event: JsonObject) -> Verdict:
        """The same of an event that has been parsed."""
        kind = event.get("type")
        if kind == "content_block_delta":
            self._read_delta(event)
        elif kind == "content_block_start":
            self._open_block(event)
        elif kind == "content_block_stop":
            self._close_block(int_or_none(event.get("index")))
        elif kind == "message_start":
            self._read_message(event.get("message"))
        elif kind == "message_delta":
            self._merge_usage(event.get("usage"))
        elif kind == "message_stop":
            self._finish()
            return LAST
        elif kind == "error":
            self.answer.error = error_name(event.get("error"))
            return LAST
        return PASS

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """A whole message, or the API's error object."""
        if body.get("type") == "error":
            self.answer.error = error_name(body.get("error"))
            return LAST
        self._read_message(body)
        for block in objects(body.get("content")):
            self._read_block(block)
        self.answer.finished = True
        return LAST

    def _finish(self) -> None:
        for place in list(self._open):  # some gateways leave out a block's end
            self._close_block(place)
        self.answer.finished = True

    def _read_message(self, message: object) -> None:
        if isinstance(message, dict):
            self.answer.response_id = nonempty_str(message.get("id"))
            self._merge_usage(message.get("usage"))

    def _merge_usage(self, usage: object) -> None:
        # The figures are cumulative: a later one replaces the earlier, and what is absent stands.
        if isinstance(usage, dict):
            self.answer.usage |= {name: value for name, value in usage.items() if value is not None}

    def _open_block(self, event: JsonObject) -> None:
        block = event.get("content_block")
        if isinstance(block, dict) and block.get("type") in (*_CALLS, "thinking"):
            self._open[int_or_none(event.get("index"))] = _OpenBlock(block)

    def _read_delta(self, event: JsonObject) -> None:
        block = self._open.get(int_or_none(event.get("index")))
        delta = event.get("delta")
        if block is None or not isinstance(delta, dict):
            return
        piece = delta.get("thinking") if delta.get("type") == "thinking_delta" else delta.get("partial_json")
        if isinstance(piece, str):
            block.pieces.append(piece)

    def _close_block(self, place: int | None) -> None:
        block = self._open.pop(place, None)
        if block is None:
            return
        content = dict(block.content)
        if content["type"] == "thinking":
            content["thinking"] = (nonempty_str(content.get("thinking")) or "") + "".join(block.pieces)
        elif block.pieces:
            content["input"] = parse_arguments("".join(block.pieces) or "{}")
        self._read_block(content)

    def _read_block(self, block: JsonObject) -> None:
        kind = block.get("type")
        if kind == "thinking" and (thinking := nonempty_str(block.get("thinking"))):
            self.answer.thoughts.append(Thought(thinking, "thinking"))
        elif kind in _CALLS:
            metadata = {} if kind == "tool_use" else {"type": kind}
            name = nonempty_str(block.get("name")) or ""
            self.answer.tool_calls.append(ToolCall(nonempty_str(block.get("id")), name, block.get("input"), metadata))


def _tool_result_id(message: JsonObject) -> object:
    """Return the call id of a message's last tool result, "" if that has none, None without a tool result."""
    for block in objects_reversed(message.get("content")):
        if block.get("type") == "tool_result":
            return block.get("tool_use_id") or ""
    return None


def _error_frame(error: GatewayError) -> bytes:
    return make_frame(encode(error.as_anthropic()), b"error")


MESSAGES = WireFormat(
    name="messages",
    last_turn=lambda request: last_turn_of_messages(request, _tool_result_id),
    reader=lambda request: MessagesReader(),
    count_tokens=anthropic_token_counts,
    error_frame=_error_frame,
)

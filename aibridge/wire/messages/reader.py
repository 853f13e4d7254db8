"""Anthropic's Messages API.

https://docs.claude.com/en/api/messages
Streams: https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from attrs import Factory, define

from ...errors import encode
from .. import json_splice, jsontext
from ..formats import LAST, PASS, Answer, Thought, ToolCall, Verdict, WireFormat, error_name, parse_arguments
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
from ..prompts import last_turn_of_messages
from ..sse import make_frame
from ..usage import anthropic_token_counts, merge_usage

_DELTA_HEAD = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
_TEXT_DELTA = b'"delta":{"type":"text_delta"'
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
_RECORDED = (*_CALLS, "thinking")


@define
class GrowingBlock:
    """A content block that is put together from its deltas."""

    fields: dict[str, object]
    """The members that came at once: those of the block's start, and those of deltas that are no text."""
    is_complete: bool = False
    _texts: dict[str, list[str]] = Factory(dict)
    """The pieces of each text. Those of ``partial_json`` are a call's arguments."""
    _citations: list[object] = Factory(list)

    def add(self, delta: JsonObject) -> None:
        """Add one delta."""
        if delta.get("type") == "citations_delta":
            self._citations.append(delta.get("citation"))
            return
        for key, value in delta.items():
            if key == "type":
                continue
            if isinstance(value, str):
                self._texts.setdefault(key, []).append(value)
            else:
                self.fields[key] = value

    @property
    def arguments(self) -> str | None:
        """A call's arguments as the model wrote them; None if they did not come as text."""
        pieces = self._texts.get("partial_json")
        return None if pieces is None else "".join(pieces)

    def content(self) -> dict[str, object]:
        """Return the block's members, without the arguments that came as text."""
        content = dict(self.fields)
        for key, pieces in self._texts.items():
            if key != "partial_json":
                start = content.get(key)
                content[key] = (start if isinstance(start, str) else "") + "".join(pieces)
        if self._citations:
            content["citations"] = self._citations
        return content

    def to_json(self) -> bytes:
        """Return the block as it is sent back to the provider, with the arguments' text as it is.

        Arguments that are no JSON are sent back in an object:
        https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming
        """
        content, arguments = self.content(), self.arguments
        if not arguments:
            return jsontext.dump(content)
        try:
            jsontext.load(arguments.encode())
        except ValueError:
            arguments_text = jsontext.dump({"INVALID_JSON": arguments})
        else:
            arguments_text = arguments.encode()
        content.pop("input", None)
        return json_splice.append_member(jsontext.dump(content), "input", arguments_text)


class MessagesReader:
    """Reads one answer as it passes. With `keep_blocks` all content blocks are kept, else only those to be recorded."""

    next_number = 0  # the events of this API have no numbers

    def __init__(self, keep_blocks: bool = False) -> None:
        self.answer = Answer()
        self.blocks: dict[int | None, GrowingBlock] = {}
        """Content blocks by their index, which providers may leave out; without `keep_blocks` the unfinished ones."""
        self._keep_blocks = keep_blocks

    def skips(self, frame: bytes) -> bool:
        """Return True for text deltas: they are most of a stream, and nothing of them is recorded."""
        return frame.startswith(_DELTA_HEAD) and frame.find(_TEXT_DELTA, 0, 128) > 0

    def read_event(self, data: bytes) -> Verdict:
        """Read one event. The ``type`` in its data counts."""
        event = jsontext.load_object(data)
        return self.read(event) if event is not None else PASS

    def read(self, event: JsonObject) -> Verdict:
        """Read one event that is parsed already."""
        kind = event.get("type")
        if kind == "content_block_delta":
            block, delta = self.blocks.get(int_or_none(event.get("index"))), event.get("delta")
            if block is not None and isinstance(delta, dict):
                block.add(delta)
        elif kind == "content_block_start":
            content = event.get("content_block")
            fields = dict(content) if isinstance(content, dict) else {}
            if self._keep_blocks or fields.get("type") in _RECORDED:
                self.blocks[int_or_none(event.get("index"))] = GrowingBlock(fields)
        elif kind == "content_block_stop":
            self._end_block(int_or_none(event.get("index")))
        elif kind == "message_start":
            self._read_message(event.get("message"))
        elif kind == "message_delta":
            self._merge_usage(event.get("usage"))
        elif kind == "message_stop":
            for index in list(self.blocks):  # some gateways leave out the end of a block
                self._end_block(index)
            self.answer.finished = True
            return LAST
        elif kind == "error":
            self.answer.error = error_name(event.get("error"))
            return LAST
        return PASS

    def end(self, whole: bool) -> Verdict:
        """Return PASS: without its last event an answer is not complete."""
        return PASS

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole message, or the API's error object."""
        if body.get("type") == "error":
            self.answer.error = error_name(body.get("error"))
            return LAST
        self._read_message(body)
        for block in objects(body.get("content")):
            self._record(block)
        self.answer.finished = True
        return LAST

    def _read_message(self, message: object) -> None:
        if isinstance(message, dict):
            self.answer.response_id = nonempty_str(message.get("id")) or self.answer.response_id
            self.answer.served_model = nonempty_str(message.get("model"))
            self._merge_usage(message.get("usage"))

    def _merge_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            merge_usage(self.answer.usage, usage)

    def _end_block(self, index: int | None) -> None:
        """Record a block's content, once."""
        block = self.blocks.get(index) if self._keep_blocks else self.blocks.pop(index, None)
        if block is None or block.is_complete:
            return
        block.is_complete = True
        if block.fields.get("type") in _RECORDED:
            content, arguments = block.content(), block.arguments
            if arguments is not None:
                content["input"] = parse_arguments(arguments or "{}")
            self._record(content)

    def _record(self, block: JsonObject) -> None:
        """Add a complete content block to the answer, if it is a thought or a tool call."""
        kind = block.get("type")
        if kind == "thinking" and (thinking := nonempty_str(block.get("thinking"))):
            self.answer.thoughts.append(Thought(thinking, "thinking"))
        elif kind in _CALLS:
            metadata = {} if kind == "tool_use" else {"type": str(kind)}
            if server := nonempty_str(block.get("server_name")):
                metadata["server_name"] = server
            name = nonempty_str(block.get("name")) or ""
            self.answer.tool_calls.append(ToolCall(nonempty_str(block.get("id")), name, block.get("input"), metadata))


def tool_result_id_of(message: JsonObject) -> object:
    """Return the call id of a message's last tool result, "" if that has none, None without a tool result."""
    content = message.get("content")
    for block in reversed(content) if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_result":
            return block.get("tool_use_id") or ""
    return None


MESSAGES = WireFormat(
    name="messages",
    last_turn=lambda request: last_turn_of_messages(request, tool_result_id_of),
    reader=lambda request: MessagesReader(),
    count_tokens=anthropic_token_counts,
    error_frame=lambda error, number: make_frame(encode(error.as_anthropic()), b"error"),
)

"""Anthropic's messages API: https://docs.claude.com/en/api/messages and .../messages-streaming"""

from collections.abc import Iterator

import orjson

from .exchange import Json, Question, ReceivedRequest, Reply, Tool, Usage
from .text import OVERLOADED, callable_tools, frame, last_prompt, last_turn, opaque, pieces, texts

INPUT_FIGURES = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""The token figures that a stream's first event has; the last one has the others."""


class Messages:
    """The format of ``/v1/messages``. See `Format`."""

    id_prefix = "msg_"
    call_id_prefix = "toolu_"

    def read(self, document: Json, request: ReceivedRequest) -> Question:
        turns = document.get("messages", [])
        content = last_turn(turns).get("content")
        blocks = content if isinstance(content, list) else []
        results = [block for block in blocks if block["type"] == "tool_result"]
        tools = [
            Tool(tool["name"], tool.get("input_schema", {}))
            for tool in document.get("tools", [])
            if tool.get("type", "custom") == "custom" and not tool.get("defer_loading")
        ]
        output_format = (document.get("output_config") or {}).get("format") or {}
        return Question(
            request=request,
            document=document,
            streaming=bool(document.get("stream")),
            prompt=last_prompt(turns),
            tool_result="\n".join(texts(results[-1].get("content"))) if results else None,
            tools=callable_tools(document, tools),
            output_schema=output_format.get("schema") if output_format.get("type") == "json_schema" else None,
        )

    def body(self, reply: Reply, question: Question) -> Json:
        return {
            "id": reply.id,
            "type": "message",
            "role": "assistant",
            "model": question.model,
            "content": content_blocks(reply),
            "stop_reason": "tool_use" if reply.tool_calls else "end_turn",
            "stop_sequence": None,
            "usage": usage_object(reply.usage or Usage()),
        }

    def frames(self, body: Json, question: Question) -> Iterator[bytes]:
        known_at_start = {name: n for name, n in body["usage"].items() if name in INPUT_FIGURES}
        known_at_end = {name: n for name, n in body["usage"].items() if name not in INPUT_FIGURES}
        start: Json = {"content": [], "stop_reason": None, "usage": {**known_at_start, "output_tokens": 1}}
        yield event("message_start", message=body | start)
        for index, block in enumerate(body["content"]):
            empty, deltas = block_deltas(block)
            yield event("content_block_start", index=index, content_block=empty)
            for delta in deltas:
                yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
            if index == 0:
                yield event("ping")
        end = {"stop_reason": body["stop_reason"], "stop_sequence": None}
        yield event("message_delta", delta=end, usage=known_at_end)
        yield event("message_stop")

    def error_frame(self, sent: int) -> bytes:
        return event("error", error={"type": "overloaded_error", "message": OVERLOADED})


MESSAGES = Messages()


def content_blocks(reply: Reply) -> list[Json]:
    """Return the reply's content: a thinking block, a text block, and a block for each call."""
    blocks: list[Json] = []
    if reply.thinking:
        signature = opaque("thinking", reply.id or "", reply.thinking)
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": signature})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    for call in reply.tool_calls:
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
    return blocks


def usage_object(usage: Usage) -> Json:
    """Return the usage object. Its input tokens are those that are not from the cache."""
    thinking = {"output_tokens_details": {"thinking_tokens": usage.reasoning}} if usage.reasoning else {}
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
        **thinking,
        **usage.extra,
    }


def block_deltas(block: Json) -> tuple[Json, list[Json]]:
    """Return the block as a stream begins it, without its content, and the deltas that bring the content."""
    if block["type"] == "text":
        return block | {"text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    if block["type"] == "tool_use":
        arguments = orjson.dumps(block["input"]).decode()
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(arguments))]
        return block | {"input": {}}, deltas
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
    deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return block | {"thinking": "", "signature": ""}, deltas


def event(name: str, **members: object) -> bytes:
    """Return a named event with its JSON."""
    return frame({"type": name, **members}, event=name)

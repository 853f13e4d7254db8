"""Anthropic's messages API. https://docs.claude.com/en/api/messages and .../messages-streaming"""

from collections.abc import Iterator

import orjson

from .exchange import Format, Json, Question, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .text import OVERLOADED, callable_tools, frame, last_prompt, last_turn, opaque, pieces, texts


def _read(document: Json, request: ReceivedRequest) -> Question:
    turns = document.get("messages", [])
    return Question(
        request=request,
        document=document,
        streaming=bool(document.get("stream")),
        prompt=last_prompt(turns),
        tool_result=_tool_result(last_turn(turns)),
        tools=callable_tools(document, _tools(document)),
        output_schema=_output_schema(document),
    )


def _tool_result(turn: Json) -> str | None:
    blocks = turn.get("content")
    results = [block for block in blocks if block["type"] == "tool_result"] if isinstance(blocks, list) else []
    return "\n".join(texts(results[-1].get("content"))) if results else None


def _tools(document: Json) -> list[Tool]:
    return [
        Tool(tool["name"], tool.get("input_schema", {}))
        for tool in document.get("tools", [])
        if tool.get("type", "custom") == "custom" and not tool.get("defer_loading")
    ]


def _output_schema(document: Json) -> Json | None:
    wanted = (document.get("output_config") or {}).get("format") or {}
    return wanted.get("schema") if wanted.get("type") == "json_schema" else None


def _body(reply: Reply, question: Question) -> Json:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": _content(reply),
        "stop_reason": "tool_use" if reply.tool_calls else "end_turn",
        "stop_sequence": None,
        "usage": _usage(reply.usage or Usage()),
    }


def _content(reply: Reply) -> list[Json]:
    blocks: list[Json] = []
    if reply.thinking:
        signature = opaque("thinking", reply.id or "", reply.thinking)
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": signature})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    return blocks + [_tool_use(call) for call in reply.tool_calls]


def _tool_use(call: ToolCall) -> Json:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}


def _usage(usage: Usage) -> Json:
    thinking = {"output_tokens_details": {"thinking_tokens": usage.reasoning}} if usage.reasoning else {}
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
        **thinking,
        **usage.extra,
    }


def _frames(body: Json, question: Question) -> Iterator[bytes]:
    known_at_start = {name: n for name, n in body["usage"].items() if name in _INPUT_FIGURES}
    known_at_end = {name: n for name, n in body["usage"].items() if name not in _INPUT_FIGURES}
    start: Json = {"content": [], "stop_reason": None, "usage": {**known_at_start, "output_tokens": 1}}
    yield _event("message_start", message=body | start)
    for index, block in enumerate(body["content"]):
        yield from _block_frames(index, block)
        if index == 0:
            yield _event("ping")
    ending = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=ending, usage=known_at_end)
    yield _event("message_stop")


_INPUT_FIGURES = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _block_frames(index: int, block: Json) -> Iterator[bytes]:
    begun, deltas = _OPENINGS[block["type"]](block)
    yield _event("content_block_start", index=index, content_block=begun)
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _open_thinking(block: Json) -> tuple[Json, list[Json]]:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
    signed = {"type": "signature_delta", "signature": block["signature"]}
    return block | {"thinking": "", "signature": ""}, [*deltas, signed]


def _open_text(block: Json) -> tuple[Json, list[Json]]:
    return block | {"text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]


def _open_tool_use(block: Json) -> tuple[Json, list[Json]]:
    arguments = orjson.dumps(block["input"]).decode()
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces(arguments))]
    return block | {"input": {}}, deltas


_OPENINGS = {"thinking": _open_thinking, "text": _open_text, "tool_use": _open_tool_use}


def _error_frame(sent: int) -> bytes:
    return _event("error", error={"type": "overloaded_error", "message": OVERLOADED})


def _event(name: str, **members: object) -> bytes:
    return frame({"type": name, **members}, event=name)


MESSAGES = Format(
    id_prefix="msg_",
    call_id_prefix="toolu_",
    read=_read,
    body=_body,
    frames=_frames,
    error_frame=_error_frame,
)

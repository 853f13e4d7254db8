"""OpenAI's chat completions. https://platform.openai.com/docs/api-reference/chat and .../chat-streaming"""

from collections.abc import Iterator

import orjson

from .exchange import Format, Json, Question, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .text import CREATED, OVERLOADED, callable_tools, frame, last_prompt, last_turn, pieces, texts


def _read(document: Json, request: ReceivedRequest) -> Question:
    turns = document.get("messages", [])
    last = last_turn(turns)
    return Question(
        request=request,
        document=document,
        streaming=bool(document.get("stream")),
        prompt=last_prompt(turns),
        tool_result="\n".join(texts(last.get("content"))) if last.get("role") == "tool" else None,
        tools=callable_tools(document, _tools(document)),
        output_schema=_output_schema(document),
    )


def _tools(document: Json) -> list[Tool]:
    functions = [tool["function"] for tool in document.get("tools") or [] if tool["type"] == "function"]
    return [Tool(function["name"], function.get("parameters") or {}) for function in functions]


def _output_schema(document: Json) -> Json | None:
    wanted = document.get("response_format") or {}
    return wanted["json_schema"].get("schema") if wanted.get("type") == "json_schema" else None


def _body(reply: Reply, question: Question) -> Json:
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None, "annotations": []}
    calls = {"tool_calls": [_call(call) for call in reply.tool_calls]} if reply.tool_calls else {}
    finish_reason = "tool_calls" if reply.tool_calls else "stop"
    choice = {"index": 0, "message": message | calls, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": CREATED,
        "model": question.model,
        "choices": [choice],
        "usage": _usage(reply.usage or Usage()),
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def _call(call: ToolCall) -> Json:
    if isinstance(call.arguments, str):
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    function = {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}


def _usage(usage: Usage) -> Json:
    all_input = usage.input + usage.cache_read
    return {
        "prompt_tokens": all_input,
        "completion_tokens": usage.output,
        "total_tokens": all_input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        **usage.extra,
    }


def _frames(body: Json, question: Question) -> Iterator[bytes]:
    with_usage = bool((question.document.get("stream_options") or {}).get("include_usage"))
    common = body | {"object": "chat.completion.chunk", "usage": None}
    if not with_usage:
        del common["usage"]
    choice = body["choices"][0]
    for delta in _deltas(choice["message"]):
        yield _chunk(common, delta, None)
    yield _chunk(common, {}, choice["finish_reason"])
    if with_usage:
        yield frame(common | {"choices": [], "usage": body["usage"]})
    yield b"data: [DONE]\n\n"


def _chunk(common: Json, delta: Json, finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return frame(common | {"choices": [choice]})


def _deltas(message: Json) -> Iterator[Json]:
    yield {"role": "assistant", "content": "" if message["content"] else None, "refusal": None}
    for piece in pieces(message["content"] or ""):
        yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls", [])):
        for part in _call_deltas(call):
            yield {"tool_calls": [{"index": index, **part}]}


def _call_deltas(call: Json) -> Iterator[Json]:
    kind, text = ("function", "arguments") if call["type"] == "function" else ("custom", "input")
    yield call | {kind: call[kind] | {text: ""}}
    for piece in pieces(call[kind][text]):
        yield {kind: {text: piece}}


def _error_frame(sent: int) -> bytes:
    return frame({"error": {"message": OVERLOADED, "type": "server_error", "param": None, "code": None}})


CHAT = Format(
    id_prefix="chatcmpl-",
    call_id_prefix="call_",
    read=_read,
    body=_body,
    frames=_frames,
    error_frame=_error_frame,
)

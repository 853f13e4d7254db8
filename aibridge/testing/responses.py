"""OpenAI's responses. https://platform.openai.com/docs/api-reference/responses and .../responses-streaming"""

from collections.abc import Iterator
from itertools import count

import orjson
from attrs import evolve

from .exchange import Format, Json, Question, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .text import CREATED, OVERLOADED, callable_tools, frame, last_prompt, last_turn, opaque, pieces, texts


def _read(document: Json, request: ReceivedRequest) -> Question:
    turns = _items(document)
    last = last_turn(turns)
    is_result = last.get("type") in ("function_call_output", "custom_tool_call_output")
    return Question(
        request=request,
        document=document,
        streaming=bool(document.get("stream")),
        prompt=last_prompt(turns),
        tool_result="\n".join(texts(last.get("output"))) if is_result else None,
        tools=callable_tools(document, _tools(document)),
        output_schema=_output_schema(document),
    )


def _items(document: Json) -> list[Json]:
    given = document.get("input") or []
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _tools(document: Json) -> list[Tool]:
    return [
        Tool(tool["name"], tool.get("parameters") or {})
        for tool in document.get("tools") or []
        if tool["type"] == "function" and not tool.get("defer_loading")
    ]


def _output_schema(document: Json) -> Json | None:
    wanted = (document.get("text") or {}).get("format") or {}
    return wanted.get("schema") if wanted.get("type") == "json_schema" else None


_ECHOED: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


def _body(reply: Reply, question: Question) -> Json:
    echoed = {name: question.document.get(name, default) for name, default in _ECHOED.items()}
    return {
        "id": reply.id,
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "completed_at": CREATED,
        "error": None,
        "incomplete_details": None,
        "model": question.model,
        **echoed,
        "output": _output(reply, "reasoning.encrypted_content" in (question.document.get("include") or [])),
        "usage": _usage(reply.usage or Usage()),
    }


def _output(reply: Reply, encrypted: bool) -> list[Json]:
    items = []
    if reply.thinking:
        items.append(_reasoning(reply.thinking, encrypted))
    if reply.commentary:
        items.append(_message(reply.commentary, "commentary"))
    if reply.text:
        items.append(_message(reply.text, "final_answer"))
    items += [_call(call) for call in reply.tool_calls]
    suffix = (reply.id or "").partition("_")[2]
    return [item | {"id": f"{item['id']}_{suffix}{index:02d}"} for index, item in enumerate(items)]


def _reasoning(thinking: str, encrypted: bool) -> Json:
    item = {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": thinking}]}
    return item | {"encrypted_content": opaque("reasoning", thinking)} if encrypted else item


def _message(text: str, phase: str) -> Json:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {
        "id": "msg",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "phase": phase,
        "content": [part],
    }


def _call(call: ToolCall) -> Json:
    common = {"status": "completed", "call_id": call.id, "name": call.name}
    if call.namespace is not None:
        common["namespace"] = call.namespace
    if isinstance(call.arguments, str):
        return {"id": "ctc", "type": "custom_tool_call", "input": call.arguments, **common}
    arguments = orjson.dumps(call.arguments).decode()
    return {"id": "fc", "type": "function_call", "arguments": arguments, **common}


def _usage(usage: Usage) -> Json:
    all_input = usage.input + usage.cache_read
    return {
        "input_tokens": all_input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": all_input + usage.output,
        **usage.extra,
    }


def _frames(body: Json, question: Question) -> Iterator[bytes]:
    number = count()
    for event in _events(body):
        yield frame(event | {"sequence_number": next(number)}, event=event["type"])


def _events(body: Json) -> Iterator[Json]:
    begun = body | {"status": "in_progress", "completed_at": None, "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(body["output"]):
        opening, events = _ITEMS[item["type"]](item)
        yield {"type": "response.output_item.added", "output_index": index, "item": item | opening}
        for event in events:
            yield event | {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": body}


def _stream_reasoning(item: Json) -> tuple[Json, list[Json]]:
    part = item["summary"][0]
    name = "response.reasoning_summary"
    events = [
        {"type": f"{name}_part.added", "part": part | {"text": ""}},
        *({"type": f"{name}_text.delta", "delta": piece} for piece in pieces(part["text"])),
        {"type": f"{name}_text.done", "text": part["text"]},
        {"type": f"{name}_part.done", "part": part},
    ]
    return {"summary": []}, [event | {"summary_index": 0} for event in events]


def _stream_message(item: Json) -> tuple[Json, list[Json]]:
    part = item["content"][0]
    events = [
        {"type": "response.content_part.added", "part": part | {"text": ""}},
        *({"type": "response.output_text.delta", "delta": piece, "logprobs": []} for piece in pieces(part["text"])),
        {"type": "response.output_text.done", "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", "part": part},
    ]
    return {"status": "in_progress", "content": []}, [event | {"content_index": 0} for event in events]


def _stream_function_call(item: Json) -> tuple[Json, list[Json]]:
    return _stream_call(item, "response.function_call_arguments", "arguments")


def _stream_custom_tool_call(item: Json) -> tuple[Json, list[Json]]:
    return _stream_call(item, "response.custom_tool_call_input", "input")


def _stream_call(item: Json, name: str, member: str) -> tuple[Json, list[Json]]:
    deltas = [{"type": f"{name}.delta", "delta": piece} for piece in pieces(item[member])]
    done = {"type": f"{name}.done", member: item[member]}
    return {"status": "in_progress", member: ""}, [*deltas, done]


_ITEMS = {
    "reasoning": _stream_reasoning,
    "message": _stream_message,
    "function_call": _stream_function_call,
    "custom_tool_call": _stream_custom_tool_call,
}


def _error_frame(sent: int) -> bytes:
    problem = {"code": "server_is_overloaded", "message": OVERLOADED, "param": None}
    return frame({"type": "error", **problem, "sequence_number": sent}, event="error")


RESPONSES = Format(
    id_prefix="resp_",
    call_id_prefix="call_",
    read=_read,
    body=_body,
    frames=_frames,
    error_frame=_error_frame,
)


def _read_compact(document: Json, request: ReceivedRequest) -> Question:
    return evolve(_read(document, request), streaming=False, tools=(), output_schema=None)


def _compact_body(reply: Reply, question: Question) -> Json:
    kept = [item for item in _items(question.document) if item.get("role") == "user"]
    compaction = {
        "id": f"cmp_{(reply.id or '').partition('_')[2]}",
        "type": "compaction",
        "encrypted_content": opaque("compaction", reply.text),
    }
    return {
        "id": reply.id,
        "object": "response.compaction",
        "created_at": CREATED,
        "output": [*kept, compaction],
        "usage": _usage(reply.usage or Usage()),
    }


COMPACT = evolve(RESPONSES, read=_read_compact, body=_compact_body)

"""OpenAI's responses API: https://platform.openai.com/docs/api-reference/responses and .../responses-streaming"""

from collections.abc import Iterator

import orjson
from attrs import evolve

from .exchange import Json, Question, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .text import CREATED, OVERLOADED, callable_tools, frame, last_prompt, last_turn, opaque, pieces, texts

ECHOED: Json = {
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
"""The members of a request that its response repeats, with their defaults."""


class Responses:
    """The format of ``/v1/responses``. See `Format`."""

    id_prefix = "resp_"
    call_id_prefix = "call_"

    def read(self, document: Json, request: ReceivedRequest) -> Question:
        turns = input_items(document)
        last = last_turn(turns)
        is_result = last.get("type") in ("function_call_output", "custom_tool_call_output")
        tools = [
            Tool(tool["name"], tool.get("parameters") or {})
            for tool in document.get("tools") or []
            if tool["type"] == "function" and not tool.get("defer_loading")
        ]
        text_format = (document.get("text") or {}).get("format") or {}
        return Question(
            request=request,
            document=document,
            streaming=bool(document.get("stream")),
            prompt=last_prompt(turns),
            tool_result="\n".join(texts(last.get("output"))) if is_result else None,
            tools=callable_tools(document, tools),
            output_schema=text_format.get("schema") if text_format.get("type") == "json_schema" else None,
        )

    def body(self, reply: Reply, question: Question) -> Json:
        echoed = {name: question.document.get(name, default) for name, default in ECHOED.items()}
        with_encrypted = "reasoning.encrypted_content" in (question.document.get("include") or [])
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
            "output": output_items(reply, with_encrypted),
            "usage": usage_object(reply.usage or Usage()),
        }

    def frames(self, body: Json, question: Question) -> Iterator[bytes]:
        for number, event in enumerate(events(body)):
            yield frame(event | {"sequence_number": number}, event=event["type"])

    def error_frame(self, sent: int) -> bytes:
        problem = {"code": "server_is_overloaded", "message": OVERLOADED, "param": None}
        return frame({"type": "error", **problem, "sequence_number": sent}, event="error")


class Compact(Responses):
    """The format of ``/v1/responses/compact``, which shortens a conversation and never streams."""

    def read(self, document: Json, request: ReceivedRequest) -> Question:
        return evolve(super().read(document, request), streaming=False, tools=(), output_schema=None)

    def body(self, reply: Reply, question: Question) -> Json:
        kept = [item for item in input_items(question.document) if item.get("role") == "user"]
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
            "usage": usage_object(reply.usage or Usage()),
        }


RESPONSES = Responses()
COMPACT = Compact()


def input_items(document: Json) -> list[Json]:
    """Return the request's input as a list of items."""
    given = document.get("input") or []
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def output_items(reply: Reply, with_encrypted: bool) -> list[Json]:
    """Return the reply's output: reasoning, commentary, answer, and an item for each call, with ids."""
    items: list[Json] = []
    if reply.thinking:
        summary = [{"type": "summary_text", "text": reply.thinking}]
        encrypted = {"encrypted_content": opaque("reasoning", reply.thinking)} if with_encrypted else {}
        items.append({"id": "rs", "type": "reasoning", "summary": summary, **encrypted})
    for text, phase in ((reply.commentary, "commentary"), (reply.text, "final_answer")):
        if text:
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
            message: Json = {"id": "msg", "type": "message", "status": "completed", "role": "assistant"}
            items.append(message | {"phase": phase, "content": [part]})
    items += [call_item(call) for call in reply.tool_calls]
    suffix = (reply.id or "").partition("_")[2]
    return [item | {"id": f"{item['id']}_{suffix}{index:02d}"} for index, item in enumerate(items)]


def call_item(call: ToolCall) -> Json:
    """Return a call's item: of a custom tool if its arguments are free text, else of a function."""
    common = {"status": "completed", "call_id": call.id, "name": call.name}
    if call.namespace is not None:
        common["namespace"] = call.namespace
    if isinstance(call.arguments, str):
        return {"id": "ctc", "type": "custom_tool_call", "input": call.arguments, **common}
    arguments = orjson.dumps(call.arguments).decode()
    return {"id": "fc", "type": "function_call", "arguments": arguments, **common}


def usage_object(usage: Usage) -> Json:
    """Return the usage object. Its input tokens include those that were read from the cache or written to it."""
    all_input = usage.input + usage.cache_read + usage.cache_write
    return {
        "input_tokens": all_input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": all_input + usage.output,
        **usage.extra,
    }


def events(body: Json) -> Iterator[Json]:
    """Yield the events of a stream, without their sequence numbers."""
    begun = body | {"status": "in_progress", "completed_at": None, "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(body["output"]):
        empty, inner = item_events(item)
        yield {"type": "response.output_item.added", "output_index": index, "item": item | empty}
        for event in inner:
            yield event | {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": body}


def item_events(item: Json) -> tuple[Json, list[Json]]:
    """Return the members that an item has before its content comes, and the events that bring the content."""
    if item["type"] == "reasoning":
        part = item["summary"][0]
        name = "response.reasoning_summary"
        inner = [
            {"type": f"{name}_part.added", "part": part | {"text": ""}},
            *({"type": f"{name}_text.delta", "delta": piece} for piece in pieces(part["text"])),
            {"type": f"{name}_text.done", "text": part["text"]},
            {"type": f"{name}_part.done", "part": part},
        ]
        return {"summary": []}, [event | {"summary_index": 0} for event in inner]
    if item["type"] == "message":
        part = item["content"][0]
        text_pieces = pieces(part["text"])
        inner = [
            {"type": "response.content_part.added", "part": part | {"text": ""}},
            *({"type": "response.output_text.delta", "delta": piece, "logprobs": []} for piece in text_pieces),
            {"type": "response.output_text.done", "text": part["text"], "logprobs": []},
            {"type": "response.content_part.done", "part": part},
        ]
        return {"status": "in_progress", "content": []}, [event | {"content_index": 0} for event in inner]
    is_function = item["type"] == "function_call"
    name = "response.function_call_arguments" if is_function else "response.custom_tool_call_input"
    member = "arguments" if is_function else "input"
    deltas = [{"type": f"{name}.delta", "delta": piece} for piece in pieces(item[member])]
    return {"status": "in_progress", member: ""}, [*deltas, {"type": f"{name}.done", member: item[member]}]

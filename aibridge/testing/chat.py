"""OpenAI's chat completions API: https://platform.openai.com/docs/api-reference/chat and .../chat-streaming"""

from collections.abc import Iterator

import orjson

from .exchange import Json, Question, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .text import CREATED, OVERLOADED, callable_tools, frame, last_prompt, last_turn, pieces, texts


class ChatCompletions:
    """The format of ``/v1/chat/completions``. See `Format`."""

    id_prefix = "chatcmpl-"
    call_id_prefix = "call_"

    def read(self, document: Json, request: ReceivedRequest) -> Question:
        turns = document.get("messages", [])
        last = last_turn(turns)
        functions = [tool["function"] for tool in document.get("tools") or [] if tool["type"] == "function"]
        tools = [Tool(function["name"], function.get("parameters") or {}) for function in functions]
        response_format = document.get("response_format") or {}
        has_schema = response_format.get("type") == "json_schema"
        return Question(
            request=request,
            document=document,
            streaming=bool(document.get("stream")),
            prompt=last_prompt(turns),
            tool_result="\n".join(texts(last.get("content"))) if last.get("role") == "tool" else None,
            tools=callable_tools(document, tools),
            output_schema=response_format["json_schema"].get("schema") if has_schema else None,
        )

    def body(self, reply: Reply, question: Question) -> Json:
        message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None, "annotations": []}
        if reply.tool_calls:
            message["tool_calls"] = [tool_call(call) for call in reply.tool_calls]
        finish_reason = "tool_calls" if reply.tool_calls else "stop"
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return {
            "id": reply.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": question.model,
            "choices": [choice],
            "usage": usage_object(reply.usage or Usage()),
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }

    def frames(self, body: Json, question: Question) -> Iterator[bytes]:
        """Every chunk says ``"usage": null`` if the client asked for usage, which then comes in a chunk of its own."""
        common = body | {"object": "chat.completion.chunk", "usage": None}
        with_usage = bool((question.document.get("stream_options") or {}).get("include_usage"))
        if not with_usage:
            del common["usage"]
        choice = body["choices"][0]
        for delta in deltas(choice["message"]):
            chunk = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
            yield frame(common | {"choices": [chunk]})
        last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        yield frame(common | {"choices": [last]})
        if with_usage:
            yield frame(common | {"choices": [], "usage": body["usage"]})
        yield b"data: [DONE]\n\n"

    def error_frame(self, sent: int) -> bytes:
        return frame({"error": {"message": OVERLOADED, "type": "server_error", "param": None, "code": None}})


CHAT = ChatCompletions()


def tool_call(call: ToolCall) -> Json:
    """Return a call as the message holds it: of a custom tool if its arguments are free text, else of a function."""
    if isinstance(call.arguments, str):
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    function = {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}


def usage_object(usage: Usage) -> Json:
    """Return the usage object. Its prompt tokens include those that were read from the cache or written to it."""
    all_input = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": all_input,
        "completion_tokens": usage.output,
        "total_tokens": all_input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        **usage.extra,
    }


def deltas(message: Json) -> Iterator[Json]:
    """Cut a message into deltas: its role, its text, then each call with its arguments."""
    yield {"role": "assistant", "content": "" if message["content"] else None, "refusal": None}
    for piece in pieces(message["content"] or ""):
        yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls", [])):
        kind, text = ("function", "arguments") if call["type"] == "function" else ("custom", "input")
        yield {"tool_calls": [{"index": index, **call, kind: call[kind] | {text: ""}}]}
        for piece in pieces(call[kind][text]):
            yield {"tool_calls": [{"index": index, kind: {text: piece}}]}

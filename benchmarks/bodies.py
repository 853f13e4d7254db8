"""Requests like those of a coding agent, the same bytes in every run."""

import json
from typing import Any

SENTENCE = "The test of the parser fails when the last line of the file has no newline, so look at how it reads. "
TOOLS = ("read_file", "write_file", "run_command", "search")


def agent_request(size: int, *, streaming: bool) -> bytes:
    """Return the body of an Anthropic request of about `size` bytes, at least 1.3 kB.

    The conversation has as many turns as that takes.
    """
    turns: list[dict[str, Any]] = []
    while len(body := _encode(turns, streaming)) < size:
        turns += _tool_turns(len(turns))
    return body


def _encode(turns: list[dict[str, Any]], streaming: bool) -> bytes:
    request = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 32000,
        "stream": streaming,
        "system": [{"type": "text", "text": SENTENCE, "cache_control": {"type": "ephemeral"}}],
        "tools": [_tool(name) for name in TOOLS],
        "messages": [_message("user", SENTENCE * 4), *turns],
    }
    return json.dumps(request, separators=(",", ":")).encode()


def _tool(name: str) -> dict[str, Any]:
    path = {"type": "string"}
    schema = {"type": "object", "properties": {"path": path}, "required": ["path"]}
    return {"name": name, "description": f"The agent's {name}.", "input_schema": schema}


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _tool_turns(number: int) -> list[dict[str, Any]]:
    """Return two messages: the model calls a tool, and the user sends the result with the next question."""
    call_id = f"toolu_{number:024}"
    call = {"type": "tool_use", "id": call_id, "name": "read_file", "input": {"path": f"src/part_{number}.py"}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": SENTENCE * 8}
    question = {"type": "text", "text": SENTENCE}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, question]}]

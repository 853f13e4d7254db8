"""The fake provider of ``--demo``, for trying out the gateway without an API key.

Its model thinks, calls one harmless tool if there are tools, repeats the tool's result, and fits its answer to a JSON
schema if the request has one. The same request gets the same answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from ..testing import FakeProvider, LoopbackServer, Question, Reply, Tool, ToolCall

FRAME_DELAY = 0.02
"""Seconds between two events of a stream, about as with a real model."""

REMEMBERED = 100
"""The number of exchanges that are kept in memory. The limit lets a demo run for days."""

_SAY_HELLO = "echo hello from aibridge"

HARMLESS_CALLS: dict[str, dict[str, Any]] = {
    "Bash": {"command": _SAY_HELLO, "description": "Say hello"},  # Claude Code
    "exec_command": {"cmd": _SAY_HELLO},  # Codex
    "bash": {"command": _SAY_HELLO, "description": "Say hello"},  # opencode
    "shell": {"command": ["echo", "hello from aibridge"]},  # Codex before 0.80
}
"""Known clients' tools with harmless arguments, in order of preference."""


class DemoProvider:
    """A server on a free port of 127.0.0.1, with Anthropic's API at ``/anthropic`` and OpenAI's at ``/openai/v1``."""

    def __init__(self, reactor: Any) -> None:
        provider = FakeProvider(answer, clock=reactor, delay=FRAME_DELAY, remember=REMEMBERED)
        root = Resource()
        root.putChild(b"anthropic", provider)
        root.putChild(b"openai", provider)
        self._server = LoopbackServer(reactor, root)

    def start(self) -> "Deferred[str]":
        """Start to listen. Fires with the server's URL, such as ``http://127.0.0.1:43210``."""
        return self._server.start()

    def stop(self) -> "Deferred[None]":
        """Stop to listen, and close every connection."""
        return self._server.stop()


def answer(question: Question) -> Reply:
    """Return the reply of the demo's model."""
    if question.tools and question.tool_result is None:
        call = choose_call(question.tools)
        return Reply(
            thinking=f"A tool is on offer. I shall call {call.name} and see what it says.",
            commentary=f"I am going to call {call.name}.",
            tool_calls=[call],
        )
    if question.output_schema is not None:
        return Reply(text=orjson.dumps(example(question.output_schema)).decode())
    if question.tool_result is not None:
        text = f"The tool answered: {question.tool_result.strip()}"
    else:
        text = f"Hello from the demo provider of aibridge. You said: {question.prompt.strip()}"
    return Reply(thinking="This is the demo, so the answer is always the same.", text=text)


def choose_call(tools: Sequence[Tool]) -> ToolCall:
    """Return a harmless call: of a known tool, or of the first tool with made-up arguments."""
    names = {tool.name for tool in tools}
    known = next((name for name in HARMLESS_CALLS if name in names), None)
    if known is not None:
        return ToolCall(known, HARMLESS_CALLS[known])
    return ToolCall(tools[0].name, example(tools[0].parameters))


_EXAMPLES = {"string": "demo", "number": 1, "integer": 1, "boolean": True}


def example(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """Return a minimal value that fits a JSON schema.

    :param root: the document that a ``$ref`` refers to; by default the schema itself.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].removeprefix("#").split("/")[1:]:
            target = target[step.replace("~1", "/").replace("~0", "~")]  # JSON Pointer, RFC 6901
        return example(target, root)
    if "const" in schema:
        return schema["const"]
    for choices in ("enum", "anyOf", "oneOf", "allOf"):
        if schema.get(choices):
            first = schema[choices][0]
            return first if choices == "enum" else example(first, root)
    return _example_of_type(schema, root)


def _example_of_type(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        return []
    if kind != "object":
        return _EXAMPLES.get(kind)
    members = schema.get("properties", {})
    return {name: example(members.get(name, {}), root) for name in schema.get("required", [])}

"""The built-in fake provider of ``--demo``: a model that needs no key and shows what there is to see.

It thinks, calls one harmless tool where tools are offered, tells what the tool said, and fits its answer to a schema
where one is asked for. The same request gets the same answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from ..testing import FakeProvider, LoopbackServer, Question, Reply, Tool, ToolCall

FRAME_DELAY = 0.02
"""Seconds between two frames of a stream: about the pace of a real model."""

REMEMBERED = 100
"""Exchanges kept in memory, so that a demo can run for days."""

_SAY_HELLO = "echo hello from aibridge"

HARMLESS_CALLS: dict[str, dict[str, Any]] = {
    "Bash": {"command": _SAY_HELLO, "description": "Say hello"},  # Claude Code
    "exec_command": {"cmd": _SAY_HELLO},  # Codex
    "bash": {"command": _SAY_HELLO, "description": "Say hello"},  # opencode
    "shell": {"command": ["echo", "hello from aibridge"]},  # Codex before 0.80
}
"""Tools of known clients, the preferred ones first, with arguments that do no harm."""


class DemoProvider:
    """The demo's provider on a free port of 127.0.0.1: below ``/anthropic`` and, as OpenAI, below ``/openai/v1``."""

    def __init__(self, reactor: Any) -> None:
        provider = FakeProvider(answer, clock=reactor, delay=FRAME_DELAY, remember=REMEMBERED)
        root = Resource()
        root.putChild(b"anthropic", provider)
        root.putChild(b"openai", provider)
        self._server = LoopbackServer(reactor, root)

    def start(self) -> "Deferred[str]":
        """Listens. Fires with its URL, such as ``http://127.0.0.1:43210``."""
        return self._server.start()

    def stop(self) -> "Deferred[None]":
        """Stops to listen and closes every connection."""
        return self._server.stop()


def answer(question: Question) -> Reply:
    """What the demo's model says."""
    if question.tools and question.tool_result is None:
        call = choose_call(question.tools)
        return Reply(
            thinking=f"A tool is on offer. I shall call {call.name} and see what it says.",
            commentary=f"I am going to call {call.name}.",
            tool_calls=[call],
        )
    if question.output_schema is not None:
        return Reply(text=orjson.dumps(example(question.output_schema)).decode())
    return Reply(thinking="This is the demo, so the answer is always the same.", text=_text(question))


def _text(question: Question) -> str:
    if question.tool_result is not None:
        return f"The tool answered: {question.tool_result.strip()}"
    return f"Hello from the demo provider of aibridge. You said: {question.prompt.strip()}"


def choose_call(tools: Sequence[Tool]) -> ToolCall:
    """A call that does no harm: of a known tool, or else of the first one with made-up arguments."""
    names = {tool.name for tool in tools}
    known = next((name for name in HARMLESS_CALLS if name in names), None)
    if known is not None:
        return ToolCall(known, HARMLESS_CALLS[known])
    return ToolCall(tools[0].name, example(tools[0].parameters))


_EXAMPLES = {"string": "demo", "number": 1, "integer": 1, "boolean": True}


def example(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A small value that fits a JSON Schema: what is required of it, and no more.

    :param root: the document in which ``$ref`` points somewhere; None: the schema itself.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return example(_resolve(schema["$ref"], root), root)
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


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found

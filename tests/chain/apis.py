"""What a test must know of each API: how it is asked, how it says that something went wrong, and what a reply makes."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from attrs import frozen

from aibridge.testing import Reply

Json = dict[str, Any]

SECRET = "sk-central-0123456789abcdef-never-seen"
"""The configured credential: it may be at the provider's, and nowhere else."""
OWN = "sk-own-fedcba9876543210-never-seen"
"""The client's own."""


@frozen
class Api:
    """One wire format, as tests use it."""

    name: str
    provider: str
    path: str
    """Where the gateway has it."""
    upstream_path: str
    ask: Callable[[str], Json]
    """The members of a request that hold a prompt."""
    last: bytes
    """What only the last frame of a stream holds."""
    stream_members: Mapping[str, Any] = {}

    def body(self, prompt: str = "ping", *, stream: bool = False, **members: Any) -> bytes:
        """A request, with spaces and an order that no library would write by itself."""
        document = {"stream": stream, "model": "model-1", **self.ask(prompt), "max_tokens": 100}
        if stream:
            document |= self.stream_members
        return orjson.dumps(document | members, option=orjson.OPT_INDENT_2) + b" \n"

    def error_of(self, document: Json) -> str:
        """The type of an error in this API's shape; fails where it has another."""
        if self.provider == "anthropic":
            assert document.keys() == {"type", "error"} and document["type"] == "error", document
            assert document["error"].keys() == {"type", "message"}, document
        else:
            assert document.keys() == {"error"}, document
            assert document["error"].keys() == {"message", "type", "param", "code"}, document
        assert document["error"]["message"]
        return str(document["error"]["type"])

    def error_event(self, tail: bytes) -> Json:
        """The error of an event at the very end of a stream; fails where none stands there whole."""
        _, separator, frame = tail.removesuffix(b"\n\n").rpartition(b"\n\n")
        assert separator and tail.endswith(b"\n\n"), tail[-300:]
        event, _, data = frame.rpartition(b"data: ")
        assert event == (b"" if self.name == "chat" else b"event: error\n"), frame
        document = orjson.loads(data)
        if self.name == "responses":
            assert document["type"] == "error" and document["message"], document
            return dict(document)
        self.error_of(document)
        return dict(document["error"])

    def usage(self, reply: Reply) -> Json:
        """The row of figures that a reply, with all that it left open filled in, must make."""
        usage = reply.usage
        assert usage is not None
        if self.provider == "anthropic":
            others = {"thinking_tokens": usage.reasoning} if usage.reasoning else {}
        else:
            total = usage.input + usage.cache_read + usage.cache_write + usage.output
            others = {"total_tokens": total, "reasoning_tokens": usage.reasoning}
        return {
            "input_tokens": usage.input,
            "output_tokens": usage.output,
            "cache_read_input_tokens": usage.cache_read,
            "cache_write_input_tokens": usage.cache_write,
            "metadata": others | {"complete": True},
        }

    def thoughts(self, reply: Reply) -> list[tuple[str, str]]:
        """The thoughts that it must make, each with its source."""
        sources = {
            "messages": {"thinking": "thinking"},
            "chat": {},
            "responses": {"thinking": "reasoning_summary", "commentary": "commentary"},
        }[self.name]
        said = [(getattr(reply, part), source) for part, source in sources.items()]
        return [(content, source) for content, source in said if content]

    def tools(self, names: list[str]) -> list[Json]:
        """Tools of the client, as it offers them."""
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        if self.name == "messages":
            return [{"name": name, "input_schema": schema} for name in names]
        functions = [{"name": name, "parameters": schema} for name in names]
        if self.name == "chat":
            return [{"type": "function", "function": function} for function in functions]
        return [{"type": "function", **function} for function in functions]


def _messages(prompt: str) -> Json:
    return {"messages": [{"role": "user", "content": prompt}]}


MESSAGES = Api("messages", "anthropic", "/anthropic/v1/messages", "/v1/messages", _messages, b'{"type":"message_stop"}')
CHAT = Api(
    "chat",
    "openai",
    "/openai/v1/chat/completions",
    "/v1/chat/completions",
    _messages,
    b"data: [DONE]",
    {"stream_options": {"include_usage": True}},
)
RESPONSES = Api(
    "responses",
    "openai",
    "/openai/v1/responses",
    "/v1/responses",
    lambda prompt: {"input": prompt},
    b'{"type":"response.completed"',
)
APIS = (MESSAGES, CHAT, RESPONSES)

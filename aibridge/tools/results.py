"""Running the model's calls of injected tools, and reading what MCP servers return as `ToolResult` values."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..interfaces import IToolbox, IToolRunner
from ..wire.tool_calls import InjectedCall, ResultPart, TextPart, ToolResult

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents

_log = Logger()


@implementer(IToolRunner)
@frozen(eq=False)
class ToolRunner:
    """Runs the calls of one round at the toolbox."""

    toolbox: IToolbox

    def run(self, calls: Sequence[InjectedCall]) -> "Deferred[list[ToolResult]]":
        """See `aibridge.interfaces.IToolRunner`."""
        return gatherResults([self._run(call) for call in calls], consumeErrors=True)

    def _run(self, call: InjectedCall) -> "Deferred[ToolResult]":
        def failed(failure: Failure) -> ToolResult:
            if failure.check(CancelledError):
                return ToolResult.failed(call, "cancelled")
            _log.failure("the toolbox failed to call {tool}", failure, tool=call.tool.name)  # a host's own may
            return ToolResult.failed(call, f"the gateway failed to call {call.tool.name}")

        if not call.tool.is_known:
            return succeed(ToolResult.failed(call, f"there is no tool {call.tool.name}"))
        return maybeDeferred(self.toolbox.call, call).addErrback(failed)


def read_result(call: InjectedCall, result: "CallToolResult", *, limit: int, duration_ms: float) -> ToolResult:
    """Return the result of an MCP server as the model gets it; an error if its content has more bytes than the limit.

    https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
    """
    content = list(_parts(result))
    texts = [part["text"] for part in content if part["type"] == "text"]
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    size += sum(len(part["data"]) for part in content if part["type"] == "image")
    if size > limit:
        why = f"the result is too large: it has {size} bytes, and at most {limit} can be passed on"
        return ToolResult.failed(call, why, duration_ms)
    if not result.is_error:
        return ToolResult(call, content, duration_ms=duration_ms)
    error = "\n".join(texts) or "the tool failed without saying why"
    return ToolResult(call, content or [_text(error)], error, duration_ms)


def _parts(result: "CallToolResult") -> Iterator[ResultPart]:
    for block in result.content:
        yield _part(block)
    # A server that returns structured content should return the same as text too. This one has not.
    if not result.content and result.structured_content is not None:
        yield _text(json.dumps(result.structured_content, ensure_ascii=False))


def _part(block: "ContentBlock") -> ResultPart:
    """Return a content block as a part. A block that models can't be shown becomes text that names it."""
    if block.type == "text":
        return _text(block.text)
    if block.type == "image":
        return {"type": "image", "data": block.data, "mime_type": block.mime_type}
    if block.type == "resource":
        return _embedded(block.resource)
    if block.type == "resource_link":
        return _text(f"[link to a resource: {block.name}, {block.uri}]")
    return _text(f"[{block.type}: {block.mime_type}, can't be shown]")


def _embedded(resource: "TextResourceContents | BlobResourceContents") -> ResultPart:
    kind = resource.mime_type or "binary"
    if hasattr(resource, "text"):  # its class is not known here, as `mcp` is imported for sessions only
        return _text(resource.text)
    if kind.startswith("image/"):
        return {"type": "image", "data": resource.blob, "mime_type": kind}
    return _text(f"[resource {resource.uri}: {kind}, can't be shown]")


def _text(text: str) -> TextPart:
    return {"type": "text", "text": text}

"""What came of a call, in the few kinds of content that a model can be told."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from ..interfaces import IToolbox, IToolRunner
from ..wire.formats import parse_arguments
from ..wire.rounds import CallResult, InjectedCall, ToolRun
from .toolset import Toolset


@frozen
class Text:
    """Something to read."""

    text: str

    @property
    def size(self) -> int:
        """Bytes, as they go to the model."""
        return len(self.text.encode("utf-8", "replace"))


@frozen
class Image:
    """Something to look at: base64, and its media type, such as ``image/png``."""

    data: str
    mime_type: str

    @property
    def size(self) -> int:
        """Bytes, as they go to the model."""
        return len(self.data)


Part = Text | Image


def _as_wire(part: Part) -> dict[str, str]:
    if isinstance(part, Image):
        return {"type": "image", "data": part.data, "mime_type": part.mime_type}
    return {"type": "text", "text": part.text}


@frozen(kw_only=True)
class ToolOutcome:
    """A call's end. It always has one: whatever goes wrong is told to the model, which can go on from there."""

    content: tuple[Part, ...]
    """May be empty, where the tool had nothing to say."""
    is_error: bool = False
    error: str | None = None
    """What went wrong, for the records; never without ``is_error``."""
    duration_ms: float = 0.0

    @classmethod
    def failed(cls, why: str, duration_ms: float = 0.0) -> "ToolOutcome":
        """The model is told why there is no result."""
        return cls(content=(Text(why),), is_error=True, error=why, duration_ms=duration_ms)

    @property
    def text(self) -> str:
        """What there is to read of it."""
        return "\n".join(part.text for part in self.content if isinstance(part, Text))


@implementer(IToolRunner)
@frozen(eq=False)
class ToolRunner:
    """The tools of one conversation."""

    toolbox: IToolbox
    toolset: Toolset

    def run(self, calls: Sequence[InjectedCall]) -> "Deferred[list[ToolRun]]":
        """See `aibridge.interfaces.IToolRunner`."""
        return gatherResults([self._run(call) for call in calls], consumeErrors=True)

    def _run(self, call: InjectedCall) -> "Deferred[ToolRun]":
        outcome: Deferred[ToolOutcome] = self.toolbox.call(self.toolset, call.name, parse_arguments(call.arguments))
        return outcome.addErrback(_cancelled).addCallback(self._as_run, call)

    def _as_run(self, outcome: ToolOutcome, call: InjectedCall) -> ToolRun:
        tool = self.toolset.get(call.name)
        return ToolRun(
            result=CallResult(call, [_as_wire(part) for part in outcome.content], outcome.is_error),
            tool=tool.tool if tool is not None else call.name,
            server=tool.server if tool is not None else None,
            server_url=tool.server_url if tool is not None else None,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
        )


def _cancelled(failure: Failure) -> ToolOutcome:
    failure.trap(CancelledError)
    return ToolOutcome.failed("cancelled")


def read_result(result: Any, *, limit: int, duration_ms: float) -> ToolOutcome:
    """The outcome that an MCP ``CallToolResult`` stands for; an error where it has more bytes than the limit."""
    content = tuple(_parts(result))
    size = sum(part.size for part in content)
    if size > limit:
        return ToolOutcome.failed(f"the result has {size} bytes; more than {limit} can't be passed on", duration_ms)
    outcome = ToolOutcome(content=content, is_error=result.is_error, duration_ms=duration_ms)
    if not result.is_error:
        return outcome
    error = outcome.text or "the tool failed without saying why"
    return ToolOutcome(content=content or (Text(error),), is_error=True, error=error, duration_ms=duration_ms)


def _parts(result: Any) -> Iterator[Part]:
    for block in result.content:
        yield _part(block)
    # A server that gives a structured result ought to give the same as text: only one that doesn't is helped out.
    if not result.content and result.structured_content is not None:
        yield Text(json.dumps(result.structured_content, ensure_ascii=False))


def _part(block: Any) -> Part:
    """One block of https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result"""
    match block.type:
        case "text":
            return Text(block.text)
        case "image":
            return Image(block.data, block.mime_type)
        case "resource" if hasattr(block.resource, "text"):
            return Text(block.resource.text)
        case "resource" if (block.resource.mime_type or "").startswith("image/"):
            return Image(block.resource.blob, block.resource.mime_type)
        case "resource":
            return Text(f"[resource {block.resource.uri}: {block.resource.mime_type or 'binary'}, can't be shown]")
        case "resource_link":
            return Text(f"[link to a resource: {block.name}, {block.uri}]")
        case kind:
            return Text(f"[{kind}: {getattr(block, 'mime_type', 'unknown')}, can't be shown]")

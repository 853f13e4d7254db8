"""Running the calls of one answer, several at once."""

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from ..interfaces import IToolbox, IToolRunner
from ..wire.formats import parse_arguments
from ..wire.rounds import CallResult, InjectedCall, ToolRun
from .outcome import Image, Part, ToolOutcome
from .toolset import Toolset


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


def _as_wire(part: Part) -> dict[str, str]:
    if isinstance(part, Image):
        return {"type": "image", "data": part.data, "mime_type": part.mime_type}
    return {"type": "text", "text": part.text}

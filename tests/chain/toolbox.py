"""Tools of the gateway's own, whose calls are in the test's hand."""

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from aibridge.interfaces import IToolbox
from aibridge.tools.toolset import Toolset
from aibridge.wire.tool_calls import InjectedCall, InjectedTool, ToolResult

URL = "http://tools.test/mcp"
RESULT = "what-the-hidden-tool-said"


@frozen(eq=False)
class Run:
    """A call, and the Deferred of its result."""

    call: InjectedCall
    result: "Deferred[ToolResult]"
    cancelled: list[bool]


@implementer(IToolbox)
class ScriptedToolbox:
    """Returns results at once, or, if ``slow``, when the test calls `finish`."""

    def __init__(self, *tools: str) -> None:
        self.offers = list(tools)
        self.description = "Of the sky."
        self.schemas: dict[str, Any] = {}
        """The schemas of tools that have others than most."""
        self.slow = False
        self.error: str | None = None
        """The error of every call; None if calls succeed."""
        self.runs: list[Run] = []

    def toolset(self) -> Toolset:
        schema = {"type": "object", "properties": {"at": {"type": "string"}}}
        return Toolset(
            tuple(
                InjectedTool(f"bmcp_sky_{tool}", "sky", URL, tool, self.description, self.schemas.get(tool, schema))
                for tool in self.offers
            )
        )

    def call(self, call: InjectedCall) -> "Deferred[ToolResult]":
        cancelled: list[bool] = []
        result: Deferred[ToolResult] = Deferred(lambda _: cancelled.append(True))
        self.runs.append(Run(call, result, cancelled))
        return result if self.slow else succeed(self._result(call))

    def status(self) -> list[dict[str, Any]]:
        return []

    def finish(self) -> None:
        """End every call that is still running."""
        for run in self.runs:
            if not run.result.called:
                run.result.callback(self._result(run.call))

    def _result(self, call: InjectedCall) -> ToolResult:
        if self.error is not None:
            return ToolResult.failed(call, self.error, 3.0)
        return ToolResult(call, [{"type": "text", "text": RESULT}], duration_ms=12.0)

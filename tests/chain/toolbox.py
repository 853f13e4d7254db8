"""Tools of the gateway's own, whose runs are in the test's hand."""

from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from aibridge.interfaces import IToolbox
from aibridge.tools.results import Text, ToolOutcome
from aibridge.tools.toolset import InjectedTool, Toolset

URL = "http://tools.test/mcp"
RESULT = "what-the-hidden-tool-said"


@frozen(eq=False)
class Run:
    """A call that a test is to answer."""

    name: str
    arguments: Any
    outcome: "Deferred[ToolOutcome]"
    cancelled: list[bool]


@implementer(IToolbox)
class ScriptedToolbox:
    """Answers at once, or, where ``slow``, when the test says so."""

    def __init__(self, *tools: str) -> None:
        self.offers = list(tools)
        self.slow = False
        self.runs: list[Run] = []
        self.outcome = ToolOutcome(content=(Text(RESULT),), duration_ms=12.0)

    def toolset(self) -> Toolset:
        schema = {"type": "object", "properties": {"at": {"type": "string"}}}
        return Toolset(
            tuple(InjectedTool(f"bmcp_sky_{tool}", "sky", URL, tool, "Of the sky.", schema) for tool in self.offers)
        )

    def call(self, toolset: Toolset, name: str, arguments: Any) -> "Deferred[ToolOutcome]":
        cancelled: list[bool] = []
        outcome: Deferred[ToolOutcome] = Deferred(lambda _: cancelled.append(True))
        self.runs.append(Run(name, arguments, outcome, cancelled))
        return outcome if self.slow else succeed(self.outcome)

    def status(self) -> list[dict[str, Any]]:
        return []

    def answer(self) -> None:
        """All that waits."""
        for run in self.runs:
            if not run.outcome.called:
                run.outcome.callback(self.outcome)

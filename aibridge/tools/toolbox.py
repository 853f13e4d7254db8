"""All tools of all configured MCP servers, as they are offered to models and called for them."""

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, succeed
from zope.interface import implementer

from ..interfaces import IToolbox
from ..wire.formats import parse_arguments
from ..wire.tool_calls import InjectedCall, InjectedTool, ToolResult
from .mcp_session import CONNECTING, ServerSession
from .settings import ServerSettings
from .toolset import Toolset, injected_name


@frozen
class _Choice:
    """What of the servers' tools is offered, and what is not."""

    toolset: Toolset
    taken: frozenset[tuple[str, str]]
    """Server and tool of each that could not be offered, because another has its name."""


@implementer(IToolbox)
class Toolbox:
    """The sessions' tools under their names. A server that is away keeps its place; one never seen has none."""

    def __init__(self, sessions: Iterable[ServerSession]) -> None:
        self._sessions = {session.settings.name: session for session in sessions}
        self._choice: _Choice | None = None
        for session in self._sessions.values():
            session.changed = self._renew

    def start(self) -> None:
        """Begins to connect to every server. ConfigError on a reactor on which none can be held."""
        for session in self._sessions.values():
            session.start()

    def stop(self) -> "Deferred[Any]":
        """Ends every session; fires when nothing is left of any."""
        return DeferredList([session.stop() for session in self._sessions.values()], consumeErrors=True)

    def settled(self) -> "Deferred[Any]":
        """Fires when it is known of every server whether it is there."""
        return DeferredList([session.settled() for session in self._sessions.values()], consumeErrors=True)

    def toolset(self) -> Toolset:
        """What a new conversation is offered; the same object as long as nothing changes."""
        return self._chosen().toolset

    def call(self, call: InjectedCall) -> "Deferred[ToolResult]":
        """See `aibridge.interfaces.IToolbox`. The call's tool may come from an old toolset."""
        tool, arguments = call.tool, parse_arguments(call.arguments)
        session = self._sessions.get(tool.server)
        if session is None or not session.settings.allows(tool.tool):
            return _failed(call, f"the tool {tool.name} is not available any more")
        if type(arguments) is not dict:
            return _failed(call, "the arguments must be a JSON object")
        if session.state != CONNECTING and all(known.name != tool.tool for known in session.tools):
            return _failed(call, f"the tool {tool.name} is not available at the moment")
        return session.call(call, arguments)

    def status(self) -> list[dict[str, Any]]:
        """How each server is, as JSON values for operators. Nothing secret is in it."""
        chosen = self._chosen()
        return [_status(self._sessions[name], chosen) for name in sorted(self._sessions)]

    def _chosen(self) -> _Choice:
        if self._choice is None:
            self._choice = _choose(self._sessions.values())
        return self._choice

    def _renew(self) -> None:
        self._choice = None


def make_toolbox(servers: Iterable[ServerSettings], reactor: Any) -> Toolbox:
    """A toolbox with a session for each of these servers."""
    return Toolbox([ServerSession(settings, reactor) for settings in servers])


def _choose(sessions: Iterable[ServerSession]) -> _Choice:
    """In the order of names, which is the same whichever server came first and however it orders its own."""
    found: dict[str, InjectedTool] = {}
    taken = set()
    for tool in sorted(_offered(sessions), key=lambda tool: (tool.name, tool.tool)):
        if found.setdefault(tool.name, tool) is not tool:
            taken.add((tool.server, tool.tool))
    return _Choice(Toolset(tuple(found.values())), frozenset(taken))


def _offered(sessions: Iterable[ServerSession]) -> Iterator[InjectedTool]:
    for session in sessions:
        settings = session.settings
        for tool in {tool.name: tool for tool in reversed(session.tools)}.values():
            if settings.allows(tool.name):
                name = injected_name(settings.name, tool.name)
                yield InjectedTool(name, settings.name, settings.address, tool.name, tool.description, tool.schema)


def _status(session: ServerSession, chosen: _Choice) -> dict[str, Any]:
    settings = session.settings
    return {
        "name": settings.name,
        "transport": settings.transport,
        "address": settings.address,
        "state": session.state,
        "tools": [tool.name for tool in chosen.toolset.tools if tool.server == settings.name],
        "filtered": sorted(tool.name for tool in session.tools if not settings.allows(tool.name)),
        "name_taken": sorted(tool for server, tool in chosen.taken if server == settings.name),
        "last_error": session.last_error,
    }


def _failed(call: InjectedCall, why: str) -> "Deferred[ToolResult]":
    return succeed(ToolResult.failed(call, why))

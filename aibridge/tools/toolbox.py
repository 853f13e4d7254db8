"""The tools of all configured MCP servers, as they are offered to models and called for them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from zope.interface import implementer

from ..interfaces import IToolbox, IToolFilter
from ..logs import printable
from ..settings import InvalidSetting
from ..wire.formats import parse_arguments
from ..wire.tool_calls import InjectedCall, InjectedTool, ToolResult
from ..wire.tool_schemas import APIS
from .settings import MCPServerSettings
from .toolset import Toolset, injected_name

if TYPE_CHECKING:
    from .mcp_session import ServerSession

_log = Logger()


def make_toolbox(servers: Iterable[MCPServerSettings], reactor: Any) -> "Toolbox":
    """Return a toolbox with the tools of these MCP servers, for `aibridge.RequestBridge`.

    Each server needs a name of its own; `aibridge.settings.InvalidSetting` if two have the same. Call `Toolbox.start`
    before the first request and `Toolbox.stop` at the end. The reactor has to be Twisted's asyncio reactor.
    """
    return Toolbox(()).with_servers(servers, reactor)


@frozen
class _Offer:
    """The tools that are offered, and those that can't be."""

    toolset: Toolset
    name_taken: frozenset[tuple[str, str]]
    """Server and tool of each tool whose injected name another tool has."""

    def left_out(self, session: "ServerSession") -> list[dict[str, str | None]]:
        """Return a server's tools that some API or all of them don't get, each with the API and the reason."""
        left = [_left_out(entry, None, why) for entry, why in session.malformed.items()]
        unfit = {api: self.toolset.offered(api).unfit for api in APIS}
        for tool in self.toolset.tools:
            if tool.server == session.settings.name:
                whys = {api: unfit[api][tool.name] for api in APIS if tool.name in unfit[api]}
                by_api = {None: whys[APIS[0]]} if len(whys) == len(APIS) else whys
                left += [_left_out(tool.tool, api, why) for api, why in by_api.items()]
        return left


def _left_out(tool: str, api: str | None, why: str) -> dict[str, str | None]:
    return {"tool": tool, "api": api, "reason": why}


@implementer(IToolbox, IToolFilter)
class Toolbox:
    """The tools of several MCP servers. A server that is down keeps the tools it had; it has none before it was up."""

    def __init__(self, sessions: "Iterable[ServerSession]", logged: Iterable[tuple[str | None, ...]] = ()) -> None:
        self._sessions = {session.settings.name: session for session in sessions}
        self._offer: _Offer | None = None
        self._logged: set[tuple[str | None, ...]] = set(logged)
        """The tools that are left out, as they were logged last."""
        for session in self._sessions.values():
            session.on_tools_changed = self._renew_offer

    def with_servers(self, servers: Iterable[MCPServerSettings], reactor: Any) -> "Toolbox":
        """Return a toolbox with these servers. Both share the sessions with servers whose settings are the same.

        The other sessions are new. `start` begins those. See `aibridge.GatewayService.reload`.
        """
        by_name: dict[str, ServerSession] = {}
        for settings in servers:
            if settings.name in by_name:
                raise InvalidSetting("name", f"two MCP servers are called {settings.name}")
            # Imports ``mcp``, which takes half a second and 30 MB: only for those who have an MCP server.
            from . import mcp_session

            session = self._sessions.get(settings.name)
            if session is None or session.settings != settings:
                session = mcp_session.ServerSession(settings, reactor)
            by_name[settings.name] = session
        return Toolbox(by_name.values(), self._logged)

    def start(self) -> None:
        """Begin to connect to every server. A server that is down is no error: it is tried again until `stop`.

        Raise `aibridge.errors.ConfigError` if the reactor is not Twisted's asyncio reactor.
        """
        for session in self._sessions.values():
            session.start()

    def stop(self, but: "Iterable[Toolbox]" = ()) -> "Deferred[Any]":
        """End every session, except those of some toolboxes. Fires when no connection, task or process is left."""
        others = [session for toolbox in but for session in toolbox._sessions.values()]
        ending = [session for session in self._sessions.values() if session not in others]
        return DeferredList([session.stop() for session in ending], consumeErrors=True)

    def settled(self) -> "Deferred[Any]":
        """Fire when every server is up, or an attempt to reach it has failed."""
        return DeferredList([session.settled() for session in self._sessions.values()], consumeErrors=True)

    def toolset(self) -> Toolset:
        """See `aibridge.interfaces.IToolbox`. Return the same object as long as no tool changes."""
        return self._current_offer().toolset

    def serves(self, server: str, provider: str, model: str) -> bool:
        """See `aibridge.interfaces.IToolFilter`. A server that is not configured any more answers with errors."""
        session = self._sessions.get(server)
        return session is None or session.settings.serves(provider, model)

    def call(self, call: InjectedCall) -> "Deferred[ToolResult]":
        """See `aibridge.interfaces.IToolbox`. The call's tool may come from an old toolset."""
        tool, arguments = call.tool, parse_arguments(call.arguments)

        def failed(why: str) -> "Deferred[ToolResult]":
            return succeed(ToolResult.failed(call, why))

        session = self._sessions.get(tool.server)
        if session is None or not session.settings.allows(tool.tool):
            return failed(f"the tool {tool.name} is not available any more")
        if type(arguments) is not dict:
            return failed("the arguments must be a JSON object")
        # While the session connects, its tools may not be known yet; the call then waits for the server.
        if session.state != "connecting" and all(known.name != tool.tool for known in session.tools):
            return failed(f"the tool {tool.name} is not available at the moment")
        return session.call(call, arguments)

    def status(self) -> list[dict[str, Any]]:
        """Return the state of each server as JSON values, without secrets, in the order of the servers' names."""
        return [self._status_of(self._sessions[name]) for name in sorted(self._sessions)]

    def _status_of(self, session: "ServerSession") -> dict[str, Any]:
        settings, offer = session.settings, self._current_offer()
        left_out = offer.left_out(session)
        useless = {each["tool"] for each in left_out if each["api"] is None}
        offered = [tool for tool in offer.toolset.tools if tool.server == settings.name and tool.tool not in useless]
        return {
            "name": settings.name,
            "transport": settings.transport,
            "address": settings.address,
            "state": session.state,
            "tools": [tool.name for tool in offered],
            "filtered": sorted(tool.name for tool in session.tools if not settings.allows(tool.name)),
            "name_taken": sorted(tool for server, tool in offer.name_taken if server == settings.name),
            "left_out": left_out,
            "last_error": session.last_error,
        }

    def _renew_offer(self) -> None:
        self._offer = None
        self._current_offer()

    def _current_offer(self) -> _Offer:
        """Return what is offered now, in the order of the names: it must not depend on which server came up first."""
        if self._offer is None:
            by_name: dict[str, InjectedTool] = {}
            name_taken = set()
            for tool in sorted(_allowed_tools(self._sessions.values()), key=lambda tool: (tool.name, tool.tool)):
                if by_name.setdefault(tool.name, tool) is not tool:
                    name_taken.add((tool.server, tool.tool))
            self._offer = _Offer(Toolset(tuple(by_name.values())), frozenset(name_taken))
            self._log_left_out(self._offer)
        return self._offer

    def _log_left_out(self, offer: _Offer) -> None:
        """Log each tool that is left out, once for each reason."""
        left = {(name, *each.values()) for name, session in self._sessions.items() for each in offer.left_out(session)}
        for server, tool, api, why in sorted(left - self._logged, key=str):
            where = f"for {api}" if api else "for every API"
            _log.warn(
                "MCP server {server}: the tool {tool} is left out {where}: {why}",
                server=server,
                tool=printable(str(tool)),
                where=where,
                why=printable(str(why)),
            )
        self._logged = left


def _allowed_tools(sessions: "Iterable[ServerSession]") -> Iterator[InjectedTool]:
    """Return the tools that the servers' filters allow. Of tools that a server lists twice, the first counts."""
    for session in sessions:
        settings = session.settings
        for tool in {tool.name: tool for tool in reversed(session.tools)}.values():
            if settings.allows(tool.name):
                name = injected_name(settings.name, tool.name)
                yield InjectedTool(name, settings.name, settings.address, tool.name, tool.description, tool.schema)

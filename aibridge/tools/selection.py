"""The gateway's tools that one request is offered: the ones that its model, its provider and its own tools allow."""

from collections.abc import Collection

from attrs import evolve, field, frozen
from twisted.logger import Logger

from ..caches import LRUCache
from ..interfaces import IProvider, IToolbox, IToolFilter, IToolLimits
from ..logs import printable
from ..upstream.refusals import LONG_DESCRIPTIONS, Addition
from ..wire.request_body import RequestBody
from ..wire.rounds import client_tools
from ..wire.tool_calls import InjectedTool
from .toolset import Toolset

_log = Logger()
_MAX_WARNINGS = 100
"""Warnings that are remembered, so that each is logged once."""
SHORT_DESCRIPTION = 1024
"""Characters of a tool's description that every model accepts."""


def shorten_descriptions(tools: tuple[InjectedTool, ...]) -> tuple[InjectedTool, ...]:
    """Return the tools with descriptions that every model accepts. The end of a longer one is left out."""
    return tuple(
        tool
        if len(tool.description) <= SHORT_DESCRIPTION
        else evolve(tool, description=tool.description[: SHORT_DESCRIPTION - 1] + "…")
        for tool in tools
    )


@frozen(eq=False)
class ToolSelector:
    """Selects tools for requests. The order of the tools never changes; where there are too many, the last are left."""

    toolbox: IToolbox
    max_tools: int | None = None
    """The most tools of the gateway's in one conversation; None for no bound."""
    _warned: "LRUCache[tuple[str, ...], bool]" = field(factory=lambda: LRUCache(_MAX_WARNINGS), init=False)

    def offers(self, provider: IProvider) -> bool:
        """Return True if the provider's models are offered tools at all."""
        limits = IToolLimits(provider, None)
        return limits is None or bool(limits.tools)

    def served(self, toolset: Toolset, api: str, provider: str, model: str) -> tuple[InjectedTool, ...]:
        """Return the tools, in the form that the API accepts, whose servers are there for the provider and the model.

        `api` is the name of a wire format.
        """
        tools = toolset.offered(api).tools
        if not IToolFilter.providedBy(self.toolbox):
            return tools
        servers = {server: self.toolbox.serves(server, provider, model) for server in {tool.server for tool in tools}}
        return tools if all(servers.values()) else tuple(tool for tool in tools if servers[tool.server])

    def fitting(
        self, tools: tuple[InjectedTool, ...], asked: RequestBody, provider: IProvider, without: Collection[Addition]
    ) -> tuple[InjectedTool, ...]:
        """Return the tools that have room beside the client's own, and other names. The provider refuses `without`."""
        own = client_tools(asked.document)
        if not own.names.isdisjoint(tool.name for tool in tools):
            tools = tuple(tool for tool in tools if tool.name not in own.names)
        limits = IToolLimits(provider, None)
        most = None if limits is None else limits.max_tools
        rooms = (self.max_tools, None if most is None else max(0, most - own.count))
        room = min((each for each in rooms if each is not None), default=len(tools))
        if room < len(tools):
            self._warn(provider, own.count, room, [tool.name for tool in tools[room:]])
        refused = {addition.tool for addition in without if addition.tool}
        tools = tuple(tool for tool in tools[:room] if tool.name not in refused)
        return shorten_descriptions(tools) if LONG_DESCRIPTIONS in without else tools

    def _warn(self, provider: IProvider, own: int, room: int, left_out: list[str]) -> None:
        key = (provider.name, *left_out)
        if self._warned.get(key):
            return
        self._warned.set(key, True)
        _log.warn(
            "{count} injected tools are left out for {provider}: there is room for {room} beside {own} of the client's "
            "(max_tools): {names}",
            count=len(left_out),
            provider=provider.name,
            room=room,
            own=own,
            names=printable(", ".join(left_out)),
        )

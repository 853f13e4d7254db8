"""The command on the tools of MCP servers."""

import asyncio
import sys
from collections.abc import Collection, Iterator
from typing import Any

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..config.model import Config
from ..errors import AIBridgeError
from ..tools.settings import MCPServerSettings
from ..tools.toolbox import make_toolbox
from .output import write_note

_PROBE_TIMEOUT = 60.0
"""Seconds to wait for MCP servers."""


def list_tools(config: Config) -> Iterator[str]:
    """List the tools that the configured MCP servers have now, and which of them models get."""
    settings = config.mcp.servers.values()
    if not settings:
        yield "no MCP server is configured: see [mcp.NAME] in the manual"
        return
    if sys.stderr.isatty():
        names = ", ".join(f"{server.name} ({server.address})" for server in settings)
        write_note(f"connecting to {names}, for {_PROBE_TIMEOUT:g} seconds at most ...")
    servers = probe_servers(settings)
    for server in servers:
        yield f"{server['name']}  {server['transport']}  {server['address']}  {server['state']}"
        if server["last_error"]:
            yield f"  last error: {server['last_error']}"
        yield from (f"  {tool}" for tool in server["tools"])
        yield from (f"  {tool}: left out by allow and deny" for tool in server["filtered"])
        yield from (f"  {tool}: another tool has its name" for tool in server["name_taken"])
        for left in server["left_out"]:
            yield f"  {left['tool']}: left out for {left['api'] or 'every API'}: {left['reason']}"
    if all(server["state"] != "up" for server in servers):
        raise AIBridgeError("no MCP server could be reached")


def probe_servers(servers: Collection[MCPServerSettings]) -> list[dict[str, Any]]:
    """Connect to MCP servers, and return the toolbox's status. Runs the reactor, so a process can call this once."""
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    async def probe() -> list[dict[str, Any]]:
        toolbox = make_toolbox(servers, reactor)
        toolbox.start()
        try:
            await toolbox.settled().addTimeout(_PROBE_TIMEOUT, reactor, onTimeoutCancel=lambda result, seconds: None)
            return toolbox.status()
        finally:
            await toolbox.stop()

    ended: list[list[dict[str, Any]] | Failure] = []

    def finish(result: list[dict[str, Any]] | Failure) -> None:
        ended.append(result)
        reactor.stop()

    reactor.callLater(0, lambda: Deferred.fromCoroutine(probe()).addBoth(finish))
    reactor.run()
    if not ended:
        raise AIBridgeError("interrupted")
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    return ended[0]

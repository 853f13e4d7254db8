"""Asking every configured MCP server once how it is, outside a running gateway."""

import asyncio
from collections.abc import Iterable
from typing import Any

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..errors import AIBridgeError
from .settings import ServerSettings
from .toolbox import make_toolbox

_LONGEST = 60.0


def survey(servers: Iterable[ServerSettings]) -> list[dict[str, Any]]:
    """The toolbox's status, once it is known of each server whether it is there. Runs a reactor, so once a process."""
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    found: list[list[dict[str, Any]] | Failure] = []

    def done(result: Any) -> None:
        found.append(result)
        reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(_survey(servers, reactor)).addBoth(done)

    reactor.callLater(0, begin)
    reactor.run()
    if not found:
        raise AIBridgeError("interrupted")
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


async def _survey(servers: Iterable[ServerSettings], reactor: Any) -> list[dict[str, Any]]:
    toolbox = make_toolbox(servers, reactor)
    toolbox.start()
    try:
        await toolbox.settled().addTimeout(_LONGEST, reactor, onTimeoutCancel=lambda result, seconds: None)
        return toolbox.status()
    finally:
        await toolbox.stop()

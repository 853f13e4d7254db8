"""Where Twisted's world meets asyncio's: the ``mcp`` package runs in asyncio tasks, its callers hold Deferreds.

anyio, on which that package stands, asks asyncio for the task that it runs in. A coroutine driven by Twisted alone has
none; so each one gets a task of its own here.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import Factory, define
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from ..errors import ConfigError

T = TypeVar("T")


def verify_reactor(reactor: Any) -> None:
    """ConfigError unless asyncio runs on that reactor."""
    if not isinstance(reactor, AsyncioSelectorReactor):
        why = f"MCP servers need Twisted's asyncio reactor, but {type(reactor).__name__} is installed"
        raise ConfigError("reactor", "", f"{why}: start with --reactor=asyncio")


@define
class Tasks:
    """The tasks that belong together, so that whoever started them can see them all end."""

    _running: set["asyncio.Future[Any]"] = Factory(set)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> "Deferred[T]":
        """Begins at once, in a task. The loop has to be running: from within what the reactor calls, it is.

        Cancelling the Deferred cancels the task; it then fires when that has cleaned up behind itself.
        """
        task = asyncio.ensure_future(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Deferred.fromFuture(task).addErrback(_as_twisted)

    def ended(self) -> "Deferred[Any]":
        """Fires when all that run now have ended, however they do."""
        return Deferred.fromFuture(asyncio.gather(*self._running, return_exceptions=True))


def _as_twisted(failure: Failure) -> Failure:
    # asyncio's own is no Exception, and most errbacks would let it pass.
    return Failure(CancelledError()) if failure.check(asyncio.CancelledError) else failure

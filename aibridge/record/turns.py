"""Calls in the next turn of the reactor, made from its own thread or from another one, straight over asyncio's loop.

Twisted's reactor on asyncio makes a timer of every such call, sorts it in among all timers and sets the loop's own
timer anew; a call from another thread takes one turn for itself before that. A lone request's two commits made six
timers so, with 71 comparisons.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVarTuple, cast

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

Arguments = TypeVarTuple("Arguments")


class ReactorTurns:
    """The turns of one reactor. A reactor of another kind, or that does not run yet, is called in its own way."""

    def __init__(self, reactor: IReactorTime | IReactorFromThreads) -> None:
        self._time = cast(IReactorTime, reactor)
        self._threads = cast(IReactorFromThreads, reactor)
        self._has_loop = isinstance(reactor, AsyncioSelectorReactor)
        self.loop: asyncio.AbstractEventLoop | None = None
        """The reactor's loop, once it was found."""

    def find_loop(self) -> None:
        """Find the reactor's loop, if it runs. Call this on the reactor's thread, before calls from other threads."""
        if self._has_loop:
            try:
                self.loop = asyncio.get_running_loop()
            except RuntimeError:  # the reactor does not run yet
                return

    def call_next(self, call: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Make the call in the next turn. Use this on the reactor's thread; the call must not raise."""
        if self.loop is None:
            self.find_loop()
        if self.loop is not None:
            self.loop.call_soon(call, *arguments)
        else:
            self._time.callLater(0, call, *arguments)

    def call_from_thread(self, call: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
        """Make the call on the reactor's thread, from another one. The call must not raise."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(call, *arguments)
        else:
            self._threads.callFromThread(call, *arguments)

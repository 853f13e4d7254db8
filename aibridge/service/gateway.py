"""The gateway as one Twisted service. Its parts start in order, and stop in the opposite order."""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, cast

from attrs import evolve
from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..bridge import RequestBridge
from ..errors import AIBridgeError
from ..interceptors import BridgeSettings
from ..interfaces import IRecorder
from ..tools.toolbox import Toolbox

_log = Logger()

_TOOLS_TIMEOUT = 5.0
"""Seconds that a start or a change of settings waits for MCP servers. The tools of a slower server are offered as soon
as it is connected."""


class StopSteps:
    """The steps of a stop, which run in the opposite order of their addition."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    def add(self, step: Callable[[], object]) -> None:
        """Add a step. If it returns a Deferred, the next step waits for that."""
        self._stack.push_async_callback(maybeDeferred, step)

    async def run(self) -> None:
        """Run every step once, even if one fails."""
        try:
            await self._stack.aclose()
        except Exception:
            _log.failure("The gateway did not stop cleanly.")


class Reloads:
    """The readings of a configuration, one at a time."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._read = read
        self._lock = DeferredLock()

    def run(self) -> "Deferred[None]":
        """Fires when the configuration is read, or at once if a reading waits, which sees all changes until now."""
        if self._lock.waiting:
            return succeed(None)
        return self._lock.run(lambda: Deferred.fromCoroutine(self._read()))


async def start_or_fail(
    start: Callable[[], Coroutine[Any, Any, None]],
    on_stop: StopSteps,
    on_failure: Callable[[str], None],
    on_started: Callable[[], None],
) -> None:
    """Start, and call `on_started`; or stop what was started, and call `on_failure` with the reason, one line."""
    try:
        await start()
        on_started()
    except AIBridgeError as error:
        await on_stop.run()
        on_failure(str(error))
    except Exception:
        _log.failure("The gateway could not start.")
        await on_stop.run()
        on_failure("can't start: the log says why")


class GatewayService(Service):
    """A bridge with its recorder and its tools, for a host program's application::

        GatewayService(bridge, recorder).setServiceParent(application)

    The start runs the recorder's, then connects the toolbox, then opens the bridge. The stop refuses new requests,
    waits up to `drain_seconds` for those in flight, breaks off the rest, and ends the toolbox and the recorder once the
    last rows are written.

    :param recorder: where the bridge's records end up. It is started and stopped if it is a service, as `SQLRecorder`
        is; give the `SQLRecorder` itself here if the bridge has a `FilteredRecorder` in front of it.
    :param toolbox: the one that the bridge was given, if any.
    """

    def __init__(
        self,
        bridge: RequestBridge,
        recorder: IRecorder,
        *,
        toolbox: Toolbox | None = None,
        drain_seconds: float = 30.0,
        reactor: IReactorTime | None = None,
    ) -> None:
        self.bridge = bridge
        self._recorder = recorder
        self._toolbox = toolbox
        self._earlier_toolboxes: list[Toolbox] = []
        """The toolboxes from before a change of settings: some of their sessions serve exchanges that began then."""
        self.drain_seconds = drain_seconds
        self._reactor = reactor
        self._on_stop = StopSteps()
        self._lock = DeferredLock()  # a stop waits for the start to end
        self._connecting: Deferred[None] | None = None
        self._waits_for_tools = True
        self._draining: Deferred[None] | None = None
        self._hurried = False

    def startService(self) -> "Deferred[None]":
        """Fires when requests can be served.

        Fails with `RecordingError` if the recorder can't start. Then everything that was started is stopped again.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._waits_for_tools = True
        self._hurried = False
        return self._lock.run(Deferred.fromCoroutine, self._start())

    def stopService(self) -> "Deferred[None]":
        """Fires when no request is in flight and every record is durable."""
        super().stopService()  # type: ignore[no-untyped-call]
        self.stop_connecting()
        return self._lock.run(Deferred.fromCoroutine, self._on_stop.run())

    def reload(self, settings: BridgeSettings, toolbox: Toolbox | None = None) -> "Deferred[None]":
        """Serve new requests with other settings, and with other MCP servers, while the bridge goes on serving::

            service.reload(evolve(bridge.settings, providers=[...], limits=Limits(concurrent=4)), toolbox)

        Requests that are under way end with the settings with which they began. Sessions with MCP servers that are
        new begin first; those that are not used any more end after the last exchange that began with them. Fires when
        new requests are served with the new settings, which takes five seconds at most.

        :param toolbox: as for the constructor, in place of the present one: the same one to keep it, or one that
            `Toolbox.with_servers` made of it, or None for no tools. It takes the place of `settings.toolbox`.
        :raises ConfigError: by the Deferred, if the toolbox can't be used. Nothing has changed then.
        :raises ValueError: by the Deferred, if the settings can't be used. Nothing has changed then.
        """
        return self._lock.run(Deferred.fromCoroutine, self._reload(evolve(settings, toolbox=toolbox), toolbox))

    def hurry(self) -> None:
        """Stop without waiting for requests in flight: they are broken off, and recorded as such."""
        self._hurried = True
        if self._draining is not None:
            self._draining.cancel()

    def stop_connecting(self) -> None:
        """Wait no longer for MCP servers, now or later in the start."""
        self._waits_for_tools = False
        if self._connecting is not None:
            self._connecting.cancel()

    async def _start(self) -> None:
        try:
            if IService.providedBy(self._recorder):
                await maybeDeferred(self._recorder.startService)
                self._on_stop.add(self._recorder.stopService)
            self._on_stop.add(self._stop_tools)
            if self._toolbox is not None:
                await self._connect_tools(self._toolbox)
            self.bridge.startService()
            self._on_stop.add(self.bridge.stopService)
            self._on_stop.add(self._drain)
        except Exception:
            await self._on_stop.run()
            raise

    async def _reload(self, settings: BridgeSettings, toolbox: Toolbox | None) -> None:
        if not self.running:
            return
        before, earlier = self._toolbox, self._earlier_toolboxes
        try:
            if toolbox is not None and toolbox is not before:
                await self._connect_tools(toolbox)
            self.bridge.apply(settings)
        except Exception:
            if toolbox is not None and toolbox not in (before, *earlier):
                await toolbox.stop(but=[each for each in (before, *earlier) if each is not None])
            raise
        self._toolbox = toolbox
        if before is not None and before is not toolbox:
            self._earlier_toolboxes.append(before)
            self.bridge.finished().addCallback(lambda _: self._end_earlier(before))

    def _end_earlier(self, toolbox: Toolbox) -> "Deferred[Any]":
        """End the sessions of a toolbox that no exchange uses any more, less those that are in use again."""
        others = [each for each in (self._toolbox, *self._earlier_toolboxes) if each not in (None, toolbox)]
        return toolbox.stop(but=others).addCallback(lambda _: self._earlier_toolboxes.remove(toolbox))

    def _stop_tools(self) -> "Deferred[Any]":
        toolboxes = [each for each in (self._toolbox, *self._earlier_toolboxes) if each is not None]
        return DeferredList([toolbox.stop() for toolbox in toolboxes], consumeErrors=True)

    async def _connect_tools(self, toolbox: Toolbox) -> None:
        """Connect to the MCP servers. A conversation keeps the tools that it begins with, so wait for them a little."""
        clock = self._reactor
        if clock is None:
            from twisted.internet import reactor

            clock = cast(IReactorTime, reactor)
        toolbox.start()
        if not self._waits_for_tools:
            return
        settled = toolbox.settled().addTimeout(_TOOLS_TIMEOUT, clock, onTimeoutCancel=lambda result, seconds: None)
        self._connecting = settled.addErrback(lambda failure: failure.trap(CancelledError) and None)
        await self._connecting
        self._connecting = None

    def _drain(self) -> "Deferred[None]":
        self._draining = self.bridge.drain(self.drain_seconds)
        if self._hurried:
            self._draining.cancel()
        return self._draining

"""A session with one MCP server: connected, kept up to date, and connected again when the connection is lost.

States of a session::

    connecting ──> up        the handshake is done and the tools are known
        │  ^       │
        │  └───────┘         the connection was lost; the next attempt begins at once
        v
       down ──> up           attempts go on, with growing pauses

MCP's client is written for asyncio, so all of a session's work runs in asyncio tasks on Twisted's asyncio reactor.
Importing this module imports ``mcp``, so `toolbox` does that for hosts with servers only.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, TypeVar

import anyio
from attrs import Factory, define
from mcp_types import CallToolResult
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ConfigError
from ..wire.tool_calls import InjectedCall, ToolResult
from .listing import ToolList
from .mcp_connection import MCPConnection, connect, is_session_unknown
from .results import read_result
from .settings import MCPServerSettings
from .toolset import ToolDefinition

T = TypeVar("T")
SessionState = Literal["connecting", "up", "down"]

REFRESH_INTERVAL = 30.0
"""Seconds between two readings of the tools, if the server sends nothing. A dead connection is noticed by this too."""

_REFRESH_PAUSE = 0.1
"""Least seconds between two readings of the tools, for servers that send one notification after another."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
_STABLE_AFTER = 5.0
"""A connection that lasted this many seconds was a working one, so the next attempt needs no pause."""

_CLOSE_TIMEOUT = 5.0
"""Seconds in which a server may answer the end of the session."""

log = Logger()


class NotConnected(Exception):
    """There is no connection to the server now."""


def pause_after(failures: int) -> float:
    """Return the seconds before the next attempt: none after no failure, then from 0.1 doubling up to 30."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) if failures else 0.0


@define
class Tasks:
    """A group of asyncio tasks, whose owner can wait until all of them have ended."""

    _running: set["asyncio.Future[Any]"] = Factory(set)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> "Deferred[T]":
        """Run a coroutine as a task, and return its result. Asyncio's loop has to be running.

        Cancelling the Deferred cancels the task. The Deferred fires when the task has cleaned up and ended.
        """

        def use_twisted_error(failure: Failure) -> Failure:
            # asyncio's CancelledError is no Exception, so most errbacks would not handle it.
            return Failure(CancelledError()) if failure.check(asyncio.CancelledError) else failure

        task = asyncio.ensure_future(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return Deferred.fromFuture(task).addErrback(use_twisted_error)

    def ended(self) -> "Deferred[Any]":
        """Fire when all tasks that run now have ended, whether they succeeded or not."""
        return Deferred.fromFuture(asyncio.gather(*self._running, return_exceptions=True))


class ServerSession:
    """A session with one server. ``on_tools_changed`` is called after each change of `tools`."""

    def __init__(
        self, settings: MCPServerSettings, reactor: Any, on_tools_changed: Callable[[], object] = lambda: None
    ) -> None:
        self.settings = settings
        self.tools: tuple[ToolDefinition, ...] = ()
        """The tools that the server listed last, also while it is away."""
        self.malformed: Mapping[str, str] = {}
        """The reasons why other entries of that list can't be used, by their names or places."""
        self.state: SessionState = "connecting"
        self.last_error: str | None = None
        self.on_tools_changed = on_tools_changed
        self._reactor = reactor
        self._tasks = Tasks()
        self._start: IDelayedCall | None = None
        self._stopping = False
        self._scope: anyio.CancelScope | None = None
        """Cancelled to end the session."""
        self._connection: MCPConnection | None = None
        self._up_since = math.nan
        """When the current attempt's connection came up; not a number before that."""
        self._attempted = asyncio.Event()
        """Set while it is known whether the server can be reached."""
        self._changed = asyncio.Event()
        """Set when the tools have to be read again, or the connection is gone."""

    def start(self) -> None:
        """Begin to connect, unless that has begun. A server that is down is no error.

        After a `stop` that has ended, begin anew.
        Raise ConfigError if asyncio doesn't run the reactor.
        """
        if not isinstance(self._reactor, AsyncioSelectorReactor):
            installed = type(self._reactor).__name__
            why = f"MCP servers need Twisted's asyncio reactor, but {installed} is installed: start with"
            raise ConfigError("reactor", "", f"{why} --reactor=asyncio")
        if self._start is not None:
            return
        self._stopping = False
        self._attempted.clear()
        # asyncio can create tasks only while its loop runs, and services are started before that.
        self._start = self._reactor.callLater(0, self._begin)

    def stop(self) -> "Deferred[None]":
        """End the session. Fires when no task, process or socket is left. Calls in flight end with an error."""
        if self._start is not None and self._start.active():
            self._start.cancel()
        return deferLater(self._reactor, 0.0).addCallback(lambda _: self._end())

    def settled(self) -> "Deferred[Any]":
        """Fire when the server is up, or an attempt to reach it has failed."""
        return deferLater(self._reactor, 0.0).addCallback(lambda _: self._tasks.run(self._attempted.wait()))

    def call(self, call: InjectedCall, arguments: dict[str, Any]) -> "Deferred[ToolResult]":
        """Call a tool of this server. Fires within ``call_timeout`` seconds, with an error if the call failed.

        Cancelling the Deferred cancels the call at the server too.
        """
        return self._tasks.run(self._call(call, arguments))

    # The session's life

    def _begin(self) -> None:
        self._tasks.run(self._supervise()).addErrback(
            lambda failure: log.failure("MCP server {name} is given up.", failure, name=self.settings.name)
        )

    def _end(self) -> "Deferred[Any]":
        self._stopping = True
        self._attempted.set()
        self._changed.set()
        if self._scope is not None:
            grace = _CLOSE_TIMEOUT if self._connection else 0.0
            self._scope.deadline = asyncio.get_running_loop().time() + grace
        return self._tasks.ended().addCallback(self._mark_ended)

    def _mark_ended(self, _: object) -> None:
        self._start = None

    async def _supervise(self) -> None:
        """Connect again and again until the session is stopped.

        This is one task, as anyio's scopes have to be closed by the task that opened them.
        """
        failures = 0
        with anyio.CancelScope() as self._scope:
            while not self._stopping:
                await anyio.sleep(pause_after(failures))
                lasted = await self._connect_once()
                failures = 0 if lasted >= _STABLE_AFTER else failures + 1
        self.state = "down"

    async def _connect_once(self) -> float:
        """Connect, and stay connected until the connection is lost. Return the seconds that it lasted."""
        self._changed.clear()
        self._up_since = math.nan
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self.settings.connect_timeout) as scope:
                await self._stay_connected(scope)
            if scope.cancelled_caught:
                raise TimeoutError(f"no response within {self.settings.connect_timeout:g} seconds")
        except Exception as error:
            self._mark_down(self._explain(error))
        return float(self._reactor.seconds() - self._up_since)

    async def _stay_connected(self, scope: anyio.CancelScope) -> None:
        """Connect within the scope's deadline, then follow the server without one."""
        async with connect(self.settings, on_tools_changed=self._changed.set, on_end=self._disconnect) as connection:
            try:
                self._set_tools(await connection.tools())
                self._mark_up(connection)
                scope.deadline = math.inf
                await self._follow(connection)
            finally:
                self._disconnect()
                scope.deadline = anyio.current_time() + _CLOSE_TIMEOUT

    async def _follow(self, connection: MCPConnection) -> None:
        """Read the tools again after each change. Raise if that fails or the connection is lost."""
        async with anyio.create_task_group() as group:
            group.start_soon(connection.subscribe, self._changed.set)
            while True:
                with anyio.move_on_after(REFRESH_INTERVAL):
                    await self._changed.wait()
                self._changed.clear()
                if self._stopping:
                    break
                if self._connection is not connection:
                    raise NotConnected("the server has ended the session")
                with anyio.fail_after(self.settings.connect_timeout):
                    self._set_tools(await connection.tools())
                await anyio.sleep(_REFRESH_PAUSE)
            group.cancel_scope.cancel()

    def _set_tools(self, listed: ToolList) -> None:
        if (tuple(listed.tools), listed.malformed) != (self.tools, self.malformed):
            self.tools, self.malformed = tuple(listed.tools), listed.malformed
            self.on_tools_changed()

    # Changes of state

    def _mark_up(self, connection: MCPConnection) -> None:
        self._up_since = self._reactor.seconds()
        self.state = "up"
        self.last_error = None
        self._connection = connection
        self._attempted.set()
        log.info("MCP server {name} is up, with {count} tools.", name=self.settings.name, count=len(self.tools))

    def _disconnect(self) -> None:
        """Stop using the connection. Calls wait for the next one."""
        if self._connection is not None:
            self._connection = None
            self.state = "connecting"
            self._changed.set()
            if not self._stopping:
                self._attempted.clear()

    def _mark_down(self, why: str) -> None:
        """Note the end of an attempt. After a connection that had come up, the next attempt decides about the state."""
        self.last_error = why
        if not math.isnan(self._up_since):
            log.warn("MCP server {name} is lost: {why}", name=self.settings.name, why=why)
        elif self.state != "down":
            self.state = "down"
            log.warn("MCP server {name} is down, and tried again: {why}", name=self.settings.name, why=why)
            self._attempted.set()

    # Calls

    async def _call(self, call: InjectedCall, arguments: dict[str, Any]) -> ToolResult:
        begun = self._reactor.seconds()

        def milliseconds() -> float:
            return float(self._reactor.seconds() - begun) * 1000.0

        try:
            with anyio.fail_after(self.settings.call_timeout):
                result = await self._request(call.tool.tool, arguments)
        except Exception as error:
            self._changed.set()  # the connection may be lost, which reading the tools shows
            timed_out = isinstance(error, TimeoutError)
            why = f"no response within {self.settings.call_timeout:g} seconds" if timed_out else self._explain(error)
            return ToolResult.failed(call, why, milliseconds())
        return read_result(call, result, limit=self.settings.max_result_bytes, duration_ms=milliseconds())

    async def _request(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Send the call; once more on a new connection if the server has forgotten the session."""
        connection = await self._connected()
        try:
            return await connection.call(tool, arguments)
        except Exception as error:
            if not is_session_unknown(error):
                raise
        if self._connection is connection:
            self._disconnect()
        return await (await self._connected()).call(tool, arguments)

    async def _connected(self) -> MCPConnection:
        await self._attempted.wait()
        if self._connection is None:
            raise NotConnected(f"the MCP server {self.settings.name} is not connected at the moment")
        return self._connection

    def _explain(self, error: BaseException) -> str:
        """Return the error's message in one line, without secrets of the settings."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        message = getattr(error, "strerror", None) or str(error)
        return self.settings.redact(" ".join(message.split()) or type(error).__name__)

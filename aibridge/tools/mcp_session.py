"""One MCP server, held open: greeted, followed, and greeted again when it was lost."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from attrs import Factory, define
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ConfigError
from ..wire.tool_calls import InjectedCall, ToolResult
from .results import read_result
from .settings import ServerSettings
from .toolset import ToolDefinition

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


if TYPE_CHECKING:
    from .mcp_connection import Connection

log = Logger()

CONNECTING = "connecting"
"""Not known yet whether it is there: at the start, and just after a loss."""
UP = "up"
DOWN = "down"

LOOK_EVERY = 60.0
"""Seconds after which a server that keeps silent is asked for its tools again; so its loss is noticed in the end."""

_CALM = 0.1
"""Seconds between two looks, so that a server that tells of changes without end does not keep us busy."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
_STEADY = 5.0
"""A connection that held for so many seconds counts as sound: what ended it was no lasting fault."""
_FAREWELL = 5.0
"""How many seconds a server has to let us go."""


class Lost(Exception):
    """There is no connection."""


def pause_after(failures: int) -> float:
    """How many seconds to wait before the next attempt: none after no failure, then from 0.1 doubling up to 30."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) if failures else 0.0


class ServerSession:
    """One server. ``changed`` is called when its tools are others than before."""

    def __init__(self, settings: ServerSettings, reactor: Any, changed: Callable[[], object] = lambda: None) -> None:
        self.settings = settings
        self.tools: tuple[ToolDefinition, ...] = ()
        """The last that it offered; they stay while it is away. Never changed in place."""
        self.state = CONNECTING
        self.last_error: str | None = None
        self.changed = changed
        self._reactor = reactor
        self._tasks = Tasks()
        self._mcp: Any = None
        self._starting: Any = None
        self._stopping = False
        self._life: anyio.CancelScope | None = None
        self._risen = math.nan
        self._connection: Connection | None = None
        self._attempted = asyncio.Event()
        self._news = asyncio.Event()

    def start(self) -> None:
        """Begins to connect. ConfigError on a reactor that it can't live on. A server that is down is no error."""
        verify_reactor(self._reactor)
        # Takes half a second and 30 MB: for those only who have a server, and before anything listens.
        from . import mcp_connection as connection

        self._mcp = connection
        # Services are started before the loop runs, and asyncio knows no task before that.
        self._starting = self._reactor.callLater(0, self._begin)

    def stop(self) -> "Deferred[None]":
        """Fires when nothing of it is left: no task, no process, no socket. Calls in flight end with an error."""
        if self._starting is not None and self._starting.active():
            self._starting.cancel()
        return deferLater(self._reactor, 0.0).addCallback(lambda _: self._end())

    def settled(self) -> "Deferred[Any]":
        """Fires when it is known whether the server is there: it is up, or an attempt to reach it has failed."""
        return deferLater(self._reactor, 0.0).addCallback(lambda _: self._tasks.run(self._attempted.wait()))

    def call(self, call: InjectedCall, arguments: dict[str, Any]) -> "Deferred[ToolResult]":
        """Call a tool of this server, in at most ``call_timeout`` seconds. Never fails for a reason of the server's.

        Cancelling the Deferred cancels the call at the server too.
        """
        return self._tasks.run(self._call(call, arguments))

    def _begin(self) -> None:
        self._tasks.run(self._supervise()).addErrback(
            lambda failure: log.failure("MCP server {name} is given up.", failure, name=self.settings.name)
        )

    def _end(self) -> "Deferred[Any]":
        self._stopping = True
        self._attempted.set()
        self._news.set()
        if self._life is not None:
            grace = _FAREWELL if self._connection else 0.0
            self._life.deadline = asyncio.get_running_loop().time() + grace
        return self._tasks.ended()

    async def _supervise(self) -> None:
        """The whole life of the session, in one task: what anyio opens in a task has to be closed in the same one."""
        failures = 0
        with anyio.CancelScope() as self._life:
            while not self._stopping:
                await anyio.sleep(pause_after(failures))
                held = await self._attempt()
                failures = 0 if held >= _STEADY else failures + 1
        self.state = DOWN

    async def _attempt(self) -> float:
        """One connection, until it is lost. For how many seconds it held."""
        self._news.clear()
        self._risen = math.nan
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self.settings.connect_timeout) as scope:
                await self._hold(scope)
            if scope.cancelled_caught:
                raise TimeoutError("it did not answer in time")
        except Exception as error:
            self._fall(self._explain(error))
        return float(self._reactor.seconds() - self._risen)

    async def _hold(self, scope: anyio.CancelScope) -> None:
        async with self._mcp.connect(self.settings, changed=self._news.set, ended=self._lose) as connection:
            try:
                self._publish(await connection.tools())
                self._rise(connection)
                scope.deadline = math.inf
                await self._follow(connection)
            finally:
                self._lose()
                scope.deadline = anyio.current_time() + _FAREWELL

    async def _follow(self, connection: "Connection") -> None:
        """Keeps the tools as they are at the server; a list that can't be had any more is the end of the connection."""
        async with anyio.create_task_group() as group:
            group.start_soon(connection.follow, self._news.set)
            await self._reason_to_look()
            while not self._stopping:
                if self._connection is not connection:
                    raise Lost("it has ended the session")
                with anyio.fail_after(self.settings.connect_timeout):
                    self._publish(await connection.tools())
                await anyio.sleep(_CALM)
                await self._reason_to_look()
            group.cancel_scope.cancel()

    async def _reason_to_look(self) -> None:
        """Waits for news, or until nothing was heard for too long."""
        with anyio.move_on_after(LOOK_EVERY):
            await self._news.wait()
        self._news.clear()

    async def _call(self, call: InjectedCall, arguments: dict[str, Any]) -> ToolResult:
        begun = self._reactor.seconds()
        why = f"no answer within {self.settings.call_timeout:g} seconds"
        try:
            with anyio.fail_after(self.settings.call_timeout):
                result = await self._ask(call.tool.tool, arguments)
        except Exception as error:
            self._news.set()
            why = why if isinstance(error, TimeoutError) else self._explain(error)
            return ToolResult.failed(call, why, self._milliseconds(begun))
        duration_ms = self._milliseconds(begun)
        return read_result(call, result, limit=self.settings.max_result_bytes, duration_ms=duration_ms)

    async def _ask(self, tool: str, arguments: dict[str, Any]) -> Any:
        connection = await self._connected()
        try:
            return await connection.call(tool, arguments)
        except Exception as error:
            if not self._mcp.is_forgotten(error):
                raise
        # It did nothing with the call, so that this may be made again.
        if self._connection is connection:
            self._lose()
        return await (await self._connected()).call(tool, arguments)

    async def _connected(self) -> "Connection":
        await self._attempted.wait()
        if self._connection is None:
            raise Lost(f"the server {self.settings.name} is not there at the moment")
        return self._connection

    def _rise(self, connection: "Connection") -> None:
        self._risen = self._reactor.seconds()
        self.state = UP
        self.last_error = None
        self._connection = connection
        self._attempted.set()
        log.info("MCP server {name} is up, with {count} tools.", name=self.settings.name, count=len(self.tools))

    def _lose(self) -> None:
        """The connection is not used any more, and the next one may be waited for."""
        if self._connection is not None:
            self._connection = None
            self.state = CONNECTING
            self._news.set()
            if not self._stopping:
                self._attempted.clear()

    def _fall(self, why: str) -> None:
        """An attempt has ended. Only one that never came up says that the server is down."""
        self.last_error = why
        if not math.isnan(self._risen):
            log.warn("MCP server {name} is lost: {why}", name=self.settings.name, why=why)
        elif self.state != DOWN:
            self.state = DOWN
            log.warn("MCP server {name} is down, and tried again: {why}", name=self.settings.name, why=why)
            self._attempted.set()

    def _publish(self, tools: tuple[ToolDefinition, ...]) -> None:
        if tools != self.tools:
            self.tools = tools
            self.changed()

    def _explain(self, error: BaseException) -> str:
        """Without anything secret, in one line."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        said = getattr(error, "strerror", None) or str(error)
        return self.settings.redact(" ".join(said.split()) or type(error).__name__)

    def _milliseconds(self, begun: float) -> float:
        return float(self._reactor.seconds() - begun) * 1000.0

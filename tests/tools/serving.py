"""MCP servers on sockets of this machine, and a base class for tests that use them."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from aibridge.tools.mcp_session import ServerSession
from aibridge.tools.settings import MCPServerSettings
from aibridge.wire.tool_calls import InjectedCall, InjectedTool, ToolResult

App = Callable[[Any, Any, Any], Awaitable[None]]


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the reactor."""
        yield

    async def main_loop(self) -> None:
        """Run without uvicorn's ticks, so that it ends at once."""
        self.leave = asyncio.Event()
        await self.leave.wait()


class Listener:
    """An ASGI application on a port of 127.0.0.1."""

    def __init__(self, app: App, port: int = 0) -> None:
        # asyncio sends small pieces at once only over sockets that name their protocol.
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(app, log_config=None, log_level="critical", timeout_graceful_shutdown=0)
        self._server = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen. Asyncio's loop has to be running."""
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Cut every connection and stop listening."""
        if self._task is not None:
            await until(lambda: hasattr(self._server, "leave"))
            self._server.leave.set()
            await Deferred.fromFuture(asyncio.gather(self._task, return_exceptions=True))
            self._task = None


def before_2026(app: App) -> App:
    """Return the server as one that knows only protocol versions before 2026."""

    async def older(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-method") == b"server/discover":
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return older


def behind_bearer(app: App, token: str) -> App:
    """Return the server as one that demands this bearer token."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or dict(scope["headers"]).get(b"authorization") == f"Bearer {token}".encode():
            await app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return guarded


def children() -> set[str]:
    """Return the process ids of this process's children."""
    return {child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()}


def _sockets() -> set[str]:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(descriptor.readlink()))
    return {link for link in links if link.startswith("socket:")}


def _tasks() -> set[Any]:
    every = asyncio.all_tasks(reactor._asyncioEventloop)  # type: ignore[attr-defined]
    # The servers' own library has one that lives as long as the process.
    return {task for task in every if task.get_coro().__name__ != "_shutdown_watcher"}  # type: ignore[union-attr]


class LeavesNothing(TestCase):
    """A test after which no task, process or socket of asyncio is left. Trial looks only for Twisted's."""

    timeout = 20

    def setUp(self) -> None:
        looks = {"tasks": _tasks, "processes": children, "sockets": _sockets}
        before = {kind: look() for kind, look in looks.items()}
        self.addCleanup(lambda: self._nothing_left(looks, before))

    async def _nothing_left(self, looks: Any, before: Any) -> None:
        for _ in range(100):
            left = {kind: look() - before[kind] for kind, look in looks.items()}
            if not any(left.values()):
                return
            await turn()
        self.fail(f"left behind: {left}")

    async def serve(self, app: App, port: int = 0) -> Listener:
        """Serve an application until the test ends."""
        listener = Listener(app, port)
        await turn(0)
        listener.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(listener.stop()))
        return listener

    async def session(self, changed: Callable[[], object] = lambda: None, **settings: Any) -> ServerSession:
        """Return a session with that server, once its state is known."""
        session = ServerSession(MCPServerSettings(**{"name": "menu"} | settings), reactor, changed)
        self.addCleanup(session.stop)
        session.start()
        await session.settled()
        return session

    def call(self, session: ServerSession, tool: str, arguments: dict[str, Any]) -> "Deferred[ToolResult]":
        """Call a tool of that server, under the server's own name for it."""
        injected = InjectedTool(f"bmcp_menu_{tool}", "menu", session.settings.address, tool, "", {})
        return session.call(InjectedCall("c1", injected, ""), arguments)


async def turn(seconds: float = 0.01) -> None:
    """Let everything else run for a moment."""
    await deferLater(reactor, seconds, lambda: None)  # type: ignore[arg-type]


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that another process or task does. The test's timeout limits the wait."""
    while not condition():
        await turn()

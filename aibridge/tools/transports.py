"""The three ways to an MCP server. Imports ``mcp``: so this is imported when a session starts, not before."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TextIO, cast

import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from .settings import SSE, STDIO, STREAMABLE_HTTP, ServerSettings

Streams = tuple[Any, Any]
_Way = AbstractAsyncContextManager[Streams]

_FRAMING = 65_536
"""Bytes around a result that are none of its content."""

# These write requests with their URLs, and a URL may hold a key. A host that wants them adds a handler of its own.
for _name in ("mcp", "client", "httpx2"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Unauthorized(Exception):
    """The server does not take the credential, or wants one."""


@asynccontextmanager
async def open_transport(settings: ServerSettings, ended: Callable[[], object]) -> AsyncIterator[Streams]:
    """The streams from and to that server. ``ended`` is called when nothing more will come from it."""
    async with _WAYS[settings.transport](settings) as (read, write):
        yield _Watched(read, ended), write


def _over_pipes(settings: ServerSettings) -> _Way:
    server = StdioServerParameters(command=settings.command or "", args=list(settings.args), env=dict(settings.env))
    # What it complains of goes where this process's own complaints do; twistd's sys.stderr is no file for a program.
    return stdio_client(server, errlog=cast(TextIO, sys.__stderr__))


def _over_sse(settings: ServerSettings) -> _Way:
    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
        return _http_client(settings)

    return sse_client(settings.url or "", httpx_client_factory=client)


@asynccontextmanager
async def _over_http(settings: ServerSettings) -> AsyncIterator[Streams]:
    largest = settings.max_result_bytes + _FRAMING
    async with (
        _http_client(settings) as client,
        streamable_http_client(settings.url or "", http_client=client, max_sse_event_size=largest) as streams,
    ):
        yield streams


_WAYS: dict[str, Callable[[ServerSettings], _Way]] = {STDIO: _over_pipes, SSE: _over_sse, STREAMABLE_HTTP: _over_http}


def _http_client(settings: ServerSettings) -> httpx2.AsyncClient:
    """Waits without end for what a server sends: it may be silent for hours, and calls have a time-out of their own."""

    async def look(response: httpx2.Response) -> None:
        if response.status_code == 401:
            raise Unauthorized("HTTP 401: the server does not take the credential")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream, settings.max_result_bytes + _FRAMING)

    return httpx2.AsyncClient(
        headers=dict(settings.headers),
        timeout=httpx2.Timeout(settings.connect_timeout, read=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        event_hooks={"response": [look]},
    )


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error where it grows over its limit; the transport reads it into memory as a whole."""

    def __init__(self, body: Any, limit: int) -> None:
        self._body = body
        self._left = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            self._left -= len(piece)
            if self._left < 0:
                raise httpx2.StreamError("the result is too large")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


class _Watched:
    """A stream of messages that tells when it ends: the client that reads it keeps that to itself until it is asked."""

    def __init__(self, stream: Any, ended: Callable[[], object]) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._ended()
            raise

    async def __aenter__(self) -> "_Watched":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._stream.__aexit__(*exception)

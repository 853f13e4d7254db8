"""One connection to an MCP server, from its handshake to its loss. Imports ``mcp``, as `transports` does."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TextIO, cast

import anyio
import httpx2
import mcp_types as types
from attrs import frozen
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter

from .settings import SSE, STDIO, STREAMABLE_HTTP, ServerSettings
from .toolset import ToolDefinition

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


MOST_PAGES = 100
"""Of one list; a server that never ends its list is not followed further."""

_RELISTEN = 5.0
"""Seconds before a lost subscription is renewed."""

_MODERN = "2026-07-28"
"""From this version of the protocol on, changes are told to those who subscribe; before, to everyone.

https://modelcontextprotocol.io/specification/draft/basic/utilities/subscriptions
"""

_CLIENT = types.Implementation(name="aibridge", version="1")
_RESULT: TypeAdapter[Any] = TypeAdapter(types.CallToolResult | types.InputRequiredResult)


class NotCallable(Exception):
    """The server wants something for this call that nobody here can give."""


@frozen
class Connection:
    """A server that has been greeted."""

    _client: Client

    async def tools(self) -> tuple[ToolDefinition, ...]:
        """All tools, of all pages of the list."""
        found: list[ToolDefinition] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
            found += (ToolDefinition(tool.name, tool.description or "", tool.input_schema) for tool in page.tools)
            cursor = page.next_cursor
            if cursor is None:
                break
        return tuple(found)

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """The ``CallToolResult``, as the server gave it.

        Not by the client's own ``call_tool``: that withholds a result whose structured half does not fit its schema,
        though the model would understand the other half.
        """
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        result = await self._client.session.send_request(request, _RESULT)
        if isinstance(result, types.InputRequiredResult):
            raise NotCallable("the tool asks its user for more input, which is not possible here")
        return result

    async def follow(self, changed: Callable[[], object]) -> None:
        """Tells of changes of the list where the server has to be asked for that; ends where it can't be."""
        while self._client.protocol_version >= _MODERN:
            try:
                async with self._client.listen(tools_list_changed=True) as changes:
                    if not changes.honored.tools_list_changed:
                        return
                    async for _ in changes:
                        changed()
            except MCPError as error:
                if not is_lost(error):
                    return
            except SubscriptionLost:
                pass
            changed()
            await anyio.sleep(_RELISTEN)


@asynccontextmanager
async def connect(
    settings: ServerSettings, *, changed: Callable[[], object], ended: Callable[[], object]
) -> AsyncIterator[Connection]:
    """Greets the server, in whichever era of the protocol it lives.

    ``changed`` is called when its list of tools may have changed, ``ended`` when nothing more will come from it.
    """

    async def hear(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed()

    transport = open_transport(settings, ended)
    async with Client(transport, message_handler=hear, client_info=_CLIENT, cache=None) as client:
        yield Connection(client)


def is_lost(error: MCPError) -> bool:
    """Whether that error says that the connection has ended."""
    return error.code == types.CONNECTION_CLOSED


def is_forgotten(error: Exception) -> bool:
    """Whether the server does not know the session any more, as after a restart: then it did nothing with the request.

    Servers say it with different codes, but all of them in words that name the session.
    """
    known = (types.INVALID_REQUEST, types.REQUEST_TIMEOUT, types.CONNECTION_CLOSED)
    return isinstance(error, MCPError) and error.code in known and "session" in error.message.lower()

"""A connection to an MCP server: its transport, the handshake, and the requests that the gateway makes on it.

Importing this module imports ``mcp``, which takes half a second and 30 MB.
"""

import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

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

from .. import __version__
from ..http.proxies import Proxy, find_proxy
from .listing import ToolList, raw_entries, set_aside
from .settings import SSE, STDIO, MCPServerSettings

if TYPE_CHECKING:  # the library has no public path to these types
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.shared.message import SessionMessage

    Message = SessionMessage | Exception
    Streams = tuple[ReadStream[Message], WriteStream[SessionMessage]]

_MAX_PAGES = 100
"""Pages that are read of one list of tools. Some servers never end their lists."""

_MAX_TOOLS = 10_000
"""Tools after which no further page of a list is read."""

_MAX_LIST_BYTES = 16 * 2**20
"""Bytes that a page of a list of tools may have."""

_FRAMING = 65_536
"""Bytes that a response may have besides the content of a tool's result."""

_RESUBSCRIBE_AFTER = 5.0
"""Seconds after which a lost subscription is made again."""

_SUBSCRIPTIONS_SINCE = "2026-07-28"
"""The first protocol version whose servers notify subscribers only. Servers of older versions notify every client.

https://modelcontextprotocol.io/specification/draft/basic/utilities/subscriptions
"""

_RESULT: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)

# These log requests with their URLs, and a URL may contain a key. A host that wants the logs adds a handler of its own.
for _name in ("mcp", "client", "httpx2"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class CredentialRejected(Exception):
    """The server rejected the credential, or demands one."""


class NotCallable(Exception):
    """The tool needs something that the gateway can't give."""


@asynccontextmanager
async def connect(
    settings: MCPServerSettings, *, on_tools_changed: Callable[[], object], on_end: Callable[[], object]
) -> AsyncIterator["MCPConnection"]:
    """Connect to the server and do the handshake of whichever protocol version it speaks.

    ``on_tools_changed`` is called when the server's list of tools may have changed, ``on_end`` when the server sends
    nothing more.
    """

    async def receive(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            on_tools_changed()

    transport = _open_transport(settings, on_end)
    this = types.Implementation(name="aibridge", version=__version__)
    async with Client(transport, message_handler=receive, client_info=this, cache=None) as client:
        yield MCPConnection(client)


@frozen
class MCPConnection:
    """An open connection, after the handshake."""

    _client: Client

    async def tools(self) -> ToolList:
        """Return the server's tools, from all pages of its list. A server that knows no such list has no tools."""
        found = ToolList()
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            try:
                page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
            except MCPError as error:
                if error.code != types.METHOD_NOT_FOUND:
                    raise
                break
            found.add(raw_entries(page.meta), {tool.name for tool in page.tools}, self._client.protocol_version)
            cursor = page.next_cursor
            if cursor is None or len(found.tools) >= _MAX_TOOLS:
                break
        return found

    async def call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Call a tool and return what the server sent. Raise NotCallable if the tool wants more input."""
        # Client.call_tool would refuse a result whose structured content does not match its schema, though the model
        # understands the rest of the result.
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        result = await self._client.session.send_request(request, _RESULT)
        if isinstance(result, types.InputRequiredResult):
            raise NotCallable("the tool asks its user for more input, which is not possible here")
        return result

    async def subscribe(self, on_tools_changed: Callable[[], object]) -> None:
        """Subscribe to changes of the tools, again after each loss. Return if the server offers no subscriptions."""
        while self._client.protocol_version >= _SUBSCRIPTIONS_SINCE:
            try:
                async with self._client.listen(tools_list_changed=True) as changes:
                    if not changes.honored.tools_list_changed:
                        return
                    async for _ in changes:
                        on_tools_changed()
            except MCPError as error:
                if error.code != types.CONNECTION_CLOSED:
                    return
            except SubscriptionLost:
                pass
            on_tools_changed()  # changes may have been missed
            await anyio.sleep(_RESUBSCRIBE_AFTER)


def is_session_unknown(error: Exception) -> bool:
    """True if the server does not know the session any more, as after a restart. It has not processed the request.

    Servers use different codes for this, but all messages contain the word "session".
    """
    codes = (types.INVALID_REQUEST, types.REQUEST_TIMEOUT, types.CONNECTION_CLOSED)
    return isinstance(error, MCPError) and error.code in codes and "session" in error.message.lower()


# Transports


@asynccontextmanager
async def _open_transport(settings: MCPServerSettings, on_end: Callable[[], object]) -> AsyncIterator["Streams"]:
    """Open the streams from and to the server. ``on_end`` is called when the stream from the server ends."""
    async with _transport(settings) as (read, write):
        yield cast("ReadStream[Message]", _WatchedStream(read, on_end)), write


def _transport(settings: MCPServerSettings) -> AbstractAsyncContextManager["Streams"]:
    if settings.transport == STDIO:
        command, args, env = settings.command or "", list(settings.args), dict(settings.env)
        # The program needs a real file for its standard error: under twistd, sys.stderr is a log.
        errors = cast(TextIO, sys.__stderr__)
        return stdio_client(StdioServerParameters(command=command, args=args, env=env), errlog=errors)
    if settings.transport == SSE:
        return sse_client(settings.url or "", httpx_client_factory=lambda *_, **__: _http_client(settings))
    return _streamable_http(settings)


@asynccontextmanager
async def _streamable_http(settings: MCPServerSettings) -> AsyncIterator["Streams"]:
    async with (
        _http_client(settings) as client,
        streamable_http_client(
            settings.url or "", http_client=client, max_sse_event_size=_max_message_bytes(settings)
        ) as streams,
    ):
        yield streams


def _max_message_bytes(settings: MCPServerSettings) -> int:
    """Return the bound of one message. It may be a list of tools; results have a bound of their own once read."""
    return max(settings.max_result_bytes, _MAX_LIST_BYTES) + _FRAMING


def _http_client(settings: MCPServerSettings) -> httpx2.AsyncClient:
    """Return an HTTP client. It has no read timeout: servers may be silent for hours, and calls have a timeout."""
    proxy = find_proxy(settings.url or "", settings.proxy, os.environ)
    way = f" (through the proxy {proxy})" if proxy is not None else ""

    async def check_response(response: httpx2.Response) -> None:
        if response.status_code == 401:
            raise CredentialRejected("HTTP 401: the server does not accept the credential")
        kind = response.headers.get("content-type", "")
        if response.status_code not in _MEANT_BY_MCP and not response.is_success and "json" not in kind:
            why = f"HTTP {response.status_code} {response.reason_phrase}{way}"
            if settings.transport == SSE:
                raise httpx2.TransportError(why)
            _replace_body(response, why)
        elif not kind.startswith("text/event-stream"):
            body = cast(httpx2.AsyncByteStream, response.stream)
            response.stream = _LimitedBody(body, _max_message_bytes(settings))

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx2.AsyncClient(
        # With a transport of its own, the client leaves the environment's proxies alone: this machine is not exempt
        # from them in httpx2.
        transport=_Transport(proxy, limits),
        headers=dict(settings.headers),
        timeout=httpx2.Timeout(settings.connect_timeout, read=None),
        event_hooks={"response": [check_response]},
    )


_MEANT_BY_MCP = (400, 404, 405)
"""Statuses by which servers of some versions tell clients what they don't know. MCP's client understands them."""


def _replace_body(response: httpx2.Response, why: str) -> None:
    """Give a response that is none of MCP's an error that MCP's client can read: it tells no status."""
    error = types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=types.INTERNAL_ERROR, message=why))
    response.headers["content-type"] = "application/json"
    response.headers.pop("content-encoding", None)
    response.stream = _ReplacedBody(cast(httpx2.AsyncByteStream, response.stream), error.model_dump_json().encode())


class _Transport(httpx2.AsyncHTTPTransport):
    """A transport whose errors name the proxy, if there is one."""

    def __init__(self, proxy: Proxy | None, limits: httpx2.Limits) -> None:
        authorization = proxy.authorization if proxy is not None else None
        headers = {"Proxy-Authorization": authorization.decode("ascii")} if authorization else None
        way = httpx2.Proxy(f"http://{proxy}", headers=headers) if proxy is not None else None
        super().__init__(limits=limits, proxy=way)
        self._proxy = proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except httpx2.TransportError as error:
            if self._proxy is None:
                raise
            why = str(error) or type(error).__name__
            raise httpx2.ProxyError(f"{why} (through the proxy {self._proxy})", request=request) from error


class _ReplacedBody(httpx2.AsyncByteStream):
    """A body in the place of another one."""

    def __init__(self, body: httpx2.AsyncByteStream, text: bytes) -> None:
        self._body = body
        self._text = text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._text

    async def aclose(self) -> None:
        await self._body.aclose()


class _LimitedBody(httpx2.AsyncByteStream):
    """A response body that fails once it is larger than the limit. The transport reads whole bodies into memory."""

    def __init__(self, body: httpx2.AsyncByteStream, limit: int) -> None:
        self._body = body
        self._left = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self._left -= len(chunk)
            if self._left < 0:
                raise httpx2.StreamError("the response is too large")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


class _WatchedStream:
    """A stream of messages that notifies of its end, and sets the tools of lists aside.

    MCP's client tells nobody of an end until the next request fails, and would refuse a list for one wrong entry.
    """

    def __init__(self, stream: "ReadStream[Message]", on_end: Callable[[], object]) -> None:
        self._stream = stream
        self._on_end = on_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> "_WatchedStream":
        return self

    async def __anext__(self) -> "Message":
        try:
            received = await self._stream.__anext__()
        except BaseException:
            self._on_end()
            raise
        response = getattr(received, "message", None)
        if isinstance(response, types.JSONRPCResponse) and "tools" in response.result:
            set_aside(response.result)
        return received

    async def __aenter__(self) -> "_WatchedStream":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._stream.__aexit__(*exception)

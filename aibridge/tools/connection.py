"""One connection to an MCP server, from its handshake to its loss. Imports ``mcp``, as `transports` does."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from attrs import frozen
from mcp.client import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from pydantic import TypeAdapter

from .definition import ToolDefinition
from .settings import ServerSettings
from .transports import open_transport

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

"""The MCP server of the tests. As a program it talks over its standard input and output."""

import asyncio
import base64
import os
from typing import Any

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

PIXEL = b"\x89PNG\r\n\x1a\n"
PIXEL_TEXT = base64.b64encode(PIXEL).decode()


class Address(BaseModel):
    """A postal address, which becomes a definition in the tool's schema."""

    street: str
    number: int = 1


class Menu:
    """A server with a tool of each kind, and a record of its calls."""

    def __init__(self) -> None:
        self.server = MCPServer("menu", log_level="CRITICAL")
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls: list[str] = []
        for tool in (self.echo, self.fail, self.wait, self.picture, self.mixed, self.large, self.post):
            self.server.add_tool(tool)
        for other in (self.rename, self.variables, self.client):
            self.server.add_tool(other)

    async def echo(self, text: str) -> str:
        """Says the same."""
        self.calls.append(text)
        return text

    async def fail(self) -> str:
        """Fails."""
        raise ToolError("the kitchen is on fire")

    async def wait(self) -> str:
        """Never ends by itself."""
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "never"

    async def picture(self) -> Image:
        """Returns an image."""
        return Image(data=PIXEL, format="png")

    async def mixed(self) -> CallToolResult:
        """Returns a content block of each kind."""
        blob = BlobResourceContents(uri="file:///a.bin", blob="AAAA", mime_type="application/zip")
        drawn = BlobResourceContents(uri="file:///a.png", blob=PIXEL_TEXT, mime_type="image/png")
        return CallToolResult(
            content=[
                TextContent(text="one"),
                EmbeddedResource(resource=TextResourceContents(uri="file:///a.txt", text="two")),
                EmbeddedResource(resource=blob),
                EmbeddedResource(resource=drawn),
                ResourceLink(uri="file:///b", name="b"),
                AudioContent(data="AAAA", mime_type="audio/wav"),
            ]
        )

    async def large(self, size: int) -> str:
        """Returns that many characters."""
        return "x" * size

    async def post(self, to: Address) -> str:
        """Sends something."""
        return to.street

    async def variables(self) -> list[str]:
        """Returns the names of its environment variables."""
        return list(os.environ)

    async def client(self, ctx: Context[Any]) -> str:
        """Returns the name and version of the client."""
        params = ctx.session.client_params
        assert params is not None
        return f"{params.client_info.name} {params.client_info.version}"

    async def rename(self, ctx: Context[Any]) -> str:
        """Offers ``echo2`` from now on, and no ``echo``."""
        self.server.remove_tool("echo")
        self.server.add_tool(self.echo, name="echo2")
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "done"


if __name__ == "__main__":
    Menu().server.run("stdio")

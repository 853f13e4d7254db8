"""The MCP server of a soak, over standard input and output."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("soak", log_level="CRITICAL")


@server.tool()
def hidden(text: str) -> str:
    """Return the text."""
    return f"You said {text}."


if __name__ == "__main__":
    server.run("stdio")

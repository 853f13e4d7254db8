"""Injected tools, against real MCP servers."""

"""Tools of MCP servers: held open, named, and called for the model."""

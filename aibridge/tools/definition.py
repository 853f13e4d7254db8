"""A tool as its server describes it."""

from typing import Any

from attrs import frozen


@frozen
class ToolDefinition:
    """Plain JSON values, all as they came."""

    name: str
    description: str
    schema: dict[str, Any]
    """JSON Schema of the arguments, with its ``$defs``."""

"""The gateway's own tools in a conversation: a tool, a call that the model makes of it, and the result of that call."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from attrs import frozen

INJECTED_PREFIX = "bmcp_"
"""The names of all injected tools begin with it."""


@frozen
class InjectedTool:
    """A tool of an MCP server that is offered to the model."""

    name: str
    """The name under which the model calls the tool."""
    server: str
    server_url: str
    tool: str
    """The server's own name for the tool."""
    description: str
    schema: Mapping[str, Any]
    """JSON Schema of the arguments, with all that it refers to. Not to be changed."""
    wrapper: str = ""
    """The argument that holds all of the tool's own arguments, if an API accepts the schema only in this form."""

    @classmethod
    def unknown(cls, name: str) -> "InjectedTool":
        """A tool that the model calls by a name of the gateway's, though nobody offers it."""
        return cls(name, "", "", name, "", {})

    @property
    def is_known(self) -> bool:
        """True if a server has or had the tool."""
        return bool(self.server)


@frozen
class InjectedCall:
    """A call of an injected tool, as the model wrote it."""

    id: str
    """The id that the provider gave the call."""
    tool: InjectedTool
    arguments: str
    """JSON text; a model may write text that is no JSON."""


class TextPart(TypedDict):
    """Text in a tool's result."""

    type: Literal["text"]
    text: str


class ImagePart(TypedDict):
    """An image in a tool's result: base64 data, and its media type, such as ``image/png``."""

    type: Literal["image"]
    data: str
    mime_type: str


ResultPart = TextPart | ImagePart
"""These JSON values are also what the records keep of a result."""


@frozen
class ToolResult:
    """The result of a call. Every call has a result: a failed call's result tells the model why it failed."""

    call: InjectedCall
    content: Sequence[ResultPart]
    """Empty if the tool returned nothing."""
    error: str | None = None
    """The reason for the failure; None if the call succeeded."""
    duration_ms: float = 0.0

    @classmethod
    def failed(cls, call: InjectedCall, error: str, duration_ms: float = 0.0) -> "ToolResult":
        """A result without content of the tool's, whose text is the error."""
        return cls(call, [{"type": "text", "text": error}], error, duration_ms)

    @property
    def text(self) -> str:
        """The whole result for an API that takes text only, with each image named by its media type."""
        return "\n".join(
            part["text"] if part["type"] == "text" else f"[image: {part['mime_type']}]" for part in self.content
        )

"""The tools of a conversation: an immutable value, which stays as it is when servers change their tools."""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from attrs import asdict, field, frozen

from ..wire.history import Turn
from ..wire.tool_calls import INJECTED_PREFIX, InjectedTool
from ..wire.tool_schemas import UnfitSchema, fit_tool

MAX_NAME_LENGTH = 64
"""Characters that every API accepts; OpenAI's limit: https://platform.openai.com/docs/api-reference/chat"""

_INVALID = re.compile(r"[^a-zA-Z0-9_-]")
_HASH_LENGTH = 10


@frozen
class ToolDefinition:
    """A tool as its server lists it."""

    name: str
    description: str
    schema: dict[str, Any]
    """JSON Schema of the arguments, with its ``$defs``."""


def injected_name(server: str, tool: str) -> str:
    """Return the name under which the model calls a server's tool: ``bmcp_{server}_{tool}``.

    A name that an API would refuse is shortened and gets a hash of the whole name at its end. Names depend on nothing
    else, so they are the same in every process. Server names contain no underscore, so no two tools share a name.
    """
    name = f"{INJECTED_PREFIX}{server}_{tool}"
    if len(name) <= MAX_NAME_LENGTH and not _INVALID.search(name):
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{_INVALID.sub('_', name)[: MAX_NAME_LENGTH - 1 - _HASH_LENGTH]}_{digest}"


@frozen
class OfferedTools:
    """A toolset as one API gets it."""

    tools: tuple[InjectedTool, ...]
    """The tools whose schemas the API accepts, perhaps in another form."""
    unfit: Mapping[str, str]
    """The reason why a tool is left out, by its name."""


@frozen
class Toolset:
    """Injected tools in the order in which they are offered. Their names are unique."""

    tools: tuple[InjectedTool, ...] = ()
    digest: str = field(init=False)
    """SHA-256 of what the model sees of the tools, in hexadecimal digits."""
    _offered: dict[str, OfferedTools] = field(factory=dict, init=False, eq=False, repr=False)

    @digest.default
    def _digest(self) -> str:
        seen = [(tool.name, tool.description, tool.schema) for tool in self.tools]
        return sha256(json.dumps(seen, separators=(",", ":")).encode()).hexdigest()

    def offered(self, api: str) -> OfferedTools:
        """Return the tools in the form that an API accepts. `api` is the name of a wire format."""
        if api not in self._offered:
            tools, unfit = [], {}
            for tool in self.tools:
                try:
                    tools.append(fit_tool(tool, api))
                except UnfitSchema as error:
                    unfit[tool.name] = str(error)
            self._offered[api] = OfferedTools(tuple(tools), unfit)
        return self._offered[api]

    def only(self, tools: Iterable[InjectedTool]) -> "Toolset":
        """Return the toolset without the tools that are not among these, which may be in an API's form."""
        names = {tool.name for tool in tools}
        kept = tuple(tool for tool in self.tools if tool.name in names)
        return self if len(kept) == len(self.tools) else Toolset(kept)

    def dump(self) -> list[dict[str, Any]]:
        """Return the toolset as JSON values, for `load`."""
        values = [asdict(tool) for tool in self.tools]
        for value in values:
            del value["wrapper"]  # belongs to the form that an API gets
        return values

    @classmethod
    def load(cls, values: Iterable[dict[str, Any]]) -> "Toolset":
        """Return the toolset that was dumped as these values."""
        return cls(tuple(InjectedTool(**value) for value in values))


@frozen(eq=False)
class Remembered:
    """A response that was given with tools on offer: its actor and provider, the tools, and its `Turn`."""

    actor_id: str
    provider: str
    toolset: Toolset
    turn: Turn

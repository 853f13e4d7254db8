"""The tools of a conversation: a value that never changes, whatever becomes of its servers."""

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from attrs import asdict, field, frozen

from ..wire.tool_calls import InjectedTool

LONGEST = 64
"""Characters that every API takes, OpenAI's being the strictest: https://platform.openai.com/docs/api-reference/chat"""

_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")
_MARK = 10


def injected_name(server: str, tool: str) -> str:
    """``bmcp_{server}_{tool}``; where an API would refuse that, as much of it as it takes, and a hash of all of it.

    It depends on nothing else, so it is the same in every process and after every restart. No underscore is part of a
    server's name, so tools of two servers never meet in one.
    """
    plain = f"bmcp_{server}_{tool}"
    if len(plain) <= LONGEST and not _REFUSED.search(plain):
        return plain
    mark = sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK]
    return f"{_REFUSED.sub('_', plain)[: LONGEST - 1 - _MARK]}_{mark}"


@frozen
class ToolDefinition:
    """Plain JSON values, all as they came."""

    name: str
    description: str
    schema: dict[str, Any]
    """JSON Schema of the arguments, with its ``$defs``."""


@frozen
class Toolset:
    """Injected tools in the order in which they are offered. No two have the same name."""

    tools: tuple[InjectedTool, ...] = ()
    digest: str = field(init=False)
    """SHA-256 of all that the model sees of them, in hexadecimal digits."""
    _by_name: dict[str, InjectedTool] = field(init=False, repr=False, eq=False)

    @digest.default
    def _digest(self) -> str:
        seen = [(tool.name, tool.description, tool.schema) for tool in self.tools]
        return sha256(json.dumps(seen, separators=(",", ":")).encode()).hexdigest()

    @_by_name.default
    def _index(self) -> dict[str, InjectedTool]:
        return {tool.name: tool for tool in self.tools}

    def get(self, name: str) -> InjectedTool | None:
        """The tool that the model calls by that name."""
        return self._by_name.get(name)

    def dump(self) -> list[dict[str, Any]]:
        """As JSON values, from which `load` makes an equal one."""
        return [asdict(tool) for tool in self.tools]

    @classmethod
    def load(cls, values: Iterable[dict[str, Any]]) -> "Toolset":
        """What was dumped, in another process perhaps."""
        return cls(tuple(InjectedTool(**value) for value in values))

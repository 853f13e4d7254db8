"""The tools of a conversation: a value that never changes, whatever becomes of its servers."""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from attrs import asdict, field, frozen


@frozen
class InjectedTool:
    """A tool that is offered to the model, and where it is."""

    name: str
    """What the model calls it."""
    server: str
    server_url: str
    tool: str
    """What its server calls it."""
    description: str
    schema: dict[str, Any]
    """JSON Schema of the arguments, with all that it refers to. Not to be changed."""


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

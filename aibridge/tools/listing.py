"""Lists of tools as MCP servers send them: each entry is checked by itself, so a wrong one hides no other.

https://modelcontextprotocol.io/specification/2025-11-25/server/tools#listing-tools
"""

from collections.abc import Container, Iterable
from typing import Any

from attrs import Factory, define
from mcp_types import methods
from pydantic import ValidationError

from .toolset import ToolDefinition

_LONGEST_NAME = 80
"""Characters of a server's words that are shown to an operator."""


@define
class ToolList:
    """The tools of a server, and the entries of its list that can't be used."""

    tools: list[ToolDefinition] = Factory(list)
    malformed: dict[str, str] = Factory(dict)
    """The reason why an entry is left out, by its name or its place in the list."""

    def add(self, entries: Iterable[object], known: Container[str], version: str) -> None:
        """Add the next entries of the list. `known` are the names that MCP's client accepted in that version."""
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            place = len(self.tools) + len(self.malformed) + 1
            label = name[:_LONGEST_NAME] if isinstance(name, str) and name else f"entry {place}"
            if isinstance(name, str) and any(tool.name == name for tool in self.tools):
                self.malformed[f"{label} (entry {place})"] = "it is listed twice; the first one counts"
            elif (why := _fault(entry, version)) is not None:
                self.malformed[label] = why
            elif name not in known:
                self.malformed[label] = "its x-mcp-header is not as MCP says"
            else:
                assert isinstance(entry, dict)
                self.tools.append(ToolDefinition(entry["name"], entry.get("description") or "", entry["inputSchema"]))


def _fault(entry: object, version: str) -> str | None:
    """Return why an entry is not as MCP says; None if it is, apart from its schema, which each API may have mended."""
    if not isinstance(entry, dict):
        return "it is no object"
    if not entry.get("name"):
        return "it has no name"
    if not isinstance(entry.get("inputSchema"), dict | bool):
        return "it has no inputSchema"
    page = {"tools": [entry | {"inputSchema": {"type": "object"}}], **_PAGE}
    try:
        methods.validate_server_result("tools/list", version, page)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"][2:]))
        return f"its {where[:_LONGEST_NAME]} is wrong: {first['msg'][:_LONGEST_NAME]}"
    return None


_PAGE: dict[str, Any] = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""Members that a page has in some versions of the protocol. Servers that leave one out mean no harm."""

_RAW = "aibridge/entries"


def set_aside(result: dict[str, Any]) -> None:
    """Change a result of ``tools/list`` so that MCP's client can't stumble over it; `raw_entries` are kept in it.

    MCP's client refuses a whole list for one wrong entry. It needs the names and the arguments, as it sends some
    arguments as headers too.
    """
    entries = result["tools"] if isinstance(result["tools"], list) else []
    meta = result["_meta"] if isinstance(result.get("_meta"), dict) else {}
    for key, value in _PAGE.items():
        if not isinstance(result.get(key), type(value)):
            result[key] = value
    if not isinstance(result.get("nextCursor"), str):
        result.pop("nextCursor", None)
    result["tools"] = [shape for entry in entries if (shape := _shape(entry)) is not None]
    result["_meta"] = {**meta, _RAW: entries}


def raw_entries(meta: Any) -> list[Any]:
    """Return the entries that the server sent, from the ``_meta`` of a result that was `set_aside`."""
    return list((meta or {}).get(_RAW, ()))


def _shape(entry: object) -> dict[str, Any] | None:
    """Return what MCP's client needs of an entry; None without a name or arguments."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return None
    schema = entry["inputSchema"] if isinstance(entry.get("inputSchema"), dict) else {}
    others = {key: value for key, value in schema.items() if key not in ("$schema", "required")}
    given = schema.get("properties")
    properties = {name: each for name, each in given.items() if isinstance(each, dict)} if type(given) is dict else {}
    return {"name": entry["name"], "inputSchema": others | {"type": "object", "properties": properties}}

"""The state of the gateway's parts, as sentences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

_WORKER = "worker "
"""The beginning of the name of a worker's own report."""


@frozen(kw_only=True)
class Part:
    """A part of the gateway."""

    name: str
    ok: bool
    text: str


def read_state(report: Mapping[str, Any]) -> Sequence[Part]:
    """Return the parts of a readiness report. Parts without anything to say are left out."""
    parts = []
    for name, found in report.items():
        if name.startswith(_WORKER):
            parts += [evolve(part, name=f"{name}: {part.name}") for part in read_state(found)]
        reader = _READERS.get(name)
        if reader is None:
            continue
        if found.get("ready"):
            parts += reader(found["detail"])
        else:
            parts.append(Part(name=name.capitalize(), ok=False, text=str(found["detail"])))
    return parts


def _database(detail: Mapping[str, Any]) -> list[Part]:
    spooled = f"; {detail['spooled_rows']:,} rows wait on local disk" if detail["spooled_rows"] else ""
    text = f"{detail['database']}{': ' + detail['reason'] if detail['reason'] else ''}{spooled}"
    return [Part(name="Database", ok=detail["database"] == "up" and not spooled, text=text)]


def _providers(detail: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Part]:
    parts = []
    for provider, circuits in detail.items():
        states = ", ".join(f"circuit {each['state']} for {each['model']}" for each in circuits)
        parts.append(Part(name=provider, ok=not circuits, text=states or "no open circuit"))
    return parts


def _keys(detail: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Part]:
    return [
        Part(name=provider, ok=False, text=f"key {key['key']} rests for {key['seconds']} s")
        for provider, keys in detail.items()
        for key in keys
    ]


def _mcp(detail: Sequence[Mapping[str, Any]]) -> list[Part]:
    return [
        Part(
            name=str(server.get("name", "MCP server")),
            ok=bool(server.get("connected", server.get("up", True))),
            text=str(server.get("error") or f"{len(server.get('tools', []))} tools"),
        )
        for server in detail
    ]


_READERS: Mapping[str, Callable[[Any], list[Part]]] = {
    "database": _database,
    "providers": _providers,
    "keys": _keys,
    "mcp": _mcp,
}

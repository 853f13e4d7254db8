"""Figures of whole sessions, read from the interceptions."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping

from .figures import first_prompts, session_id, session_parts

_KEY = ("session", "actor", "client")
_SHARED = ("team", "provider", "model")
_EXTREMES = {"first_at": min, "last_at": max}


def read_sessions(connection: Connection, condition: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    """Yield the sessions of interceptions that meet a condition, with the columns of `rollup_tables.sessions`."""
    parts: dict[tuple[str, ...], list[RowMapping]] = {}
    for row in connection.execute(session_parts(condition)).mappings():
        parts.setdefault(tuple(row[name] for name in _KEY), []).append(row)
    prompts = {}
    if parts:
        for row in connection.execute(first_prompts(condition)).mappings():
            prompts[tuple(row[name] for name in _KEY)] = row["prompt"]
    for key, rows in parts.items():
        yield {"id": session_id(*key), **_fold(rows), "first_prompt": prompts.get(key)}


def _fold(rows: list[RowMapping]) -> dict[str, Any]:
    """Add up the parts of a session; team, provider and model are those of most interceptions."""
    main = max(rows, key=lambda row: (row["interceptions"], row["last_at"]))
    folded: dict[str, Any] = {}
    for name in rows[0]:
        if name in _KEY or name in _SHARED:
            folded[name] = main[name]
        else:
            folded[name] = _EXTREMES.get(name, sum)([row[name] for row in rows])
    return folded

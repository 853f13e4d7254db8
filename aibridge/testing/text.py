"""Small things that all wire formats share: how text is found in requests, and how it is cut into deltas and frames."""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from .exchange import Json, Tool

CREATED = 1767225600
"""When every answer was made (2026-01-01): the same request gets the same bytes at any time."""

OVERLOADED = "The fake provider was told to fail here."

_PIECE = re.compile(r"\s*\S{1,12}|\s+")
_CLIENT_MADE = ("<system-reminder>", "<environment_context>")


def pieces(text: str) -> list[str]:
    """The text in deltas, about a word each."""
    return _PIECE.findall(text)


def frame(data: Json, event: str | None = None) -> bytes:
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + orjson.dumps(data) + b"\n\n"


def digest(*parts: str | bytes) -> str:
    """Hexadecimal digits that look made up and are always the same."""
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()


def opaque(*parts: str | bytes) -> str:
    """What a provider signs or encrypts: base64 that says nothing, always the same."""
    return base64.b64encode(digest(*parts).encode()).decode()


def texts(content: Any) -> list[str]:
    """The texts of a content that is a string or a list of typed parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def last_prompt(turns: Sequence[Json]) -> str:
    """The last text in a user's turn, past those that the client wrote by itself."""
    by_users = (text for turn in turns if turn.get("role") == "user" for text in texts(turn.get("content")))
    return next((text for text in reversed([*by_users]) if not text.startswith(_CLIENT_MADE)), "")


def last_turn(turns: Sequence[Json]) -> Json:
    """The last turn that is not an instruction."""
    spoken = (turn for turn in reversed(turns) if turn.get("role") not in ("system", "developer"))
    return next(spoken, {})


def callable_tools(document: Json, tools: Sequence[Tool]) -> Sequence[Tool]:
    """Those among the tools that ``tool_choice`` lets the model call."""
    choice = document.get("tool_choice") or {}
    if choice in ("none", {"type": "none"}):
        return ()
    wanted = None if isinstance(choice, str) else choice.get("name") or choice.get("function", {}).get("name")
    return [tool for tool in tools if wanted in (None, tool.name)]

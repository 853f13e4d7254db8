"""Helpers of all wire formats: find the texts in requests, cut texts into deltas, write events."""

import base64
import hashlib
import re
from collections.abc import Sequence

import orjson

from .exchange import Json, Tool

CREATED = 1767225600
"""The creation time of every response (2026-01-01), so that the same request always gets the same bytes."""

OVERLOADED = "The fake provider was told to fail here."

_PIECE = re.compile(r"\s*\S{1,12}|\s+")
_CLIENT_TEXTS = ("<system-reminder>", "<environment_context>")


def pieces(text: str) -> list[str]:
    """Cut a text into deltas of about a word each."""
    return _PIECE.findall(text)


def frame(data: Json, event: str | None = None) -> bytes:
    """Return a server-sent event with JSON data."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + orjson.dumps(data) + b"\n\n"


def digest(*parts: str | bytes) -> str:
    """Return hexadecimal digits that look random, and are always the same for the same parts."""
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()


def opaque(*parts: str | bytes) -> str:
    """Return base64 in place of a provider's signature or ciphertext, always the same for the same parts."""
    return base64.b64encode(digest(*parts).encode()).decode()


def texts(content: object) -> list[str]:
    """Return the texts of a message's content, which is a string or a list of typed parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def last_prompt(turns: Sequence[Json]) -> str:
    """Return the last text of a user's turn, except those that the client program wrote."""
    by_users = (text for turn in turns if turn.get("role") == "user" for text in texts(turn.get("content")))
    return next((text for text in reversed([*by_users]) if not text.startswith(_CLIENT_TEXTS)), "")


def last_turn(turns: Sequence[Json]) -> Json:
    """Return the last turn that is not an instruction to the model."""
    return next((turn for turn in reversed(turns) if turn.get("role") not in ("system", "developer")), {})


def callable_tools(document: Json, tools: Sequence[Tool]) -> Sequence[Tool]:
    """Return the tools that the request's ``tool_choice`` lets the model call."""
    choice = document.get("tool_choice") or {}
    if choice in ("none", {"type": "none"}):
        return ()
    wanted = None if isinstance(choice, str) else choice.get("name") or choice.get("function", {}).get("name")
    return [tool for tool in tools if wanted in (None, tool.name)]

"""The user's own words, among what clients wrap around them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .formats import backwards

# Clients put context of their own into the user's turn, whole blocks of it in tags such as these.
_WRAPPED = re.compile(r"\s*<(system-reminder|environment_context)>.*?</\1>\s*", re.DOTALL)
_LOOKED_PAST = ("system", "developer")


def prompt_of_messages(request: Mapping[str, Any]) -> str | None:
    """The prompt of a request whose conversation is its ``messages``: the last text block of the user's turn."""
    texts = last_user_texts(backwards(request.get("messages")), "text")
    return texts[-1] if texts else None


def last_user_texts(messages: Iterable[Mapping[str, Any]], text_type: str) -> list[str]:
    """The texts of the last message, where that is the user's; system messages and pure client context are looked past.

    The messages come backwards. `text_type` is the type of a text block in the API at hand. A turn without text, such
    as tool results only, gives none.
    """
    for message in messages:
        if message.get("role") in _LOOKED_PAST:
            continue
        if message.get("role") != "user":
            return []
        blocks = _blocks(message.get("content"), text_type)
        texts = [block["text"] for block in blocks if _is_text(block, text_type) and not _is_wrapped(block["text"])]
        if texts or not all(_is_text(block, text_type) for block in blocks):
            return texts
    return []


def _blocks(content: object, text_type: str) -> list[Any]:
    if isinstance(content, str):
        return [{"type": text_type, "text": content}]
    return content if isinstance(content, list) else []


def _is_text(block: object, text_type: str) -> bool:
    return isinstance(block, dict) and block.get("type") == text_type and isinstance(block.get("text"), str)


def _is_wrapped(block_text: str) -> bool:
    at = 0
    while wrapped := _WRAPPED.match(block_text, at):
        at = wrapped.end()
    rest = block_text[at:] if at else block_text
    return not rest or rest.isspace()

"""The end of a request's conversation: the user's prompt and the newest tool result."""

import re
from collections.abc import Callable, Iterable
from functools import partial

from attrs import frozen

from .jsontext import JsonObject
from .lazy_document import newest_first

# The tags in which clients put their own context, as a block of text beside the user's.
_CONTEXT_BLOCKS = (
    "system-reminder",  # Claude Code
    "environment_context",  # Codex
)
# The same, for clients that put it into the user's own text too, before or behind the words.
_CONTEXT_AROUND_WORDS = (
    "environment_details",  # Cline, Roo Code, Kilo Code
    "current_datetime",  # GitHub Copilot's CLI
    "system",  # gptme
)
# The tags in which clients wrap the user's words.
_WRAPPERS = (
    "task",  # Cline, Roo Code, Kilo Code
)


def _context(*tags: str) -> re.Pattern[str]:
    return re.compile(rf"\s*<({'|'.join(tags)})>.*?</\1>\s*", re.DOTALL)


_CONTEXT = _context(*_CONTEXT_BLOCKS, *_CONTEXT_AROUND_WORDS)
_CONTEXT_BEFORE_WORDS = _context(*_CONTEXT_AROUND_WORDS)
_WRAPPED = re.compile(rf"\s*<({'|'.join(_WRAPPERS)})>(.*)</\1>\s*", re.DOTALL)
_INSTRUCTION_ROLES = ("system", "developer")


@frozen
class LastTurn:
    """The part of a request that is recorded beside its answer."""

    prompt: str | None = None
    """The user's own words, if the last message is the user's."""
    tool_result_id: str | None = None
    """The id of the call that the newest tool result in the conversation belongs to."""


def read_last_turn(
    messages: Iterable[object],
    texts_of: Callable[[JsonObject], list[str] | None],
    result_id_of: Callable[[JsonObject], object],
) -> tuple[list[str], str | None]:
    """Return the prompt's texts and the newest tool result's call id. The messages are walked once, the newest first.

    `texts_of` gives a message's user texts as `user_texts` does. `result_id_of` gives the call id of the last tool
    result in a message, of any type, and None only if the message has no tool result.
    """
    texts: list[str] | None = None
    result_id: object = None
    for message in messages:
        if not isinstance(message, dict):
            continue
        if texts is None:
            texts = texts_of(message)
        if result_id is None:
            result_id = result_id_of(message)
        if texts is not None and result_id is not None:
            break
    return texts or [], result_id if isinstance(result_id, str) and result_id else None


def last_turn_of_messages(request: JsonObject, result_id_of: Callable[[JsonObject], object]) -> LastTurn:
    """Return the last turn of a request with ``messages``. The prompt is the last text block of the user's message."""
    texts, result_id = read_last_turn(newest_first(request, "messages") or (), _TEXTS_OF_MESSAGE, result_id_of)
    return LastTurn(texts[-1] if texts else None, result_id)


def user_texts(message: JsonObject, text_type: str) -> list[str] | None:
    """Return the user's own words in each text of a message, or None if an earlier message may hold the prompt.

    An earlier message may hold it if this one has only instructions or only context that the client added.
    The list is empty for a message of the model, and for one without text, such as tool results only.
    `text_type` is the type of a text block in the API at hand.
    """
    role = message.get("role")
    if role != "user":
        return None if role in _INSTRUCTION_ROLES else []
    content = message.get("content")
    blocks = [{"type": text_type, "text": content}] if isinstance(content, str) else content
    texts, has_only_text = [], True
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("type") == text_type and isinstance(text := block.get("text"), str):
            if words := own_words(text):
                texts.append(words)
        else:
            has_only_text = False
    return texts if texts or not has_only_text else None


_TEXTS_OF_MESSAGE = partial(user_texts, text_type="text")


def own_words(text: str) -> str:
    """Return the user's own words in a text, without what the client put around them; empty if none are left."""
    stripped = text.strip()
    if not stripped or not (stripped[0] == "<" or stripped[-1] == ">"):
        return text if stripped else ""
    if _end_of_context(_CONTEXT, stripped) == len(stripped):
        return ""
    words = stripped[_end_of_context(_CONTEXT_BEFORE_WORDS, stripped) :]
    for tag in _CONTEXT_AROUND_WORDS:
        if words.endswith(f"</{tag}>") and (begin := words.rfind(f"<{tag}>")) >= 0:
            words = words[:begin].rstrip()
    wrapped = _WRAPPED.fullmatch(words)
    if wrapped is not None and f"</{wrapped[1]}>" not in wrapped[2]:
        words = wrapped[2].strip()
    return words if words != stripped else text


def _end_of_context(context: re.Pattern[str], text: str) -> int:
    """Return the place where the context ends that the client put at the beginning of a text."""
    end = 0
    while found := context.match(text, end):
        end = found.end()
    return end

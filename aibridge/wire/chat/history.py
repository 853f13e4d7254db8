"""What was hidden from a client of Chat Completions, put back between the messages that it sends.

The client knows one message where there were several, with the words of all of them. Ids of calls are the provider's,
and some begin to count anew in each conversation: they are believed only in answer to the same words.
"""

from collections.abc import Iterator, Mapping, Sequence

from .. import json_splice, jsontext
from ..anchors import Context, contexts
from ..history import Retelling, retell
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import user_texts
from ..rounds import Recollection, Turn

_NOT_WORDS = ("role", "name")


def message_anchors(message: JsonObject, context: Context) -> tuple[str, ...]:
    """What a message of the model's is found by: the ids of its calls and its words, in answer to `context`."""
    ids = (nonempty_str(call.get("id")) for call in objects(message.get("tool_calls")))
    calls = (anchor for call_id in ids if call_id for anchor in context.anchors(f"call {call_id}"))
    return (*calls, *context.anchors(_content(message)))


def context_of(messages: Sequence[JsonObject]) -> Context:
    """What an answer that follows these messages answers."""
    return list(contexts(map(_told, messages)))[-1]


def anchors(request: JsonObject) -> list[str]:
    known_by = _known_by(objects(request.get("messages")))
    return list(dict.fromkeys(anchor for message in known_by for anchor in message))


def with_past(body: bytes, request: JsonObject, past: Recollection) -> bytes:
    """The body with what was hidden from the client in its place again."""
    return retell(body, request, "messages", lambda texts, messages: _unfold(texts, messages, past))


def joined_words(said: Mapping[str, str], message: JsonObject) -> dict[str, str]:
    """The words of a message, and of those before it, by the field that they stand in: providers have several."""
    words = {key: value for key, value in message.items() if isinstance(value, str) and key not in _NOT_WORDS}
    return {**said, **{key: said.get(key, "") + value for key, value in words.items()}}


def _unfold(texts: Sequence[bytes], messages: Sequence[JsonObject], past: Recollection) -> Iterator[bytes]:
    retelling = Retelling()
    for message_text, message, known_by in zip(texts, messages, _known_by(messages), strict=True):
        turn = past.find(known_by)
        said = _said(turn) if turn is not None else {}
        if turn is None or not _begins_with(message, said.get("content", "")) or not retelling.begin(turn):
            yield message_text
            continue
        for hidden in turn.rounds:
            yield from json_splice.elements(hidden.assistant)
            yield from json_splice.elements(hidden.results)
        if not turn.pending:  # else all that the client got stands in the last of these rounds
            yield _last_round(message_text, message, said)


def _known_by(messages: Sequence[JsonObject]) -> Iterator[tuple[str, ...]]:
    for message, context in zip(messages, contexts(map(_told, messages)), strict=False):
        yield message_anchors(message, context) if _told(message) is None else ()


def _told(message: JsonObject) -> list[str] | None:
    """What a message tells the model; None where the model says it."""
    role = message.get("role")
    if role == "assistant":
        return None
    if role in ("tool", "function"):
        return [str(message.get("tool_call_id") or message.get("name"))]
    return (user_texts(message, "text") or []) if role == "user" else []


def _content(message: JsonObject) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else "".join(nonempty_str(p.get("text")) or "" for p in objects(content))


def _said(turn: Turn) -> dict[str, str]:
    """The words of all hidden rounds."""
    said: dict[str, str] = {}
    for hidden in turn.rounds:
        for message in json_splice.elements(hidden.assistant):
            said = joined_words(said, jsontext.load(message))
    return said


def _begins_with(message: JsonObject, before: str) -> bool:
    """Whether the client kept the words of the hidden rounds. Some drop all words beside a call."""
    content = _content(message)
    return not content or content.startswith(before)


def _last_round(message_text: bytes, message: JsonObject, said: Mapping[str, str]) -> bytes:
    """The client's message without the words of the rounds before."""
    for key, before in said.items():
        value = _content(message) if key == "content" else message.get(key)
        if before and isinstance(value, str) and value.startswith(before):
            message_text = _with_words(message_text, message, key, value[len(before) :])
    return message_text


def _with_words(message_text: bytes, message: JsonObject, key: str, words: str) -> bytes:
    whole = message[key]
    if not words and key != "content":
        return json_splice.remove_member(message_text, key)
    if not words:
        return json_splice.set_member(message_text, key, b"null" if message.get("tool_calls") else b'""')
    if isinstance(whole, str):
        return json_splice.set_member(message_text, key, jsontext.dump(words))
    last = json_splice.elements(json_splice.member_text(message_text, key) or b"[]")[-1]
    part = json_splice.set_member(last, "text", jsontext.dump(words))
    return json_splice.set_member(message_text, key, json_splice.join([part]))

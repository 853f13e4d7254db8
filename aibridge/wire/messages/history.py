"""What was hidden from a client of the Messages API, put back into the conversation that it sends.

Newer models bind each thinking block to all that stands before it, so what was hidden returns as it was sent, byte for
byte. https://docs.claude.com/en/docs/build-with-claude/extended-thinking
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import json_splice, jsontext
from ..anchors import Context, contexts, id_anchor
from ..history import Retelling, retell
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import user_texts
from ..rounds import HiddenRound, Recollection, Turn, with_raw


def block_anchors(block: Mapping[str, Any], context: Context) -> tuple[str, ...]:
    """What a content block is found by: its signature, its id, or its words in answer to `context`; or nothing."""
    if block.get("type") == "text":
        return context.anchors(nonempty_str(block.get("text")) or "")
    return id_anchor(nonempty_str(block.get("signature")) or nonempty_str(block.get("data")) or block.get("id"))


def context_of(messages: Sequence[JsonObject]) -> Context:
    """What an answer that follows these messages answers."""
    return list(contexts(map(_told, messages)))[-1]


def _told(message: JsonObject) -> list[str] | None:
    """What a message tells the model: the user's words, or the calls whose results came."""
    role = message.get("role")
    if role == "assistant":
        return None
    results = [str(b.get("tool_use_id")) for b in objects(message.get("content")) if b.get("type") == "tool_result"]
    return [*results, *(user_texts(message, "text") or [])] if role == "user" else []


def _said(messages: Sequence[JsonObject]) -> list[list[tuple[str, ...]]]:
    """For each message the anchors of each block that the model said in it."""
    return [
        [block_anchors(block, context) for block in _content(message)] if message.get("role") == "assistant" else []
        for message, context in zip(messages, contexts(map(_told, messages)), strict=False)
    ]


def _content(message: JsonObject) -> list[dict[str, Any]]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else objects(content)


def _previous(request: JsonObject) -> str | None:
    thread = request.get("thread")
    return nonempty_str(thread.get("previous_message_id")) if isinstance(thread, dict) else None


def anchors(request: JsonObject) -> list[str]:
    said = [anchor for blocks in _said(objects(request.get("messages"))) for block in blocks for anchor in block]
    return [*id_anchor(_previous(request)), *said]


def with_past(body: bytes, request: JsonObject, past: Recollection) -> bytes:
    """The body with what was hidden from the client in its place again."""
    previous = _previous(request)
    before = past.find(id_anchor(previous))
    body = retell(body, request, "messages", Unfolding(past, before).messages)
    if before is not None and before.provider_id not in (None, previous):
        thread = json_splice.member_text(body, "thread") or b"{}"
        renamed = json_splice.set_member(thread, "previous_message_id", jsontext.dump(before.provider_id))
        body = json_splice.set_member(body, "thread", renamed)
    return body


class Unfolding:
    """Turns the client's view of a conversation back into the provider's, message by message."""

    def __init__(self, past: Recollection, before: Turn | None) -> None:
        self._past = past
        self._waiting = before.rounds[-1].results if before is not None and before.pending else None
        self._retelling = Retelling()

    def messages(self, texts: Sequence[bytes], messages: Sequence[JsonObject]) -> Iterator[bytes]:
        for message_text, message, said in zip(texts, messages, _said(messages), strict=True):
            turn = self._past.find(anchor for block in said for anchor in block)
            if turn is not None and turn.rounds:
                yield from self._unfold(message_text, message, said, turn)
            elif self._waiting is not None and message.get("role") == "user":
                yield _with_results(message_text, message, self._waiting)
                self._waiting = None
            else:
                yield message_text

    def _unfold(
        self, message_text: bytes, message: JsonObject, said: Sequence[tuple[str, ...]], turn: Turn
    ) -> Iterator[bytes]:
        """The model's message as the rounds that it was made of; the last of them is the client's own bytes."""
        begins = self._retelling.begin(turn)
        covered = [position for position, block in enumerate(said) if self._retelling.covers(turn, block)]
        last_round = covered[-1] + 1 if covered else 0
        if begins:
            yield from self._rounds(turn, _breakpoints(_content(message)[:last_round], said))
        if last_round == 0:
            yield message_text
        elif last_round < len(said):
            rest = json_splice.elements(json_splice.member_text(message_text, "content") or b"[]")[last_round:]
            yield json_splice.set_member(message_text, "content", json_splice.join(rest))

    def _rounds(self, turn: Turn, marks: Mapping[str, Any]) -> Iterator[bytes]:
        for position, hidden in enumerate(turn.rounds):
            yield with_raw({"role": "assistant"}, "content", _with_breakpoints(hidden, marks))
            if turn.pending and position == len(turn.rounds) - 1:
                self._waiting = hidden.results
            else:
                yield with_raw({"role": "user"}, "content", hidden.results)


def _breakpoints(content: Sequence[JsonObject], said: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """The cache breakpoints that the client set on blocks which are about to be replaced, by anchor."""
    marked = [
        (block["cache_control"], known_by)
        for block, known_by in zip(content, said, strict=False)
        if block.get("cache_control")
    ]
    return {anchor: mark for mark, known_by in marked for anchor in known_by}


def _with_breakpoints(hidden: HiddenRound, marks: Mapping[str, Any]) -> bytes:
    if not marks:
        return hidden.assistant
    blocks = zip(json_splice.elements(hidden.assistant), hidden.visible, strict=True)
    return json_splice.join(
        _marked(block, next((marks[a] for a in known_by if a in marks), None)) for block, known_by in blocks
    )


def _marked(block: bytes, mark: Any) -> bytes:
    return block if mark is None else json_splice.set_member(block, "cache_control", jsontext.dump(mark))


def _with_results(message_text: bytes, message: JsonObject, results: bytes) -> bytes:
    """The user's message with the gateway's results before the client's."""
    content = message.get("content")
    if isinstance(content, str):
        own = [jsontext.dump({"type": "text", "text": content})]
    else:
        own = json_splice.elements(json_splice.member_text(message_text, "content") or b"[]")
    return json_splice.set_member(message_text, "content", json_splice.join([*json_splice.elements(results), *own]))

"""What was hidden from a client of the Messages API, put back into the conversation that it sends.

Newer models bind each thinking block to all that stands before it, so what was hidden returns as it was sent, byte for
byte. https://docs.claude.com/en/docs/build-with-claude/extended-thinking
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from . import json_splice
from .formats import Json, dicts, text
from .prompts import last_user_texts
from .rounds import HiddenRound, Recollection, Turn, id_anchor, text_anchor, with_raw


def block_anchor(block: Mapping[str, Any], context: str) -> str:
    """What a content block is found by: its signature, its id, or its words in answer to `context`; or nothing."""
    if block.get("type") == "text":
        words = text(block.get("text"))
        return text_anchor(context, words) if words else ""
    own = text(block.get("signature")) or text(block.get("data")) or text(block.get("id"))
    return id_anchor(own) if own else ""


def context_of(messages: Sequence[Json]) -> str:
    """What an answer that follows these messages answers: the user's words, or the calls whose results came."""
    last = next((message for message in reversed(messages) if message.get("role") == "user"), {})
    results = [str(b.get("tool_use_id")) for b in dicts(last.get("content")) if b.get("type") == "tool_result"]
    return "\n".join([*sorted(results), *last_user_texts([last], "text")])


def _said(messages: Sequence[Json]) -> Iterator[tuple[int, list[str]]]:
    """Each of the model's messages, by position, with the anchor of each of its blocks."""
    for position, message in enumerate(messages):
        if message.get("role") == "assistant":
            context = context_of(messages[:position])
            yield position, [block_anchor(block, context) for block in _content(message)]


def _content(message: Json) -> list[dict[str, Any]]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else dicts(content)


def _previous(request: Json) -> str | None:
    thread = request.get("thread")
    return text(thread.get("previous_message_id")) if isinstance(thread, dict) else None


def anchors(request: Json) -> list[str]:
    previous = _previous(request)
    said = [anchor for _, blocks in _said(dicts(request.get("messages"))) for anchor in blocks if anchor]
    return [*([id_anchor(previous)] if previous else []), *said]


def with_past(body: bytes, request: Json, past: Recollection) -> bytes:
    """The body with what was hidden from the client in its place again."""
    messages = dicts(request.get("messages"))
    texts = json_splice.elements(json_splice.member_text(body, "messages") or b"[]")
    previous = _previous(request)
    before = past.find([id_anchor(previous)]) if previous else None
    unfolding = Unfolding(past, before)
    restored = list(unfolding.messages(texts, messages)) if len(texts) == len(messages) else texts
    if restored != texts:
        body = json_splice.set_member(body, "messages", json_splice.join(restored))
    if before is not None and before.provider_id not in (None, previous):
        thread = json_splice.member_text(body, "thread") or b"{}"
        renamed = json_splice.set_member(thread, "previous_message_id", orjson.dumps(before.provider_id))
        body = json_splice.set_member(body, "thread", renamed)
    return body


class Unfolding:
    """Turns the client's view of a conversation back into the provider's, message by message."""

    def __init__(self, past: Recollection, before: Turn | None) -> None:
        self._past = past
        self._waiting = before.rounds[-1].results if before is not None and before.pending else None
        self._progress: dict[Turn, int] = {}
        """How many of a turn's hidden anchors have been met: a client may send one answer as several messages."""

    def messages(self, texts: Sequence[bytes], messages: Sequence[Json]) -> Iterator[bytes]:
        said = dict(_said(messages))
        for position, (message_text, message) in enumerate(zip(texts, messages, strict=True)):
            turn = self._past.find(said.get(position, ()))
            if turn is not None and turn.rounds:
                yield from self._said(message_text, message, said[position], turn)
            elif self._waiting is not None and message.get("role") == "user":
                yield _with_results(message_text, message, self._waiting)
                self._waiting = None
            else:
                yield message_text

    def _said(self, message_text: bytes, message: Json, anchors: Sequence[str], turn: Turn) -> Iterator[bytes]:
        """The model's message as the rounds that it was made of; the last of them is the client's own bytes."""
        first = turn not in self._progress
        last_round = self._meet(anchors, turn)
        if first:
            marks = _breakpoints(_content(message)[:last_round], anchors)
            yield from self._rounds(turn, marks)
        if last_round == 0:
            yield message_text
        elif last_round < len(anchors):
            rest = json_splice.elements(json_splice.member_text(message_text, "content") or b"[]")[last_round:]
            yield json_splice.set_member(message_text, "content", json_splice.join(rest))

    def _rounds(self, turn: Turn, marks: Mapping[str, Any]) -> Iterator[bytes]:
        for position, hidden in enumerate(turn.rounds):
            yield with_raw({"role": "assistant"}, "content", _with_breakpoints(hidden, marks))
            if turn.pending and position == len(turn.rounds) - 1:
                self._waiting = hidden.results
            else:
                yield with_raw({"role": "user"}, "content", hidden.results)

    def _meet(self, anchors: Sequence[str], turn: Turn) -> int:
        """How many of the message's first blocks belong to hidden rounds. They come in order; some may be missing."""
        expected = [anchor for hidden in turn.rounds for anchor in hidden.visible if anchor]
        met = self._progress.get(turn, 0)
        count = 0
        for position, anchor in enumerate(anchors):
            if anchor and anchor in expected[met:]:
                met = expected.index(anchor, met) + 1
                count = position + 1
        self._progress[turn] = met
        return count


def _breakpoints(content: Sequence[Json], anchors: Sequence[str]) -> dict[str, Any]:
    """The cache breakpoints that the client set on blocks which are about to be replaced, by anchor."""
    marked = zip(content, anchors, strict=False)
    return {anchor: block["cache_control"] for block, anchor in marked if anchor and block.get("cache_control")}


def _with_breakpoints(hidden: HiddenRound, marks: Mapping[str, Any]) -> bytes:
    if marks.keys().isdisjoint(hidden.visible):
        return hidden.assistant
    blocks = json_splice.elements(hidden.assistant)
    return json_splice.join(
        json_splice.set_member(block, "cache_control", orjson.dumps(marks[anchor])) if anchor in marks else block
        for block, anchor in zip(blocks, hidden.visible, strict=True)
    )


def _with_results(message_text: bytes, message: Json, results: bytes) -> bytes:
    """The user's message with the gateway's results before the client's."""
    content = message.get("content")
    if isinstance(content, str):
        own = [orjson.dumps({"type": "text", "text": content})]
    else:
        own = json_splice.elements(json_splice.member_text(message_text, "content") or b"[]")
    return json_splice.set_member(message_text, "content", json_splice.join([*json_splice.elements(results), *own]))

"""Hidden rounds in the messages of a Messages request.

Newer models bind each thinking block to everything before it, so hidden rounds return byte for byte as they were.
https://docs.claude.com/en/docs/build-with-claude/extended-thinking
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from .. import json_splice, jsontext
from ..history import (
    Context,
    HiddenRound,
    KnownTurns,
    RestoredTurns,
    Turn,
    contexts,
    id_anchor,
    last_context,
    rewrite_list,
)
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import user_texts

_IDS = ("signature", "data", "id", "encrypted_content")
_NOT_SENT_BACK = ("cache_control", "trigger")
"""Members that a client may add or leave out."""


def block_anchors(block: JsonObject, context: Context) -> tuple[str, ...]:
    """Return the anchors of a content block: of its text in this context, or of its signature or id.

    A server tool's result has that of its call's id, an unsigned compaction that of its summary, and a ``fallback``
    those of its members.
    """
    kind = block.get("type")
    if kind == "text":
        return context.anchors(nonempty_str(block.get("text")) or "")
    own_id = next((value for key in _IDS if (value := nonempty_str(block.get(key))) is not None), None)
    if own_id is not None:
        return id_anchor(own_id)
    described = nonempty_str(block.get("tool_use_id" if kind != "compaction" else "content"))
    if described is not None:  # a summary stands without what came before it
        return id_anchor(f"{kind} {described}")
    if kind != "fallback":
        return ()
    members = {key: value for key, value in block.items() if key not in _NOT_SENT_BACK}
    return context.anchors(json.dumps(members, sort_keys=True))


def request_anchors(request: JsonObject) -> list[str]:
    """Return the anchors of the previous message of a thread, and of all blocks of the model in a request."""
    messages = _block_anchors_by_message(objects(request.get("messages")))
    sent = [anchor for blocks in messages for anchors in blocks for anchor in anchors]
    return [*id_anchor(_previous_message_id(request)), *sent]


def answer_context(request: JsonObject) -> Context:
    """Return the context of the answer to a request."""
    return last_context(map(_model_input, objects(request.get("messages"))))


def restore_history(body: bytes, request: JsonObject, past: KnownTurns) -> bytes:
    """Return a request's body with the hidden rounds back in their places, and with the provider's ids."""
    previous_id = _previous_message_id(request)
    previous = past.find(id_anchor(previous_id))
    restorer = _Restorer(past, previous)
    body = rewrite_list(body, request, "messages", restorer.restore)
    if previous is not None and previous.provider_id not in (None, previous_id):
        thread = json_splice.member_text(body, "thread") or b"{}"
        renamed = json_splice.set_member(thread, "previous_message_id", jsontext.dump(previous.provider_id))
        body = json_splice.set_member(body, "thread", renamed)
    return body


class _Restorer:
    """Turns the client's view of a conversation back into the provider's, message by message."""

    def __init__(self, past: KnownTurns, previous: Turn | None) -> None:
        self._past = past
        self._restored = RestoredTurns()
        self._pending_results = previous.rounds[-1].results if previous is not None and previous.pending else None
        """Results of a round that also called the client's tools; the next user message takes them."""

    def restore(self, texts: Sequence[bytes], messages: Sequence[JsonObject]) -> Iterator[bytes]:
        """Yield the JSON texts of the messages as the provider must see them."""
        anchors_by_message = _block_anchors_by_message(messages)
        for message_text, message, blocks in zip(texts, messages, anchors_by_message, strict=True):
            turn = self._past.find(anchor for anchors in blocks for anchor in anchors)
            if turn is not None and turn.rounds:
                yield from self._restore_rounds(message_text, message, blocks, turn)
            elif self._pending_results is not None and _takes_results(message):
                yield _with_results(message_text, message, self._pending_results)
                self._pending_results = None
            else:
                yield message_text

    def _restore_rounds(
        self, message_text: bytes, message: JsonObject, blocks: Sequence[tuple[str, ...]], turn: Turn
    ) -> Iterator[bytes]:
        """Yield a message of the model as the rounds that it was made of. The last round is the client's own bytes."""
        begins = self._restored.begin(turn)
        replaced = [position for position, anchors in enumerate(blocks) if self._restored.replaces(turn, anchors)]
        last_round = replaced[-1] + 1 if replaced else 0
        if begins:
            marks = _breakpoints(_content(message)[:last_round], blocks)
            for hidden in turn.rounds:
                assistant = _with_breakpoints(hidden, marks)
                yield json_splice.append_member(b'{"role":"assistant"}', "content", assistant)
                if turn.pending and hidden is turn.rounds[-1]:
                    self._pending_results = hidden.results
                else:
                    yield json_splice.append_member(b'{"role":"user"}', "content", hidden.results)
        if last_round == 0:
            yield message_text
        elif last_round < len(blocks):
            rest = json_splice.elements(json_splice.member_text(message_text, "content") or b"[]")[last_round:]
            yield json_splice.set_member(message_text, "content", json_splice.join(rest))


def _block_anchors_by_message(messages: Sequence[JsonObject]) -> list[list[tuple[str, ...]]]:
    """Return for each message the anchors of each of its blocks; none for a message that is not the model's."""
    return [
        [block_anchors(block, context) for block in _content(message)] if message.get("role") == "assistant" else []
        for message, context in zip(messages, contexts(map(_model_input, messages)), strict=False)
    ]


def _model_input(message: JsonObject) -> list[str] | None:
    """Return the texts and the call ids of results that a message gives to the model; None if the model wrote it."""
    role = message.get("role")
    if role != "user":
        return None if role == "assistant" else []
    blocks = objects(message.get("content"))
    results = [str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"]
    return [*results, *(user_texts(message, "text") or [])]


def _content(message: JsonObject) -> list[dict[str, object]]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else objects(content)


def _previous_message_id(request: JsonObject) -> str | None:
    """Return the id of the message that a thread at the provider continues, or None."""
    thread = request.get("thread")
    return nonempty_str(thread.get("previous_message_id")) if isinstance(thread, dict) else None


def _breakpoints(content: Sequence[JsonObject], blocks: Sequence[tuple[str, ...]]) -> dict[str, object]:
    """Return the cache breakpoints that the client set on blocks which are replaced, by the blocks' anchors."""
    marked = [
        (block["cache_control"], anchors)
        for block, anchors in zip(content, blocks, strict=False)
        if block.get("cache_control")
    ]
    return {anchor: mark for mark, anchors in marked for anchor in anchors}


def _with_breakpoints(hidden: HiddenRound, marks: Mapping[str, object]) -> bytes:
    """Return the model's blocks of a hidden round with the client's cache breakpoints on them."""
    if not marks:
        return hidden.assistant
    blocks = []
    for block, anchors in zip(json_splice.elements(hidden.assistant), hidden.visible, strict=True):
        mark = next((marks[anchor] for anchor in anchors if anchor in marks), None)
        blocks.append(block if mark is None else json_splice.set_member(block, "cache_control", jsontext.dump(mark)))
    return json_splice.join(blocks)


def _takes_results(message: JsonObject) -> bool:
    """Return True for a user's message that is as the API says; others are the provider's to refuse."""
    return message.get("role") == "user" and isinstance(message.get("content"), str | list)


def _with_results(message_text: bytes, message: JsonObject, results: bytes) -> bytes:
    """Return the user's message with the gateway's results before the client's."""
    content = message.get("content")
    if isinstance(content, str):
        own = [jsontext.dump({"type": "text", "text": content})]
    else:
        own = json_splice.elements(json_splice.member_text(message_text, "content") or b"[]")
    return json_splice.set_member(message_text, "content", json_splice.join([*json_splice.elements(results), *own]))

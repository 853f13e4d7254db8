"""What was hidden from a client of the Responses API, put back among the items that it sends.

Clients send items back as they came, or without their types and ids, or under ids of their own making, or not at all:
each item is found by whatever is left of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from .. import json_splice, jsontext
from ..anchors import Context, contexts, id_anchor
from ..history import Retelling, retell
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import user_texts
from ..rounds import Recollection

_TOLD_BY_CLIENTS = ("additional_tools", "compaction_trigger", "mcp_approval_response")


def item_anchors(item: JsonObject, context: Context) -> tuple[str, ...]:
    """All that an item of the model's may be found by."""
    ids = (item.get("encrypted_content"), item.get("call_id"), item.get("id"))
    return (*(anchor for own in ids for anchor in id_anchor(own)), *context.anchors(_words(item)))


def input_items(request: JsonObject) -> list[dict[str, Any]]:
    """A request's input; text alone is a message of the user's."""
    whole = request.get("input")
    return [{"role": "user", "content": whole}] if isinstance(whole, str) else objects(whole)


def context_of(items: Sequence[JsonObject]) -> Context:
    """What an answer that follows these items answers."""
    return list(contexts(map(_told, items)))[-1]


def conversation_of(request: JsonObject) -> str | None:
    """The id of the conversation that the provider keeps, where the request belongs to one."""
    conversation = request.get("conversation")
    return nonempty_str(conversation.get("id") if isinstance(conversation, dict) else conversation)


def anchors(request: JsonObject) -> list[str]:
    stored = [*id_anchor(conversation_of(request)), *id_anchor(request.get("previous_response_id"))]
    sent = [anchor for item in _known_by(input_items(request)) for anchor in item]
    return list(dict.fromkeys([*stored, *sent]))


def with_past(body: bytes, request: JsonObject, past: Recollection) -> bytes:
    """The body with what was hidden from the client in its place again."""
    previous = request.get("previous_response_id")
    if (provider_id := past.provider_id(previous)) not in (None, previous):
        body = json_splice.set_member(body, "previous_response_id", jsontext.dump(provider_id))
    return retell(body, request, "input", lambda texts, items: _unfold(texts, items, past))


def _unfold(texts: Sequence[bytes], items: Sequence[JsonObject], past: Recollection) -> Iterator[bytes]:
    retelling = Retelling()
    for item_text, item, known_by in zip(texts, items, _known_by(items), strict=True):
        turn = past.find(known_by)
        if turn is None or not turn.rounds:
            yield item_text
        elif _is_output(item):  # its call is in the history already, or the provider keeps it
            if turn.pending and retelling.begin(turn):
                yield from json_splice.elements(turn.rounds[-1].results)
            yield item_text
        else:
            if retelling.begin(turn):
                for hidden in turn.rounds:
                    yield from json_splice.elements(hidden.assistant)
                    yield from json_splice.elements(hidden.results)
            if not retelling.covers(turn, known_by):
                yield item_text


def _known_by(items: Sequence[JsonObject]) -> Iterator[tuple[str, ...]]:
    """What each item is found by: those of the model's, and results by the call that they answer."""
    for item, context in zip(items, contexts(map(_told, items)), strict=False):
        if _told(item) is None:
            yield item_anchors(item, context)
        else:
            yield id_anchor(item.get("call_id")) if _is_output(item) else ()


def _told(item: JsonObject) -> list[str] | None:
    """What an item tells the model; None where the model says it."""
    if _is_output(item):
        return [str(item.get("call_id"))]
    kind = item.get("type") or "message"
    if kind != "message":
        return [] if kind in _TOLD_BY_CLIENTS else None
    if item.get("role") == "assistant":
        return None
    return (user_texts(item, "input_text") or []) if item.get("role") == "user" else []


def _is_output(item: JsonObject) -> bool:
    return str(item.get("type")).endswith("_output")


def _words(item: JsonObject) -> str:
    """The words of a message or of a reasoning's summary."""
    whole = item.get("summary") if item.get("type") == "reasoning" else item.get("content")
    return whole if isinstance(whole, str) else "".join(nonempty_str(part.get("text")) or "" for part in objects(whole))

"""Hidden rounds in the input of a Responses request.

Clients send items back unchanged, or without their types and ids, or under ids of their own, or not at all. So an item
has an anchor for everything that may be left of it.
"""

from collections.abc import Iterator, Sequence

from .. import json_splice, jsontext
from ..history import (
    Context,
    Inputs,
    KnownTurns,
    RestoredTurns,
    Turn,
    contexts,
    id_anchor,
    inputs_after,
    rewrite_list,
)
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import user_texts
from .reader import INSTRUCTIONS

_CLIENT_ITEMS = (*INSTRUCTIONS, "compaction_trigger", "mcp_approval_response")
"""Types of items that only clients write, beside messages and outputs."""

_REFERENCES = {"message": ("id", "status"), "function_call": ("id",), "custom_tool_call": ("id",)}
"""Members that an item of the model may lack in a request. Other types of items need their ids."""


def item_anchors(item: JsonObject, context: Context) -> tuple[str, ...]:
    """Return all anchors of an item that the model wrote in this context: of its ids and of its text.

    A call's id alone does not tell two turns apart: some providers number the calls of each answer anew.
    """
    if (call_id := nonempty_str(item.get("call_id"))) is not None:
        return (*id_anchor(call_id), *id_anchor(item.get("id")), *context.anchors(f"call {call_id}"))
    ids = (item.get("encrypted_content"), item.get("id"))
    whole = item.get("summary") if item.get("type") == "reasoning" else item.get("content")
    text = whole if isinstance(whole, str) else "".join(nonempty_str(part.get("text")) or "" for part in objects(whole))
    return (*(anchor for value in ids for anchor in id_anchor(value)), *context.anchors(text))


def request_anchors(request: JsonObject) -> list[str]:
    """Return the anchors of a request's conversation, its previous response and its items, each once."""
    stored = [*id_anchor(conversation_id(request)), *id_anchor(request.get("previous_response_id"))]
    sent = [anchor for anchors in _anchors_by_item(_input_items(request)) for anchor in anchors]
    return list(dict.fromkeys([*stored, *sent]))


def answer_inputs(request: JsonObject, begun: Inputs) -> Inputs:
    """Return what the model is given before its answer to a request, which goes on from these inputs."""
    return inputs_after(map(_model_input, _input_items(request)), begun)


def conversation_id(request: JsonObject) -> str | None:
    """Return the id of the conversation that the provider stores for this request, or None."""
    conversation = request.get("conversation")
    return nonempty_str(conversation.get("id") if isinstance(conversation, dict) else conversation)


def restore_history(body: bytes, request: JsonObject, past: KnownTurns) -> bytes:
    """Return a request's body with the hidden rounds back in their places, and with the provider's ids."""
    previous = request.get("previous_response_id")
    if (provider_id := past.provider_id(previous)) not in (None, previous):
        body = json_splice.set_member(body, "previous_response_id", jsontext.dump(provider_id))
    latest = past.find(id_anchor(previous))
    return rewrite_list(body, request, "input", lambda texts, items: _restore(texts, items, past, latest))


def _restore(
    texts: Sequence[bytes], items: Sequence[JsonObject], past: KnownTurns, latest: Turn | None
) -> Iterator[bytes]:
    """Yield the JSON texts of the items as the provider must see them. `latest` is the previous response's turn."""
    restored = RestoredTurns()
    turn_of_call: dict[str | None, Turn | None] = {}
    for item_text, item, anchors in zip(texts, items, _anchors_by_item(items), strict=True):
        call_id = nonempty_str(item.get("call_id"))
        if not _is_output(item):
            turn = turn_of_call[call_id] = past.find(anchors)
        elif call_id is not None and call_id in turn_of_call:
            turn = turn_of_call[call_id]
        else:
            turn = latest if latest is not None and set(anchors) & set(latest.anchors) else past.find(anchors)
        if turn is None or not turn.rounds:
            yield item_text
        elif _is_output(item):  # the call is already in the history, or the provider stores it
            if turn.pending and restored.begin(turn):
                yield from json_splice.elements(turn.rounds[-1].results)
            yield item_text
        else:
            if restored.begin(turn):
                for hidden in turn.rounds:
                    yield from hidden.parts
            if restored.replaces(turn, anchors) or (turn.unstored and is_lost(item)):
                continue
            yield without_references(item_text, item) if turn.unstored else item_text


def is_lost(item: JsonObject) -> bool:
    """Return True for reasoning that can't be sent back to a provider that has not stored it."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def without_references(raw: bytes, item: JsonObject) -> bytes:
    """Return an item without its id, by which OpenAI finds that its reasoning is missing.

    "Item 'fc_…' of type 'function_call' was provided without its required 'reasoning' item." An item without an id
    needs none. A message without an id has no status either.
    https://platform.openai.com/docs/guides/reasoning#keeping-reasoning-items-in-context
    """
    for member in _REFERENCES.get(str(item.get("type") or "message"), ()):
        raw = json_splice.remove_member(raw, member)
    return raw


def _input_items(request: JsonObject) -> list[dict[str, object]]:
    """Return a request's input items. A string is a message of the user."""
    whole = request.get("input")
    return [{"role": "user", "content": whole}] if isinstance(whole, str) else objects(whole)


def _anchors_by_item(items: Sequence[JsonObject]) -> Iterator[tuple[str, ...]]:
    """Yield each item's anchors: an item of the model has its own, an output that of its call, others have none."""
    inputs = [_model_input(item) for item in items]
    for item, given, context in zip(items, inputs, contexts(inputs), strict=False):
        if given is None:
            yield item_anchors(item, context)
        else:
            yield id_anchor(item.get("call_id")) if _is_output(item) else ()


def _model_input(item: JsonObject) -> list[str] | None:
    """Return the texts, or the call id of the output, that an item gives to the model; None if the model wrote it."""
    if _is_output(item):
        return [str(item.get("call_id"))]
    kind = item.get("type") or "message"
    if kind != "message":
        return [] if kind in _CLIENT_ITEMS else None
    if item.get("role") == "assistant":
        return None
    return (user_texts(item, "input_text") or []) if item.get("role") == "user" else []


def _is_output(item: JsonObject) -> bool:
    return str(item.get("type")).endswith("_output")

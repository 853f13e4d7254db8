"""Hidden rounds in the messages of a Chat Completions request.

The client got one message where the model wrote several, with the text of all of them. Call ids are no more than words
here: some providers number the calls of each conversation anew.
"""

from collections.abc import Iterator, Mapping, Sequence

from .. import json_splice, jsontext
from ..history import Context, KnownTurns, RestoredTurns, Turn, contexts, last_context, rewrite_list
from ..jsontext import JsonObject, nonempty_str, objects
from ..prompts import user_texts

_NO_TEXT_FIELDS = ("role", "name")


def message_anchors(message: JsonObject, context: Context) -> tuple[str, ...]:
    """Return the anchors of a message that the model wrote in this context: of its calls' ids and of its text."""
    ids = [call_id for call in objects(message.get("tool_calls")) if (call_id := nonempty_str(call.get("id")))]
    call_anchors = [anchor for call_id in ids for anchor in context.anchors(f"call {call_id}")]
    return (*call_anchors, *context.anchors(_content(message)))


def request_anchors(request: JsonObject) -> list[str]:
    """Return the anchors of all messages of the model in a request, each once."""
    by_message = _anchors_by_message(objects(request.get("messages")))
    return list(dict.fromkeys(anchor for anchors in by_message for anchor in anchors))


def answer_context(request: JsonObject) -> Context:
    """Return the context of the answer to a request."""
    return last_context(map(_model_input, objects(request.get("messages"))))


def joined_texts(before: Mapping[str, str], message: JsonObject) -> dict[str, str]:
    """Return the texts of a message after the texts `before` it, by field: providers put thoughts into further ones."""
    texts = {key: value for key, value in message.items() if isinstance(value, str) and key not in _NO_TEXT_FIELDS}
    return {**before, **{key: before.get(key, "") + value for key, value in texts.items()}}


def restore_history(body: bytes, request: JsonObject, past: KnownTurns) -> bytes:
    """Return a request's body with the hidden rounds back in their places."""
    return rewrite_list(body, request, "messages", lambda texts, messages: _restore(texts, messages, past))


def _restore(texts: Sequence[bytes], messages: Sequence[JsonObject], past: KnownTurns) -> Iterator[bytes]:
    """Yield the JSON texts of the messages as the provider must see them."""
    restored = RestoredTurns()
    for message_text, message, anchors in zip(texts, messages, _anchors_by_message(messages), strict=True):
        turn = past.find(anchors)
        hidden_texts = _hidden_texts(turn) if turn is not None else {}
        content = _content(message)
        # Some clients drop the text beside a call. Other text than the hidden rounds' is another answer.
        is_same = not content or content.startswith(hidden_texts.get("content", ""))
        if turn is None or not is_same or not restored.begin(turn):
            yield message_text
            continue
        for hidden in turn.rounds:
            yield from hidden.parts
        if not turn.pending:  # else the last of these rounds is all that the client got
            yield _without_texts(message_text, message, hidden_texts)


def _anchors_by_message(messages: Sequence[JsonObject]) -> Iterator[tuple[str, ...]]:
    """Yield each message's anchors; none for a message that is not the model's."""
    inputs = [_model_input(message) for message in messages]
    for message, given, context in zip(messages, inputs, contexts(inputs), strict=False):
        yield message_anchors(message, context) if given is None else ()


def _model_input(message: JsonObject) -> list[str] | None:
    """Return the texts that a message gives to the model; None if the model wrote it."""
    role = message.get("role")
    if role == "assistant":
        return None
    if role in ("tool", "function"):
        return [str(message.get("tool_call_id") or message.get("name"))]
    return (user_texts(message, "text") or []) if role == "user" else []


def _content(message: JsonObject) -> str:
    """Return a message's text, whether it is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(nonempty_str(part.get("text")) or "" for part in objects(content))


def _hidden_texts(turn: Turn) -> dict[str, str]:
    """Return the texts of all hidden rounds of a turn, joined by field."""
    texts: dict[str, str] = {}
    for hidden in turn.rounds:
        for message in json_splice.elements(hidden.assistant):
            texts = joined_texts(texts, jsontext.load_object(message) or {})
    return texts


def _without_texts(message_text: bytes, message: JsonObject, texts: Mapping[str, str]) -> bytes:
    """Return the client's message without the texts of the rounds before, which its own begin with."""
    for key, before in texts.items():
        value = _content(message) if key == "content" else message.get(key)
        if before and isinstance(value, str) and value.startswith(before):
            message_text = _with_text(message_text, message, key, value[len(before) :])
    return message_text


def _with_text(message_text: bytes, message: JsonObject, key: str, text: str) -> bytes:
    """Return a message with one of its texts replaced, in the form that the client used."""
    if not text and key != "content":
        return json_splice.remove_member(message_text, key)
    if not text:
        return json_splice.set_member(message_text, key, b"null" if message.get("tool_calls") else b'""')
    if isinstance(message[key], str):
        return json_splice.set_member(message_text, key, jsontext.dump(text))
    last = json_splice.elements(json_splice.member_text(message_text, key) or b"[]")[-1]
    part = json_splice.set_member(last, "text", jsontext.dump(text))
    return json_splice.set_member(message_text, key, json_splice.join([part]))

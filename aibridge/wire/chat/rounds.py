"""Rounds of Chat Completions: calls are a message's ``tool_calls``, each result is a message of the role ``tool``.

https://platform.openai.com/docs/guides/function-calling?api-mode=chat
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from attrs import Factory, define

from .. import json_splice, jsontext
from ..formats import DROP, DROP_LAST, LAST, PASS, Verdict
from ..history import Context, HiddenRound, KnownTurns
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
from ..rounds import REWRITE_ERRORS, ToolDialogue, ToolSupport, client_tools, extend_list, needs_no_tools
from ..tool_calls import InjectedCall, InjectedTool, ToolResult
from .calls import GrowingCall
from .history import answer_context, joined_texts, message_anchors, request_anchors, restore_history
from .reader import ChatReader, hides_usage

_CUT_SHORT = ("length", "content_filter")
_NOT_SENT_BACK = ("role", "tool_calls", "function_call", "annotations", "audio")


@define
class _GrowingMessage:
    """The model's message as it is sent back, put together from its deltas.

    All fields that the provider gives it are kept: many providers put the model's thoughts into a field of their own.
    """

    calls: list[GrowingCall] = Factory(list)
    _texts: dict[str, list[str]] = Factory(dict)
    _others: dict[str, object] = Factory(dict)

    def add(self, delta: JsonObject) -> None:
        """Add a delta, or a whole message. Its calls are added by the reader."""
        for key, value in delta.items():
            if key in _NOT_SENT_BACK or value is None:
                continue
            if isinstance(value, str):
                self._texts.setdefault(key, []).append(value)
            elif isinstance(value, list) and isinstance(before := self._others.get(key), list):
                self._others[key] = [*before, *value]
            else:
                self._others[key] = value

    def texts(self) -> dict[str, str]:
        """Return the message's texts by field, without empty ones."""
        return {key: joined for key, pieces in self._texts.items() if (joined := "".join(pieces))}

    def to_json(self) -> dict[str, object]:
        """Return the whole message as it is sent back to the provider."""
        calls = {"tool_calls": [call.to_json() for call in self.calls]} if self.calls else {}
        return {"role": "assistant", "content": None, **self.texts(), **self._others, **calls}


@define
class _Merged:
    """The client's view of the answer in earlier rounds."""

    texts: dict[str, str] = Factory(dict)
    """The message's texts, by field."""
    created: object = None


class _ClientIndexes:
    """The indexes of calls at the client: without gaps for the hidden ones."""

    def __init__(self) -> None:
        self.hidden: set[GrowingCall] = set()
        self._hidden_indexes: list[int] = []
        """The provider's indexes of the hidden calls. Some providers give all calls the same index."""
        self._client_indexes: dict[GrowingCall, int] = {}

    def hide(self, call: GrowingCall, index: int | None) -> None:
        """Hide a call whose index at the provider is `index`."""
        if call not in self.hidden:
            self.hidden.add(call)
            if index is not None:
                self._hidden_indexes.append(index)

    def client_index(self, call: GrowingCall, index: int) -> int:
        """Return the client's index for a call. It never changes, and is the provider's until a call was hidden."""
        known = self._client_indexes.get(call)
        if known is not None:
            return known
        if self.hidden:
            index -= sum(hidden < index for hidden in self._hidden_indexes)
            while index in self._client_indexes.values():
                index += 1
        self._client_indexes[call] = index
        return index


def dialogue(body: bytes, request: JsonObject, tools: Sequence[InjectedTool], past: KnownTurns) -> ToolDialogue:
    """Return the dialogue of a request."""
    context, hide_usage, merged = answer_context(request), hides_usage(request), _Merged()
    return ToolDialogue(
        body=restore_history(_with_tools(body, tools), request, past),
        tools={tool.name: tool for tool in tools},
        client_names=client_tools(request).names,
        keep_alive=lambda: b": keep-alive\n",  # a blank line would end an event that OpenAI's SDK can't read
        begin_round=lambda dialogue: ChatRound(dialogue, merged, context, hide_usage),
        extend_body=lambda body, hidden, response_id: extend_list(body, "messages", hidden.parts),
    )


class ChatRound:
    """Reads the answer of one round, and decides which parts of it the client gets."""

    next_number = 0  # the events of this API have no numbers

    def __init__(self, dialogue: ToolDialogue, merged: _Merged, context: Context, hide_usage: bool) -> None:
        self._reader = ChatReader(hide_usage, self._note_piece)
        self.answer = self._reader.answer
        self._dialogue = dialogue
        self._merged = merged
        self._context = context
        self._texts_before = merged.texts
        self._indexes = _ClientIndexes()
        self._message = _GrowingMessage()
        self._finish_reason: str | None = None
        self._chunk_calls: list[GrowingCall] = []
        """The calls of the pieces in the current chunk, in their order."""

    def skips(self, frame: bytes) -> bool:
        """Return False: the next round's request may need everything."""
        return False

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        """Return the round as the provider must see it again; see `RoundReader`."""
        self._merged.texts = joined_texts(self._texts_before, self._message.texts())
        message = jsontext.dump(self._message.to_json())
        answers = [
            jsontext.dump({"role": "tool", "tool_call_id": result.call.id, "content": result.text})
            for result in results
        ]
        return HiddenRound(json_splice.join([message]), json_splice.join(answers))

    def anchors(self) -> list[str]:
        """Return the anchors of the message that the client got."""
        calls = [call.to_json() for call in self._message.calls if not self._is_ours(call)]
        content = joined_texts(self._texts_before, self._message.texts()).get("content", "")
        return list(message_anchors({"content": content, "tool_calls": calls}, self._context))

    def _is_ours(self, call: GrowingCall) -> bool:
        """Return True for a call of one of the gateway's tools."""
        return call.kind == "function" and self._dialogue.injected(call.text("name")) is not None

    def _note_piece(self, call: GrowingCall, index: int | None) -> None:
        """Add a call to the message as soon as it has a name; hide it if it is one of the gateway's."""
        self._chunk_calls.append(call)
        if call not in self._message.calls and call.text("name"):
            self._message.calls.append(call)
            if call.id is None:  # its result needs one; the same request has the same ids again
                number = f"{self._dialogue.rounds_before} {len(self._message.calls)}"
                call.fallback_id = f"call_{sha256(f'{self._context.whole} {number}'.encode()).hexdigest()[:24]}"
        if self._is_ours(call):
            self._indexes.hide(call, index)
        elif index is not None:
            self._indexes.client_index(call, index)

    def _end_message(self) -> None:
        """Tell the dialogue the gateway's calls in the message. A message that was cut short has none."""
        ours = [call for call in self._message.calls if self._is_ours(call)]
        calls = [
            InjectedCall(id=str(call.id), tool=tool, arguments=call.text("arguments") or "{}")
            for call in ours
            if self._finish_reason not in _CUT_SHORT and (tool := self._dialogue.injected(call.text("name")))
        ]
        self._dialogue.end_round(calls, only_ours=len(ours) == len(self._message.calls))

    # A stream

    def read_event(self, data: bytes) -> Verdict:
        """Read one chunk; return it as the client gets it."""
        chunk = jsontext.load_object(data)
        if chunk is None:
            return self._end_stream(self._reader.read_event(data))
        self._chunk_calls.clear()
        verdict = self._reader.read(chunk)
        if verdict.last or self.answer.error is not None:
            return verdict
        try:
            return self._rewrite_chunk(chunk, data, verdict)
        except REWRITE_ERRORS:
            return verdict

    def end(self, whole: bool) -> Verdict:
        """Take a stream without ``[DONE]`` as complete; see `ChatReader`."""
        return self._end_stream(self._reader.end(whole))

    def _end_stream(self, verdict: Verdict) -> Verdict:
        """Return the verdict on the stream's end: the client's goes on if another round follows."""
        if verdict.last:
            self._end_message()  # once more: calls may go on after a finish reason, or have none
        return DROP_LAST if verdict.last and self._dialogue.continues else verdict

    def _rewrite_chunk(self, chunk: JsonObject, data: bytes, verdict: Verdict) -> Verdict:
        is_later = self._dialogue.is_later
        if not is_later:
            self._dialogue.client_id = self.answer.response_id
            self._merged.created = self._merged.created or chunk.get("created")
        choices = objects(chunk.get("choices"))
        for choice in choices:
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._message.add(delta)
            if finish_reason := nonempty_str(choice.get("finish_reason")):
                self._finish_reason = finish_reason
                self._end_message()
        if not verdict.passes or not (is_later or self._indexes.hidden):
            return verdict
        if not choices and self._dialogue.continues:
            return DROP
        if not choices or not (self._indexes.hidden or b'"role"' in data):
            return self._with_client_head(chunk, data)
        return self._with_client_choices(chunk, data)

    def _with_client_choices(self, chunk: JsonObject, data: bytes) -> Verdict:
        """Return a chunk without what is hidden of its choices; drop it if nothing is left."""
        texts = json_splice.elements(json_splice.member_text(data, "choices") or b"[]")
        shown = [self._client_choice(choice) for choice in texts]
        if not any(shown):
            return DROP
        if shown == texts:
            return self._with_client_head(chunk, data)
        choices = json_splice.join(choice for choice in shown if choice)
        return self._with_client_head(chunk, json_splice.set_member(data, "choices", choices), changed=True)

    def _client_choice(self, raw: bytes) -> bytes:
        """Return a choice without what is hidden of it; empty if that is all."""
        choice = jsontext.load_object(raw) or {}
        delta, delta_text = choice.get("delta"), json_splice.member_text(raw, "delta") or b"{}"
        shown = self._client_delta(delta, delta_text) if isinstance(delta, dict) else delta_text
        finish_reason = nonempty_str(choice.get("finish_reason"))
        hides_finish = finish_reason is not None and self._dialogue.continues
        if shown == delta_text and not hides_finish:
            return raw
        is_empty = not any((jsontext.load_object(shown) or {}).values())
        if is_empty and (hides_finish or not finish_reason):
            return b""
        if hides_finish:
            raw = json_splice.set_member(raw, "finish_reason", b"null")
        return json_splice.set_member(raw, "delta", shown)

    def _client_delta(self, delta: JsonObject, raw: bytes) -> bytes:
        """Return a delta without hidden calls, and with the client's numbers on others. Only the first has a role."""
        if self._dialogue.is_later and "role" in delta:
            raw = json_splice.remove_member(raw, "role")
        if not isinstance(delta.get("tool_calls"), list):
            return raw
        pieces = json_splice.elements(json_splice.member_text(raw, "tool_calls") or b"[]")
        shown = []
        for piece_text in pieces:
            if (piece := jsontext.load_object(piece_text)) is None:
                continue
            call, index = self._chunk_calls.pop(0), int_or_none(piece.get("index"))
            if call in self._indexes.hidden:
                continue
            if index is not None and (client_index := self._indexes.client_index(call, index)) != index:
                piece_text = json_splice.set_member(piece_text, "index", b"%d" % client_index)
            shown.append(piece_text)
        return raw if shown == pieces else _with_calls(raw, shown)

    def _with_client_head(self, chunk: JsonObject, data: bytes, changed: bool = False) -> Verdict:
        """Return a chunk with the id and time that the client knows, and with the usage of all rounds."""
        edits: dict[str, bytes] = {}
        if self._dialogue.is_later:
            if nonempty_str(chunk.get("id")) not in (None, self._dialogue.client_id):
                edits["id"] = jsontext.dump(self._dialogue.client_id)
            if "created" in chunk and chunk["created"] != self._merged.created:
                edits["created"] = jsontext.dump(self._merged.created)
            usage = chunk.get("usage")
            if isinstance(usage, dict):
                edits["usage"] = self._dialogue.total_usage(usage)
        if edits:
            data = json_splice.change_members(data, edits)
        return Verdict(data=data) if edits or changed else PASS

    # A whole answer

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole completion; return it as the client gets it."""
        verdict = self._reader.read_body(body, raw)
        if "choices" not in body:
            return verdict
        try:
            return self._rewrite_body(body, raw)
        except REWRITE_ERRORS:
            return verdict

    def _rewrite_body(self, body: JsonObject, raw: bytes) -> Verdict:
        self._dialogue.client_id = self.answer.response_id
        choices = objects(body.get("choices"))
        for choice in choices:
            message = choice.get("message")
            if isinstance(message, dict):
                self._message.add(message)
        self._finish_reason = nonempty_str(choices[0].get("finish_reason")) if choices else None
        self._end_message()
        if self._dialogue.continues:
            return DROP_LAST
        if not self._dialogue.is_later and not any(map(self._is_ours, self._message.calls)):
            return LAST
        shown = []
        for position, choice_text in enumerate(json_splice.elements(json_splice.member_text(raw, "choices") or b"[]")):
            message_text = json_splice.member_text(choice_text, "message") or b"{}"
            message_text = self._client_message(message_text, {} if position else self._texts_before)
            shown.append(json_splice.set_member(choice_text, "message", message_text))
        raw = json_splice.set_member(raw, "choices", json_splice.join(shown))
        if self._dialogue.is_later:
            raw = json_splice.set_member(raw, "usage", self._dialogue.total_usage(self.answer.usage))
        return Verdict(last=True, data=raw)

    def _client_message(self, raw: bytes, texts_before: Mapping[str, str]) -> bytes:
        """Return a message with the texts of all rounds and without the gateway's calls."""
        message = jsontext.load_object(raw) or {}
        for key, before in texts_before.items():
            if before:
                text = before + (nonempty_str(message.get(key)) or "")
                raw = json_splice.set_member(raw, key, jsontext.dump(text))
        if not message.get("tool_calls"):
            return raw
        shown = []
        for call_text in json_splice.elements(json_splice.member_text(raw, "tool_calls") or b"[]"):
            call = GrowingCall()
            call.add(jsontext.load_object(call_text) or {})
            if not self._is_ours(call):
                shown.append(call_text)
        return _with_calls(raw, shown)


def _with_calls(message: bytes, calls: Sequence[bytes]) -> bytes:
    """Return a message or delta with these tool calls; without the member if there are none."""
    if not calls:
        return json_splice.remove_member(message, "tool_calls")
    return json_splice.set_member(message, "tool_calls", json_splice.join(calls))


# Tools


def _with_tools(body: bytes, tools: Sequence[InjectedTool]) -> bytes:
    """Return a request's body with the gateway's tools after the client's own."""
    offered = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
        for t in tools
    ]
    return extend_list(body, "tools", map(jsontext.dump, offered)) if offered else body


def may_offer_tools(request: JsonObject) -> bool:
    """Return False for requests with deprecated functions, several choices, or structured output without tools."""
    if request.get("functions") or request.get("n") not in (None, 1) or needs_no_tools(request):
        return False
    form = request.get("response_format")
    structured = isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")
    return not structured or bool(request.get("tools"))


CHAT_TOOLS = ToolSupport(
    may_offer=may_offer_tools,
    forbids=lambda request: request.get("tool_choice") == "none",
    anchors=request_anchors,
    bound=lambda request: False,
    dialogue=dialogue,
)

"""Rounds of Chat Completions: calls are a message's ``tool_calls``, each result is a message of the role ``tool``.

https://platform.openai.com/docs/guides/function-calling?api-mode=chat
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import Factory, define

from .. import json_splice, jsontext
from ..anchors import Context
from ..formats import DROP, DROP_LAST, LAST, PASS, Verdict
from ..jsontext import JsonObject, nonempty_str, objects
from ..rounds import (
    HiddenRound,
    Numbering,
    Recollection,
    ToolDialogue,
    ToolSupport,
    attempt,
    grow_list,
    is_housekeeping,
)
from ..tool_calls import InjectedCall, InjectedTool, ToolResult
from .history import anchors, context_of, joined_words, message_anchors, with_past
from .reader import CHAT, ChatReader, GrowingCall, GrowingMessage, asks_usage, call_number

_CUT_SHORT = ("length", "content_filter")


@define
class _Merged:
    """What the client has got of the answer, over all rounds."""

    words: dict[str, str] = Factory(dict)
    """Those of earlier rounds, by the field of the message that they stand in."""
    created: Any = None


def dialogue(body: bytes, request: JsonObject, tools: Sequence[InjectedTool], past: Recollection) -> ToolDialogue:
    """The dialogue over a request; see `rounds.Dialogue`."""
    context = context_of(objects(request.get("messages")))
    merged = _Merged()
    return ToolDialogue(
        body=with_past(_with_tools(CHAT.amend(body, request), tools), request, past),
        tools={tool.name: tool for tool in tools},
        keep_alive=b": keep-alive\n\n",
        begin_round=lambda dialogue: ChatRound(dialogue, merged, context, ChatReader(not asks_usage(request))),
        grow=_grow,
    )


def _grow(body: bytes, hidden: HiddenRound, response_id: str | None) -> bytes:
    return grow_list(body, "messages", [*json_splice.elements(hidden.assistant), *json_splice.elements(hidden.results)])


class ChatRound:
    """Reads one round's answer, and decides what the client gets of it."""

    def __init__(self, dialogue: ToolDialogue, merged: _Merged, context: Context, reader: ChatReader) -> None:
        self._reader = reader
        self.answer = reader.answer
        self._dialogue = dialogue
        self._merged = merged
        self._context = context
        self._before = merged.words
        self._numbering = Numbering()
        self._message = GrowingMessage()

    def skips(self, frame: bytes) -> bool:
        """Nothing: all of it may be needed for the next round's request."""
        return False

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        self._merged.words = joined_words(self._before, self._message.words())
        said = jsontext.dump(self._message.whole())
        return HiddenRound(json_splice.join([said]), json_splice.join(map(_result_message, results)))

    def anchors(self) -> list[str]:
        calls = [call.whole() for call in self._message.calls.values() if not self._is_ours(call)]
        words = joined_words(self._before, self._message.words()).get("content", "")
        return list(message_anchors({"content": words, "tool_calls": calls}, self._context))

    def _is_ours(self, call: GrowingCall) -> bool:
        return call.kind == "function" and call.text("name") in self._dialogue.tools

    def _injected(self, call: GrowingCall) -> InjectedCall:
        tool = self._dialogue.tools[call.text("name")]
        return InjectedCall(str(call.fields.get("id", "")), tool, call.text("arguments") or "{}")

    def _settle(self, finish_reason: object) -> None:
        """The model has spoken: what of it are calls of the gateway's tools."""
        ours = [call for call in self._message.calls.values() if self._is_ours(call)]
        made = [] if finish_reason in _CUT_SHORT else [self._injected(call) for call in ours]
        self._dialogue.end_round(made, only_ours=len(ours) == len(self._message.calls))

    # A stream

    def read_event(self, data: bytes) -> Verdict:
        chunk = jsontext.load_object(data)
        if chunk is None:
            verdict = self._reader.read_event(data)
            return DROP_LAST if verdict.last and self._dialogue.goes_on else verdict
        verdict = self._reader.read(chunk)
        return verdict if verdict.last else attempt(lambda: self._judge(chunk, data, verdict), verdict)

    def _judge(self, chunk: JsonObject, data: bytes, verdict: Verdict) -> Verdict:
        if not self._dialogue.is_later:
            self._dialogue.client_id = self.answer.response_id
            self._merged.created = self._merged.created or chunk.get("created")
        choices = objects(chunk.get("choices"))
        for choice in choices:
            self._hear_choice(choice)
        if not verdict.passes or not (self._dialogue.is_later or self._numbering.hidden):
            return verdict
        if not choices and self._dialogue.goes_on:
            return DROP
        plain = not (self._numbering.hidden or b'"role"' in data)
        return self._shown(chunk, data) if plain or not choices else self._with_choices(chunk, data)

    def _hear_choice(self, choice: JsonObject) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._message.grow(delta)
            grown = self._message.grow_calls(delta)
            self._numbering.hidden.update(at for at, call in grown if self._is_ours(call))
        if choice.get("finish_reason") is not None:
            self._settle(choice["finish_reason"])

    def _with_choices(self, chunk: JsonObject, data: bytes) -> Verdict:
        texts = json_splice.elements(json_splice.member_text(data, "choices") or b"[]")
        shown = [self._choice(choice) for choice in texts]
        if not any(shown):
            return DROP
        if shown == texts:
            return self._shown(chunk, data)
        choices = json_splice.join(choice for choice in shown if choice)
        return self._shown(chunk, json_splice.set_member(data, "choices", choices), changed=True)

    def _choice(self, raw: bytes) -> bytes:
        """A choice without what is hidden of it; empty where that is all."""
        choice = jsontext.load_object(raw) or {}
        delta, before = choice.get("delta"), json_splice.member_text(raw, "delta") or b"{}"
        shown = self._delta(delta, before) if isinstance(delta, dict) else before
        ends_unseen = choice.get("finish_reason") is not None and self._dialogue.goes_on
        if shown == before and not ends_unseen:
            return raw
        if not any((jsontext.load_object(shown) or {}).values()) and (ends_unseen or not choice.get("finish_reason")):
            return b""
        if ends_unseen:
            raw = json_splice.set_member(raw, "finish_reason", b"null")
        return json_splice.set_member(raw, "delta", shown)

    def _delta(self, delta: JsonObject, raw: bytes) -> bytes:
        if self._dialogue.is_later and "role" in delta:
            raw = json_splice.remove_member(raw, "role")
        if not isinstance(delta.get("tool_calls"), list):
            return raw
        pieces = json_splice.elements(json_splice.member_text(raw, "tool_calls") or b"[]")
        shown = [piece for position, text_ in enumerate(pieces) for piece in self._piece(text_, position)]
        return raw if shown == pieces else _with_calls(raw, shown)

    def _piece(self, raw: bytes, position: int) -> list[bytes]:
        """A piece of a call under the number that the client knows the call by; none of a hidden one."""
        piece = jsontext.load_object(raw) or {}
        at = call_number(piece, position)
        if at in self._numbering.hidden:
            return []
        place = self._numbering.place(at)
        unchanged = place == at or "index" not in piece
        return [raw if unchanged else json_splice.set_member(raw, "index", b"%d" % place)]

    def _shown(self, chunk: JsonObject, data: bytes, changed: bool = False) -> Verdict:
        """A chunk under the id that the client knows, and with the usage of all rounds."""
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
            data = json_splice.set_members(data, edits)
        return Verdict(data=data) if edits or changed else PASS

    # A whole answer

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        verdict = self._reader.read_body(body, raw)
        return attempt(lambda: self._judge_body(body, raw), verdict) if "choices" in body else verdict

    def _judge_body(self, body: JsonObject, raw: bytes) -> Verdict:
        self._dialogue.client_id = self.answer.response_id
        choices = objects(body.get("choices"))
        for message in (choice.get("message") for choice in choices):
            if isinstance(message, dict):
                self._message.grow(message)
                for call in objects(message.get("tool_calls")):
                    self._message.calls[len(self._message.calls)] = GrowingCall().grow(call)
        self._settle(next((choice.get("finish_reason") for choice in choices), None))
        if self._dialogue.goes_on:
            return DROP_LAST
        nothing_hidden = not any(map(self._is_ours, self._message.calls.values()))
        return LAST if nothing_hidden and not self._dialogue.is_later else self._whole(raw)

    def _whole(self, raw: bytes) -> Verdict:
        """The body with the words of all rounds, without the gateway's calls."""
        choices = json_splice.elements(json_splice.member_text(raw, "choices") or b"[]")
        shown = [
            self._whole_choice(choice, {} if position else self._before) for position, choice in enumerate(choices)
        ]
        raw = json_splice.set_member(raw, "choices", json_splice.join(shown))
        if self._dialogue.is_later:
            raw = json_splice.set_member(raw, "usage", self._dialogue.total_usage(self.answer.usage))
        return Verdict(last=True, data=raw)

    def _whole_choice(self, raw: bytes, before: Mapping[str, str]) -> bytes:
        message_text = json_splice.member_text(raw, "message") or b"{}"
        message = jsontext.load_object(message_text) or {}
        for key, words in before.items():
            if words:
                message_text = json_splice.set_member(
                    message_text, key, jsontext.dump(words + (nonempty_str(message.get(key)) or ""))
                )
        if message.get("tool_calls"):
            calls = json_splice.elements(json_splice.member_text(message_text, "tool_calls") or b"[]")
            shown = [call for call in calls if not self._is_ours(GrowingCall().grow(jsontext.load_object(call) or {}))]
            message_text = _with_calls(message_text, shown)
        return json_splice.set_member(raw, "message", message_text)


def _with_calls(message: bytes, calls: Sequence[bytes]) -> bytes:
    if not calls:
        return json_splice.remove_member(message, "tool_calls")
    return json_splice.set_member(message, "tool_calls", json_splice.join(calls))


def _result_message(result: ToolResult) -> bytes:
    return jsontext.dump({"role": "tool", "tool_call_id": result.call.id, "content": result.text})


# Tools


def _with_tools(body: bytes, tools: Sequence[InjectedTool]) -> bytes:
    """The gateway's tools after the client's own."""
    offered = [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
        for t in tools
    ]
    return grow_list(body, "tools", map(jsontext.dump, offered)) if offered else body


def _may_offer(request: JsonObject) -> bool:
    """Neither beside the functions of old, nor where there are to be several answers at once."""
    if request.get("functions") or request.get("n") not in (None, 1) or is_housekeeping(request):
        return False
    form = request.get("response_format")
    structured = isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")
    return not structured or bool(request.get("tools"))


CHAT_TOOLS = ToolSupport(
    may_offer=_may_offer,
    forbids=lambda request: request.get("tool_choice") == "none",
    anchors=anchors,
    bound=lambda request: False,
    dialogue=dialogue,
)

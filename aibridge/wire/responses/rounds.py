"""Rounds of the Responses API: calls are ``function_call`` items, results follow as ``function_call_output`` items.

https://platform.openai.com/docs/guides/function-calling?api-mode=responses
"""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import Factory, define, frozen

from .. import json_splice, jsontext
from ..anchors import Context, id_anchor
from ..formats import DROP, DROP_LAST, LAST, PASS, Verdict
from ..jsontext import JsonObject, int_or_none, nonempty_str
from ..rounds import (
    HiddenRound,
    Numbering,
    Recollection,
    ToolDialogue,
    ToolSupport,
    attempt,
    grow_list,
    is_housekeeping,
    with_raw,
)
from ..tool_calls import InjectedCall, InjectedTool, ResultPart, ToolResult
from .history import anchors, context_of, conversation_of, input_items, item_anchors, with_past
from .reader import ResponsesReader

_BEGINNINGS = ("response.created", "response.queued", "response.in_progress")


@frozen
class _Asked:
    """What of the request matters to its answer."""

    context: Context
    conversation: str | None
    stored: bool
    """Whether the provider keeps the items, so that it knows them by their ids."""
    previous: str | None
    """The id of the answer before, as the client knows it..."""
    provider_previous: str | None
    """... and as the provider does."""


@define
class _Merged:
    """What the client has got of the answer, over all rounds."""

    numbering: Numbering = Factory(Numbering)
    output: list[bytes] = Factory(list)
    """The items of earlier rounds."""
    next_number: int = 0
    """The sequence number that its next event will have."""
    shift: int = 0
    """What its sequence numbers differ by from those of this round."""


def dialogue(body: bytes, request: JsonObject, tools: Sequence[InjectedTool], past: Recollection) -> ToolDialogue:
    """The dialogue over a request; see `rounds.Dialogue`."""
    previous = nonempty_str(request.get("previous_response_id"))
    asked = _Asked(
        context=context_of(input_items(request)),
        conversation=conversation_of(request),
        stored=request.get("store") is not False,
        previous=previous,
        provider_previous=past.provider_id(previous),
    )
    merged = _Merged()
    return ToolDialogue(
        body=with_past(_with_tools(body, tools), request, past),
        tools={tool.name: tool for tool in tools},
        keep_alive=b": keep-alive\n\n",
        begin_round=lambda dialogue: ResponsesRound(dialogue, merged, asked),
        grow=_grow,
    )


def _grow(body: bytes, hidden: HiddenRound, response_id: str | None) -> bytes:
    request = jsontext.load(body)
    results = json_splice.elements(hidden.results)
    if conversation_of(request):  # the provider put all else into it
        return json_splice.set_member(body, "input", json_splice.join(results))
    if isinstance(request.get("input"), str):
        words = json_splice.member_text(body, "input") or b""
        message = with_raw({"role": "user"}, "content", words)
        body = json_splice.set_member(body, "input", json_splice.join([message]))
    return grow_list(body, "input", [*json_splice.elements(hidden.assistant), *results])


class ResponsesRound:
    """Reads one round's answer, and decides what the client gets of it."""

    def __init__(self, dialogue: ToolDialogue, merged: _Merged, asked: _Asked) -> None:
        self._reader = ResponsesReader()
        self.answer = self._reader.answer
        self._dialogue = dialogue
        self._merged = merged
        self._asked = asked
        self._numbered = not dialogue.is_later
        """Whether the round's sequence numbers go on from those before."""
        self._done: dict[int, bytes] = {}
        self._said: list[tuple[bytes, JsonObject]] = []
        """The round's items, as text and read."""

    def skips(self, frame: bytes) -> bool:
        """Deltas, as long as all numbers are the provider's own."""
        changes = self._dialogue.is_later or self._merged.numbering.hidden
        return not changes and self._reader.skips(frame)

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        shown = self._shown_items()
        self._merged.output += shown
        self._merged.numbering.end_round(len(shown))
        said = [(raw, item) for raw, item in self._said if self._may_return(item)]
        return HiddenRound(
            json_splice.join(raw for raw, _ in said),
            json_splice.join(map(_result_item, results)),
            tuple(() if self._is_ours(item) else item_anchors(item, self._asked.context) for _, item in said),
        )

    def anchors(self) -> list[str]:
        shown = (item for _, item in self._said if not self._is_ours(item))
        said = [anchor for item in shown for anchor in item_anchors(item, self._asked.context)]
        return [*said, *id_anchor(self._asked.conversation)]

    def read_event(self, data: bytes) -> Verdict:
        event = jsontext.load_object(data)
        if event is None:
            return PASS
        verdict = self._reader.read(event)
        return attempt(lambda: self._judge(event, data, verdict), verdict)

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        verdict = self._reader.read_body(body, raw)
        return attempt(lambda: self._judge_body(body, raw), verdict) if "output" in body else verdict

    def _judge_body(self, body: JsonObject, raw: bytes) -> Verdict:
        self._dialogue.client_id = self.answer.response_id
        self._settle(body, raw)
        if self._dialogue.goes_on:
            return DROP_LAST
        whole = self._whole(self._named(body, raw))
        return LAST if whole == raw else Verdict(last=True, data=whole)

    def _judge(self, event: JsonObject, data: bytes, verdict: Verdict) -> Verdict:
        self._dialogue.client_id = self._dialogue.client_id or self.answer.response_id
        self._go_on_numbering(event)
        self._note_item(event, data)
        if self._hides(event):
            if int_or_none(event.get("sequence_number")) is not None:
                self._merged.shift -= 1
            return DROP
        response = event.get("response")
        if verdict.last and isinstance(response, dict):
            self._settle(response, json_splice.member_text(data, "response") or b"{}")
            if self._dialogue.goes_on:
                return DROP_LAST
        return self._shown(event, data, verdict)

    def _go_on_numbering(self, event: JsonObject) -> None:
        """A later round's first number follows the last one that the client got."""
        number = int_or_none(event.get("sequence_number"))
        if number is not None and not self._numbered:
            self._merged.shift = self._merged.next_number - number
            self._numbered = True

    def _note_item(self, event: JsonObject, data: bytes) -> None:
        at, item = int_or_none(event.get("output_index")), event.get("item")
        if at is None or not isinstance(item, dict):
            return
        if self._is_ours(item):
            self._merged.numbering.hidden.add(at)
        if event.get("type") == "response.output_item.done":
            self._done[at] = json_splice.member_text(data, "item") or b"{}"

    def _hides(self, event: JsonObject) -> bool:
        begins_again = self._dialogue.is_later and event.get("type") in _BEGINNINGS
        return begins_again or int_or_none(event.get("output_index")) in self._merged.numbering.hidden

    def _shown(self, event: JsonObject, data: bytes, verdict: Verdict) -> Verdict:
        """The event as the client gets it: under its own numbers and ids, the last one with all that was said."""
        edits = dict([*self._numbers(event), *self._response(event, data, verdict.last)])
        return Verdict(last=verdict.last, data=json_splice.set_members(data, edits)) if edits else verdict

    def _numbers(self, event: JsonObject) -> Iterator[tuple[str, bytes]]:
        number, at = int_or_none(event.get("sequence_number")), int_or_none(event.get("output_index"))
        if number is not None:
            self._merged.next_number = number + self._merged.shift + 1
            if self._merged.shift:
                yield "sequence_number", b"%d" % (number + self._merged.shift)
        if at is not None and (place := self._merged.numbering.place(at)) != at:
            yield "output_index", b"%d" % place

    def _response(self, event: JsonObject, data: bytes, last: bool) -> Iterator[tuple[str, bytes]]:
        response = event.get("response")
        if isinstance(response, dict):
            raw = json_splice.member_text(data, "response") or b"{}"
            named = self._named(response, raw)
            shown = self._whole(named) if last else named
            if shown != raw:
                yield "response", shown

    def _named(self, response: JsonObject, raw: bytes) -> bytes:
        """A response object under the ids that the client knows."""
        asked, client_id = self._asked, self._dialogue.client_id
        if self._dialogue.is_later and nonempty_str(response.get("id")) not in (None, client_id):
            raw = json_splice.set_member(raw, "id", jsontext.dump(client_id))
        if asked.provider_previous and response.get("previous_response_id") == asked.provider_previous:
            raw = json_splice.set_member(raw, "previous_response_id", jsontext.dump(asked.previous))
        return raw

    def _whole(self, raw: bytes) -> bytes:
        """A response object with what the client gets of all rounds."""
        shown = self._shown_items()
        if not self._dialogue.is_later and len(shown) == len(self._said):
            return raw
        raw = json_splice.set_member(raw, "output", json_splice.join([*self._merged.output, *shown]))
        if not self._dialogue.is_later:
            return raw
        return json_splice.set_member(raw, "usage", self._dialogue.total_usage(self.answer.usage))

    def _settle(self, response: JsonObject, raw: bytes) -> None:
        """The model has spoken: what of it are calls of the gateway's tools."""
        whole = json_splice.elements(json_splice.member_text(raw, "output") or b"[]")
        done = [self._done[at] for at in sorted(self._done)]
        texts = whole if len(whole) >= len(done) else done  # some providers leave the last event's output empty
        self._said = [(item, jsontext.load_object(item) or {}) for item in texts]
        items = [item for _, item in self._said]
        completed = response.get("status", "completed") == "completed"
        ours = [item for item in items if self._is_ours(item)] if completed else []
        self._dialogue.end_round([self._call(item) for item in ours], only_ours=not self._waits_for_client(items))

    def _call(self, item: JsonObject) -> InjectedCall:
        tool = self._dialogue.tools[str(item["name"])]
        return InjectedCall(str(item.get("call_id")), tool, nonempty_str(item.get("arguments")) or "{}")

    def _waits_for_client(self, items: Sequence[JsonObject]) -> bool:
        """Whether there are calls that the client must answer: the provider runs its own, which have no `call_id`."""
        answered = {nonempty_str(item.get("call_id")) for item in items if _is_a(item, "_output")}
        calls = [item for item in items if _is_a(item, "_call") and not self._is_ours(item)]
        called = {nonempty_str(item.get("call_id")) for item in calls}
        return bool(called - answered - {None}) or any(item.get("type") == "mcp_approval_request" for item in items)

    def _shown_items(self) -> list[bytes]:
        return [raw for raw, item in self._said if not self._is_ours(item)]

    def _is_ours(self, item: JsonObject) -> bool:
        is_function = item.get("type") == "function_call" and not item.get("namespace")
        return is_function and nonempty_str(item.get("name")) in self._dialogue.tools

    def _may_return(self, item: JsonObject) -> bool:
        """A thought that nobody kept can't be sent back: https://platform.openai.com/docs/guides/reasoning."""
        return self._asked.stored or item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _is_a(item: JsonObject, kind: str) -> bool:
    return str(item.get("type")).endswith(kind)


def _result_item(result: ToolResult) -> bytes:
    output: Any = result.text
    if any(part["type"] == "image" for part in result.content):
        output = [_result_part(part) for part in result.content]
    return jsontext.dump({"type": "function_call_output", "call_id": result.call.id, "output": output})


def _result_part(part: ResultPart) -> dict[str, str]:
    if part["type"] == "image":
        return {"type": "input_image", "image_url": f"data:{part['mime_type']};base64,{part['data']}"}
    return {"type": "input_text", "text": part["text"]}


# Tools


def _with_tools(body: bytes, tools: Sequence[InjectedTool]) -> bytes:
    """The gateway's tools after the client's own. Not strict, which would make every argument a required one."""
    offered = [
        {"type": "function", "name": t.name, "description": t.description, "parameters": t.schema, "strict": False}
        for t in tools
    ]
    return grow_list(body, "tools", map(jsontext.dump, offered)) if offered else body


def _may_offer(request: JsonObject) -> bool:
    """Not in the background: there nobody waits to run a tool."""
    if request.get("background") is True or is_housekeeping(request):
        return False
    settings = request.get("text")
    form = settings.get("format") if isinstance(settings, dict) else None
    structured = isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")
    return not structured or bool(request.get("tools"))


RESPONSES_TOOLS = ToolSupport(
    may_offer=_may_offer,
    forbids=lambda request: request.get("tool_choice") == "none",
    anchors=anchors,
    bound=lambda request: False,
    dialogue=dialogue,
)

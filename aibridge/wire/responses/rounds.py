"""Rounds of the Responses API: calls are ``function_call`` items, results follow as ``function_call_output`` items.

https://platform.openai.com/docs/guides/function-calling?api-mode=responses
"""

from collections.abc import Sequence

from attrs import Factory, define, evolve, frozen

from .. import json_splice, jsontext
from ..formats import DROP, DROP_LAST, LAST, PASS, Verdict
from ..history import Context, HiddenRound, KnownTurns, id_anchor
from ..jsontext import JsonObject, int_or_none, nonempty_str
from ..rounds import REWRITE_ERRORS, Numbering, ToolDialogue, ToolSupport, client_tools, extend_list, needs_no_tools
from ..tool_calls import InjectedCall, InjectedTool, ToolResult
from .history import (
    answer_inputs,
    conversation_id,
    is_lost,
    item_anchors,
    request_anchors,
    restore_history,
    without_references,
)
from .reader import FIRST_EVENTS, ResponsesReader

_CREATE = "response.create"
"""The type that a request has as a message of a WebSocket. Over HTTP it has none."""


@frozen
class _RequestFacts:
    """The parts of the request that matter for its answer."""

    context: Context
    conversation: str | None
    stored: bool
    """True if the provider stores the items, and so knows them by their ids."""
    previous: str | None
    """The previous response's id, as the client knows it."""
    provider_previous: str | None
    """The previous response's id at the provider, if that is another."""


@define
class _Merged:
    """The client's view of the answer, over all rounds."""

    numbering: Numbering = Factory(Numbering)
    output: list[bytes] = Factory(list)
    """The items of earlier rounds."""
    next_number: int = 0
    """The sequence number of the next event."""
    shift: int = 0
    """The difference between the client's sequence numbers and those of this round."""

    last_is_held: bool = False
    """True once the last event of all has its number, while tools still run: keep-alives come before it."""
    stream_id: str | None = None
    """The lane of a WebSocket, which each of its events names."""

    def keep_alive(self) -> bytes:
        """Return an event that keeps the client's idle timer quiet, with the number that is next in the stream."""
        return b"event: keepalive\ndata: %b\n\n" % self.keep_alive_message()

    def keep_alive_message(self) -> bytes:
        """Return the same as a message of a WebSocket."""
        number = self.next_number - self.last_is_held
        self.next_number += 1
        lane = {} if self.stream_id is None else {"stream_id": self.stream_id}
        return jsontext.dump({"type": "keepalive", "sequence_number": number, **lane})

    def renumber_last(self, data: bytes) -> bytes:
        """Return the last event with the number that follows all keep-alives."""
        return json_splice.set_member(data, "sequence_number", b"%d" % (self.next_number - 1))


def dialogue(body: bytes, request: JsonObject, tools: Sequence[InjectedTool], past: KnownTurns) -> ToolDialogue:
    """Return the dialogue of a request."""
    previous = nonempty_str(request.get("previous_response_id"))
    facts = _RequestFacts(
        context=answer_inputs(request, past.inputs).context,
        conversation=conversation_id(request),
        stored=request.get("store") is not False,
        previous=previous,
        provider_previous=past.provider_id(previous),
    )
    merged = _Merged(stream_id=nonempty_str(request.get("stream_id")))
    return ToolDialogue(
        body=restore_history(_with_tools(body, tools), request, past),
        tools={tool.name: tool for tool in tools},
        client_names=client_tools(request).names,
        keep_alive=merged.keep_alive_message if request.get("type") == _CREATE else merged.keep_alive,
        begin_round=lambda dialogue: ResponsesRound(dialogue, merged, facts),
        extend_body=_extend_body,
    )


def _extend_body(body: bytes, hidden: HiddenRound, response_id: str | None) -> bytes:
    """Return the next round's request. A stored conversation already has everything but the results.

    So has a WebSocket, which keeps its latest response: https://platform.openai.com/docs/guides/websocket-mode
    """
    request = jsontext.load_object(body) or {}
    if conversation_id(request):
        return json_splice.set_member(body, "input", hidden.results)
    if request.get("type") == _CREATE and response_id is not None:
        follows = {"previous_response_id": jsontext.dump(response_id), "input": hidden.results}
        return json_splice.change_members(body, follows)
    if isinstance(request.get("input"), str):
        text = json_splice.member_text(body, "input") or b""
        message = json_splice.append_member(b'{"role":"user"}', "content", text)
        body = json_splice.set_member(body, "input", json_splice.join([message]))
    return extend_list(body, "input", hidden.parts)


class ResponsesRound:
    """Reads the answer of one round, and decides which parts of it the client gets."""

    def __init__(self, dialogue: ToolDialogue, merged: _Merged, facts: _RequestFacts) -> None:
        self._reader = ResponsesReader()
        self.answer = self._reader.answer
        self._dialogue = dialogue
        self._merged = merged
        self._facts = facts
        self._is_numbered = not dialogue.is_later
        """True once the round's sequence numbers follow those of the round before."""
        self._places: dict[str, int] = {}
        """The places of items whose events have no output index, by everything that names them."""
        self._holds_last = False
        """True once the event that ends the answer has its number."""
        self._done: dict[int, bytes] = {}
        """The items that are done, by their numbers."""
        self._output: list[tuple[bytes, JsonObject]] = []
        """The items of the whole response, as text and parsed."""
        self._is_unstored = False
        """True once the response has reasoning that nobody keeps."""

    @property
    def next_number(self) -> int:
        """The number of the client's next event, in place of the last one while that is held."""
        seen = self._reader.next_number + self._merged.shift if self._is_numbered and not self._holds_last else 0
        return max(seen, self._merged.next_number - self._holds_last)

    def skips(self, frame: bytes) -> bool:
        """Return True for deltas, unless the client has other numbers than the provider."""
        has_own_numbers = self._dialogue.is_later or self._merged.numbering.hidden
        return not has_own_numbers and self._reader.skips(frame)

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        """Return the round as the provider must see it again; see `RoundReader`."""
        visible = self._visible_items()
        self._merged.output += visible
        self._merged.numbering.end_round(len(visible))
        returned = [raw for raw, _ in self._output]
        if self._is_unstored:
            returned = [without_references(raw, item) for raw, item in self._output if not is_lost(item)]
        return HiddenRound(
            json_splice.join(returned),
            json_splice.join(map(_result_item, results)),
            tuple(
                () if self._is_our_call(item) else item_anchors(item, self._facts.context) for _, item in self._output
            ),
        )

    def anchors(self) -> list[str]:
        """Return the anchors of the items that the client got, and of the conversation."""
        visible = [item for _, item in self._output if not self._is_our_call(item)]
        sent = [anchor for item in visible for anchor in item_anchors(item, self._facts.context)]
        return [*sent, *id_anchor(self._facts.conversation)]

    def _is_our_call(self, item: JsonObject) -> bool:
        is_function = item.get("type") == "function_call" and not item.get("namespace")
        return is_function and self._dialogue.injected(item.get("name")) is not None

    def _visible_items(self) -> list[bytes]:
        return [raw for raw, item in self._output if not self._is_our_call(item)]

    def _end_response(self, response: JsonObject, raw: bytes) -> None:
        """Tell the dialogue the gateway's calls in the response. One that is not completed has none."""
        listed = json_splice.elements(json_splice.member_text(raw, "output") or b"[]")
        done = [self._done[number] for number in sorted(self._done)]
        texts = listed if len(listed) >= len(done) else done  # some providers send the last event without output
        self._output = [(item, jsontext.load_object(item) or {}) for item in texts]
        # OpenAI says so itself to organizations with zero data retention.
        is_stored = self._facts.stored and response.get("store") is not False
        self._is_unstored = not is_stored and any(is_lost(item) for _, item in self._output)
        self._dialogue.unstored |= self._is_unstored
        items = [item for _, item in self._output]
        calls = [
            InjectedCall(
                id=nonempty_str(item.get("call_id")) or nonempty_str(item.get("id")) or "",
                tool=tool,
                arguments=nonempty_str(item.get("arguments")) or "{}",
            )
            for item in items
            if self._is_our_call(item) and response.get("status", "completed") == "completed"
            if (tool := self._dialogue.injected(item.get("name")))
        ]
        self._dialogue.end_round(calls, only_ours=not self._waits_for_client(items))

    def _waits_for_client(self, items: Sequence[JsonObject]) -> bool:
        """Return True if the client must answer a call. Calls that the provider runs itself have no `call_id`."""
        answered = {nonempty_str(item.get("call_id")) for item in items if _is_a(item, "_output")}
        calls = [item for item in items if _is_a(item, "_call") and not self._is_our_call(item)]
        called = {nonempty_str(item.get("call_id")) for item in calls}
        return bool(called - answered - {None}) or any(item.get("type") == "mcp_approval_request" for item in items)

    # A stream

    def read_event(self, data: bytes) -> Verdict:
        """Read one event; return it as the client gets it."""
        event = jsontext.load_object(data)
        if event is None:
            return PASS
        verdict = self._reader.read(event)
        try:
            return self._rewrite_event(event, data, verdict)
        except REWRITE_ERRORS:
            return verdict

    def _rewrite_event(self, event: JsonObject, data: bytes, verdict: Verdict) -> Verdict:
        self._dialogue.client_id = self._dialogue.client_id or self.answer.response_id
        number, place = int_or_none(event.get("sequence_number")), self._place_of(event)
        if number is not None and not self._is_numbered:  # the first number follows the last one of the round before
            self._merged.shift = self._merged.next_number - number
            self._is_numbered = True
        if place is not None:
            self._note_item(place, event, data)
        is_repeated = self._dialogue.is_later and event.get("type") in FIRST_EVENTS
        if is_repeated or place in self._merged.numbering.hidden:
            if number is not None:
                self._merged.shift -= 1
            return DROP
        response = event.get("response")
        if verdict.last and isinstance(response, dict):
            self._end_response(response, json_splice.member_text(data, "response") or b"{}")
            if self._dialogue.continues:
                return DROP_LAST
        edits = self._client_edits(event, number, place, data, verdict.last)
        self._holds_last = verdict.last and number is not None
        if edits:
            verdict = evolve(verdict, data=json_splice.change_members(data, edits))
        if verdict.last and number is not None and self._dialogue.calls:
            self._merged.last_is_held = True
            return evolve(verdict, at_release=self._merged.renumber_last)
        return verdict

    def _place_of(self, event: JsonObject) -> int | None:
        """Return the place of an event's item in the output. Without an index, items are known by their ids.

        What has neither belongs to the item that began last.
        """
        place, item = int_or_none(event.get("output_index")), event.get("item")
        if place is not None or "response" in event:
            return place
        last = max(self._places.values(), default=None)
        if not isinstance(item, dict):
            return self._places.get(str(event.get("item_id")), last)
        ids = [each for each in (item.get("call_id"), item.get("id")) if isinstance(each, str)]
        place = next((self._places[each] for each in ids if each in self._places), None)
        if place is None:
            begins = last is None or event.get("type") == "response.output_item.added"
            place = (-1 if last is None else last) + begins
        self._places |= dict.fromkeys(ids or [f"item {place}"], place)
        return place

    def _note_item(self, place: int, event: JsonObject, data: bytes) -> None:
        """Keep an item that is done. Hide it if it is a call of one of the gateway's tools."""
        item = event.get("item")
        if not isinstance(item, dict):
            return
        if self._is_our_call(item):
            self._merged.numbering.hidden.add(place)
        if event.get("type") == "response.output_item.done":
            self._done[place] = json_splice.member_text(data, "item") or b"{}"

    def _client_edits(
        self, event: JsonObject, number: int | None, place: int | None, data: bytes, last: bool
    ) -> dict[str, bytes]:
        """Return the members of an event that are others at the client."""
        edits: dict[str, bytes] = {}
        merged, response = self._merged, event.get("response")
        if number is not None:
            merged.next_number = number + merged.shift + 1
            if merged.shift:
                edits["sequence_number"] = b"%d" % (number + merged.shift)
        if place is not None and "output_index" in event:
            client_place = merged.numbering.client_number(place)
            if client_place != place:
                edits["output_index"] = b"%d" % client_place
        if isinstance(response, dict) and (last or self._dialogue.is_later or self._facts.provider_previous):
            raw = json_splice.member_text(data, "response") or b"{}"
            shown = self._with_client_ids(response, raw)
            if last:
                shown = self._with_all_output(shown)
            if shown != raw:
                edits["response"] = shown
        return edits

    def _with_client_ids(self, response: JsonObject, raw: bytes) -> bytes:
        """Return a response object with the ids that the client knows."""
        facts, client_id = self._facts, self._dialogue.client_id
        if self._dialogue.is_later and nonempty_str(response.get("id")) not in (None, client_id):
            raw = json_splice.set_member(raw, "id", jsontext.dump(client_id))
        if facts.provider_previous and response.get("previous_response_id") == facts.provider_previous:
            raw = json_splice.set_member(raw, "previous_response_id", jsontext.dump(facts.previous))
        return raw

    def _with_all_output(self, raw: bytes) -> bytes:
        """Return a response object with the client's items and the usage of all rounds."""
        visible = self._visible_items()
        if not self._dialogue.is_later and len(visible) == len(self._output):
            return raw
        raw = json_splice.set_member(raw, "output", json_splice.join([*self._merged.output, *visible]))
        if not self._dialogue.is_later:
            return raw
        return json_splice.set_member(raw, "usage", self._dialogue.total_usage(self.answer.usage))

    def end(self, whole: bool) -> Verdict:
        """Return PASS: without its last event an answer is not complete."""
        return self._reader.end(whole)

    # A whole answer

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole response; return it as the client gets it."""
        verdict = self._reader.read_body(body, raw)
        if "output" not in body:
            return verdict
        try:
            self._dialogue.client_id = self.answer.response_id
            self._end_response(body, raw)
            if self._dialogue.continues:
                return DROP_LAST
            shown = self._with_all_output(self._with_client_ids(body, raw))
        except REWRITE_ERRORS:
            return verdict
        return LAST if shown == raw else Verdict(last=True, data=shown)


def _is_a(item: JsonObject, kind: str) -> bool:
    return str(item.get("type")).endswith(kind)


def _result_item(result: ToolResult) -> bytes:
    """Return a result as an input item. Its output is text, or a list of parts if it has images."""
    parts = [
        {"type": "input_image", "image_url": f"data:{part['mime_type']};base64,{part['data']}"}
        if part["type"] == "image"
        else {"type": "input_text", "text": part["text"]}
        for part in result.content
    ]
    has_images = any(part["type"] == "image" for part in result.content)
    output = parts if has_images else result.text
    return jsontext.dump({"type": "function_call_output", "call_id": result.call.id, "output": output})


# Tools


def _with_tools(body: bytes, tools: Sequence[InjectedTool]) -> bytes:
    """Return a request's body with the gateway's tools after the client's own.

    They are not strict: that would make every argument a required one.
    """
    offered = [
        {"type": "function", "name": t.name, "description": t.description, "parameters": t.schema, "strict": False}
        for t in tools
    ]
    return extend_list(body, "tools", map(jsontext.dump, offered)) if offered else body


def may_offer_tools(request: JsonObject) -> bool:
    """Return False for background requests, where nobody waits for tools, and for structured output without tools."""
    if request.get("background") is True or needs_no_tools(request):
        return False
    settings = request.get("text")
    form = settings.get("format") if isinstance(settings, dict) else None
    structured = isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")
    return not structured or bool(request.get("tools"))


RESPONSES_TOOLS = ToolSupport(
    may_offer=may_offer_tools,
    forbids=lambda request: request.get("tool_choice") == "none",
    anchors=request_anchors,
    bound=lambda request: False,
    dialogue=dialogue,
)

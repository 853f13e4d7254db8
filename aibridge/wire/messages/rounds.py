"""Rounds of the Messages API: calls are ``tool_use`` blocks, results stand in the next message of the user.

https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
"""

from collections.abc import Sequence

from attrs import Factory, define, frozen

from .. import json_splice, jsontext
from ..formats import DROP, DROP_LAST, LAST, PASS, Verdict
from ..history import Context, HiddenRound, KnownTurns
from ..jsontext import JsonObject, int_or_none, objects
from ..rounds import REWRITE_ERRORS, Numbering, ToolDialogue, ToolSupport, client_tools, extend_list, needs_no_tools
from ..tool_calls import InjectedCall, InjectedTool, ToolResult
from .history import answer_context, block_anchors, request_anchors, restore_history
from .reader import MessagesReader


@define
class _Merged:
    """The client's view of the answer, over all rounds."""

    numbering: Numbering = Factory(Numbering)
    content: list[bytes] = Factory(list)
    """Content blocks of earlier rounds, of an answer that isn't streamed."""


@frozen
class _Block:
    """A content block of the model's message."""

    raw: bytes
    """The block's JSON text."""
    fields: JsonObject
    is_ours: bool
    """True for a call of one of the gateway's tools. The client does not get it."""


def dialogue(body: bytes, request: JsonObject, tools: Sequence[InjectedTool], past: KnownTurns) -> ToolDialogue:
    """Return the dialogue of a request."""
    context, merged = answer_context(request), _Merged()
    return ToolDialogue(
        body=restore_history(_with_tools(body, request, tools), request, past),
        tools={tool.name: tool for tool in tools},
        client_names=client_tools(request).names,
        keep_alive=lambda: b'event: ping\ndata: {"type": "ping"}\n\n',
        begin_round=lambda dialogue: MessagesRound(dialogue, merged, context),
        extend_body=_extend_body,
    )


def _extend_body(body: bytes, hidden: HiddenRound, response_id: str | None) -> bytes:
    """Return the next round's request. A thread stored by the provider already has everything but the results."""
    results = json_splice.append_member(b'{"role":"user"}', "content", hidden.results)
    if (jsontext.load_object(body) or {}).get("thread") is None:
        assistant = json_splice.append_member(b'{"role":"assistant"}', "content", hidden.assistant)
        return extend_list(body, "messages", [assistant, results])
    for key in ("tools", "system"):
        body = json_splice.remove_member(body, key)
    thread = jsontext.dump({"type": "continue", "previous_message_id": response_id})
    body = json_splice.set_member(body, "thread", thread)
    return json_splice.set_member(body, "messages", json_splice.join([results]))


class MessagesRound:
    """Reads the answer of one round, and decides which parts of it the client gets."""

    next_number = 0  # the events of this API have no numbers

    def __init__(self, dialogue: ToolDialogue, merged: _Merged, context: Context) -> None:
        self._reader = MessagesReader(keep_blocks=True)
        self.answer = self._reader.answer
        self._dialogue = dialogue
        self._merged = merged
        self._context = context
        self._hidden: set[int] = set()
        """The provider's numbers of the gateway's calls."""
        self._message: list[_Block] = []
        """The blocks of the whole message, once it is complete."""

    def skips(self, frame: bytes) -> bool:
        """Return False: the next round's request may need everything."""
        return False

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        """Return the round as the provider must see it again; see `RoundReader`."""
        visible = [block.raw for block in self._message if not block.is_ours]
        returned = [*filter(_may_return, self._message[: self._fallback]), *self._message[self._fallback :]]
        self._merged.numbering.end_round(len(visible))
        self._merged.content += visible
        return HiddenRound(
            json_splice.join(block.raw for block in returned),
            json_splice.join(map(_result_block, results)),
            tuple(() if block.is_ours else self._anchors_of(block) for block in returned),
        )

    def anchors(self) -> list[str]:
        """Return the anchors of the blocks that the client got."""
        visible = [block for block in self._message if not block.is_ours]
        return [anchor for block in visible for anchor in self._anchors_of(block)]

    def _anchors_of(self, block: _Block) -> tuple[str, ...]:
        return block_anchors(jsontext.load_object(block.raw) or {}, self._context)

    @property
    def _fallback(self) -> int:
        """The place of the last ``fallback`` block: calls before it are void. 0 if one model made the message."""
        return max((at for at, block in enumerate(self._message) if block.fields.get("type") == "fallback"), default=0)

    def _is_our_call(self, block: JsonObject) -> bool:
        return block.get("type") == "tool_use" and self._dialogue.injected(block.get("name")) is not None

    def _end_message(self, stop_reason: object) -> None:
        """Tell the dialogue the gateway's calls in the message. A message that was cut short has none."""
        valid = self._message[self._fallback :]
        ours = [block for block in valid if block.is_ours]
        calls = [
            InjectedCall(
                id=str(block.fields.get("id")),
                tool=tool,
                arguments=(json_splice.member_text(block.raw, "input") or b"{}").decode(),
            )
            for block in ours
            if stop_reason == "tool_use" and (tool := self._dialogue.injected(block.fields.get("name")))
        ]
        client_calls = [b for b in valid if b.fields.get("type") == "tool_use" and not b.is_ours]
        self._dialogue.end_round(calls, only_ours=not client_calls)

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
        kind = event.get("type")
        if kind in ("content_block_delta", "content_block_start", "content_block_stop"):
            return self._rewrite_block_event(event, data)
        if kind == "message_start":
            if self._dialogue.is_later:
                return DROP
            self._dialogue.client_id = self.answer.response_id
        elif kind == "message_delta":
            return self._rewrite_message_delta(event, data)
        elif kind == "message_stop":
            if self._dialogue.continues:
                return DROP_LAST
            if not self._message:  # some gateways leave out the message's delta
                self._message = self._streamed_blocks()
        return verdict

    def _rewrite_block_event(self, event: JsonObject, data: bytes) -> Verdict:
        """Return an event of a block under the client's number; drop it if the block is hidden."""
        number, numbering = int_or_none(event.get("index")), self._merged.numbering
        if number is None:
            return PASS
        if event["type"] == "content_block_start" and self._is_our_call(self._reader.blocks[number].fields):
            self._hidden.add(number)
            numbering.hidden.add(number)
        if number in numbering.hidden:
            return DROP
        client_number = numbering.client_number(number)
        if client_number == number:
            return PASS
        return Verdict(data=json_splice.set_member(data, "index", b"%d" % client_number))

    def _rewrite_message_delta(self, event: JsonObject, data: bytes) -> Verdict:
        """Complete the message. Return the event with the usage of all rounds; drop it if another round follows."""
        delta = event.get("delta")
        self._message = self._streamed_blocks()
        self._end_message(delta.get("stop_reason") if isinstance(delta, dict) else None)
        if self._dialogue.continues:
            return DROP
        if not self._dialogue.is_later:
            return PASS
        return Verdict(data=json_splice.set_member(data, "usage", self._dialogue.total_usage(self.answer.usage)))

    def _streamed_blocks(self) -> list[_Block]:
        """Return the blocks that have come so far."""
        return [
            _Block(block.to_json(), block.fields, number in self._hidden)
            for number, block in self._reader.blocks.items()
            if number is not None
        ]

    def end(self, whole: bool) -> Verdict:
        """Return PASS: without its last event an answer is not complete."""
        return self._reader.end(whole)

    # A whole answer

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole message; return it as the client gets it."""
        verdict = self._reader.read_body(body, raw)
        if "content" not in body:
            return verdict
        try:
            return self._rewrite_body(body, raw)
        except REWRITE_ERRORS:
            return verdict

    def _rewrite_body(self, body: JsonObject, raw: bytes) -> Verdict:
        texts = json_splice.elements(json_splice.member_text(raw, "content") or b"[]")
        blocks = [(block_text, jsontext.load_object(block_text) or {}) for block_text in texts]
        self._message = [_Block(block_text, block, self._is_our_call(block)) for block_text, block in blocks]
        self._end_message(body.get("stop_reason"))
        self._dialogue.client_id = self.answer.response_id
        if self._dialogue.continues:
            return DROP_LAST
        visible = [block.raw for block in self._message if not block.is_ours]
        if not self._dialogue.is_later and len(visible) == len(self._message):
            return LAST
        raw = json_splice.set_member(raw, "content", json_splice.join([*self._merged.content, *visible]))
        usage = self._dialogue.total_usage(self.answer.usage)
        return Verdict(last=True, data=json_splice.set_member(raw, "usage", usage))


def _may_return(block: _Block) -> bool:
    """Return True if a block of a model that declined goes back: none of its calls, and no thinking that was cut off.

    https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback#continuing-the-conversation
    """
    kind = block.fields.get("type")
    return kind != "tool_use" and (kind != "thinking" or b'"signature":""' not in block.raw)


def _result_block(result: ToolResult) -> bytes:
    """Return a result as a content block."""
    content: list[object] = []
    for part in result.content:
        if part["type"] == "image":
            source = {"type": "base64", "media_type": part["mime_type"], "data": part["data"]}
            content.append({"type": "image", "source": source})
        else:
            content.append({"type": "text", "text": part["text"]})
    block = {"type": "tool_result", "tool_use_id": result.call.id, "content": content}
    return jsontext.dump(block | ({"is_error": True} if result.error is not None else {}))


# Tools


def _with_tools(body: bytes, request: JsonObject, tools: Sequence[InjectedTool]) -> bytes:
    """Return a request's body with the gateway's tools before the client's own.

    So a cache breakpoint on the client's last tool still covers all tools.
    """
    if not tools or _continues_thread(request):
        return body
    own = json_splice.member_text(body, "tools") if isinstance(request.get("tools"), list) else b"[]"
    offered = [
        jsontext.dump({"name": tool.name, "description": tool.description, "input_schema": tool.schema})
        for tool in tools
    ]
    return json_splice.set_member(body, "tools", json_splice.join([*offered, *json_splice.elements(own or b"[]")]))


def _continues_thread(request: JsonObject) -> bool:
    """Return True if a request continues a thread at the provider, which has its tools already."""
    thread = request.get("thread")
    return isinstance(thread, dict) and thread.get("type") == "continue"


def may_offer_tools(request: JsonObject) -> bool:
    """Return False for requests that continue a thread, and for structured output without tools."""
    if _continues_thread(request) or needs_no_tools(request):
        return False
    output = request.get("output_config")
    structured = request.get("output_format") or (output.get("format") if isinstance(output, dict) else None)
    return not structured or bool(request.get("tools"))


def forbids_tools(request: JsonObject) -> bool:
    choice = request.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") == "none"


def has_thinking(request: JsonObject) -> bool:
    """Return True if the history has thinking blocks. Their signatures are valid only with the same tools."""
    blocks = (block for message in objects(request.get("messages")) for block in objects(message.get("content")))
    return any(block.get("type") in ("thinking", "redacted_thinking") for block in blocks)


MESSAGES_TOOLS = ToolSupport(
    may_offer=may_offer_tools, forbids=forbids_tools, anchors=request_anchors, bound=has_thinking, dialogue=dialogue
)

"""Rounds of the Messages API: calls are ``tool_use`` blocks, results stand in the next message of the user.

https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, define

from .. import json_splice, jsontext
from ..anchors import Context
from ..formats import DROP, DROP_LAST, LAST, PASS, Verdict
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
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
from .history import anchors, block_anchors, context_of, with_past
from .reader import MessagesReader


@define
class _Merged:
    """What the client has got of the answer, over all rounds."""

    numbering: Numbering = Factory(Numbering)
    bodies: list[bytes] = Factory(list)
    """Content blocks of earlier rounds, of an answer that isn't streamed."""


def dialogue(body: bytes, request: JsonObject, tools: Sequence[InjectedTool], past: Recollection) -> ToolDialogue:
    """The dialogue over a request; see `rounds.Dialogue`."""
    context = context_of(objects(request.get("messages")))
    merged = _Merged()
    return ToolDialogue(
        body=with_past(_with_tools(body, request, tools), request, past),
        tools={tool.name: tool for tool in tools},
        keep_alive=b'event: ping\ndata: {"type": "ping"}\n\n',
        begin_round=lambda dialogue: MessagesRound(dialogue, merged, context),
        grow=_grow,
    )


def _grow(body: bytes, hidden: HiddenRound, response_id: str | None) -> bytes:
    assistant = with_raw({"role": "assistant"}, "content", hidden.assistant)
    results = with_raw({"role": "user"}, "content", hidden.results)
    if jsontext.load(body).get("thread") is not None:
        return _continued(body, results, response_id)
    return grow_list(body, "messages", [assistant, results])


def _continued(body: bytes, results: bytes, response_id: str | None) -> bytes:
    """A thread at the provider knows all but the results."""
    for key in ("tools", "system"):
        body = json_splice.remove_member(body, key)
    thread = jsontext.dump({"type": "continue", "previous_message_id": response_id})
    body = json_splice.set_member(body, "thread", thread)
    return json_splice.set_member(body, "messages", json_splice.join([results]))


@define
class _Block:
    """A content block as the provider builds it up."""

    fields: dict[str, Any]
    visible: bool = True
    pieces: dict[str, list[str]] = Factory(dict)
    citations: list[Any] = Factory(list)

    def grow(self, delta: Mapping[str, Any]) -> None:
        if delta.get("type") == "citations_delta":
            self.citations.append(delta.get("citation"))
            return
        for key in delta.keys() - {"type"}:
            if isinstance(delta[key], str):
                self.pieces.setdefault(key, []).append(delta[key])
            else:
                self.fields[key] = delta[key]

    def raw(self) -> bytes:
        """Its JSON; arguments keep the text that the model wrote."""
        pieces = {key: "".join(texts) for key, texts in self.pieces.items()}
        arguments = pieces.pop("partial_json", None)
        grown = {key: (nonempty_str(self.fields.get(key)) or "") + more for key, more in pieces.items()}
        fields = {**self.fields, **grown, **({"citations": self.citations} if self.citations else {})}
        if not arguments:
            return jsontext.dump(fields)
        return with_raw({key: value for key, value in fields.items() if key != "input"}, "input", _as_json(arguments))


def _as_json(arguments: str) -> bytes:
    """Arguments as they stand. The model may write what is none, and must be shown what it wrote in an object:
    https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming
    """
    try:
        jsontext.load(arguments.encode())
    except ValueError:
        return jsontext.dump({"INVALID_JSON": arguments})
    return arguments.encode()


class MessagesRound:
    """Reads one round's answer, and decides what the client gets of it."""

    def __init__(self, dialogue: ToolDialogue, merged: _Merged, context: Context) -> None:
        self._reader = MessagesReader()
        self.answer = self._reader.answer
        self._dialogue = dialogue
        self._merged = merged
        self._context = context
        self._blocks: dict[int, _Block] = {}
        self._raw: list[tuple[bytes, bool]] = []

    def skips(self, frame: bytes) -> bool:
        """Nothing: all of it may be needed for the next round's request."""
        return False

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        blocks = self._said()
        self._merged.numbering.end_round(sum(visible for _, visible in blocks))
        self._merged.bodies += [block for block, visible in self._raw if visible]
        return HiddenRound(
            json_splice.join(block for block, _ in blocks),
            json_splice.join(map(_result_block, results)),
            tuple(self._anchors_of(block) if visible else () for block, visible in blocks),
        )

    def anchors(self) -> list[str]:
        return [anchor for block, visible in self._said() if visible for anchor in self._anchors_of(block)]

    def _said(self) -> list[tuple[bytes, bool]]:
        """What the model said, block by block, and whether the client gets it."""
        return self._raw or [(block.raw(), block.visible) for block in self._blocks.values()]

    def _anchors_of(self, block: bytes) -> tuple[str, ...]:
        return block_anchors(jsontext.load_object(block) or {}, self._context)

    def read_event(self, data: bytes) -> Verdict:
        event = jsontext.load_object(data)
        if event is None:
            return PASS
        verdict = self._reader.read(event)
        return attempt(lambda: self._judge(event, data, verdict), verdict)

    def _judge(self, event: JsonObject, data: bytes, verdict: Verdict) -> Verdict:
        kind = event.get("type")
        if kind == "message_start":
            return self._start()
        if kind in ("content_block_start", "content_block_delta", "content_block_stop"):
            return self._block_event(event, data)
        if kind == "message_delta":
            return self._message_delta(event, data)
        if kind == "message_stop" and self._dialogue.goes_on:
            return DROP_LAST
        return verdict

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        verdict = self._reader.read_body(body, raw)
        return attempt(lambda: self._judge_body(body, raw), verdict) if "content" in body else verdict

    def _judge_body(self, body: JsonObject, raw: bytes) -> Verdict:
        texts = json_splice.elements(json_splice.member_text(raw, "content") or b"[]")
        blocks = [jsontext.load_object(block) or {} for block in texts]
        self._raw = [(block_text, not self._is_ours(block)) for block_text, block in zip(texts, blocks, strict=True)]
        self._end(body.get("stop_reason"), blocks)
        self._dialogue.client_id = self.answer.response_id
        return DROP_LAST if self._dialogue.goes_on else self._whole(raw)

    def _whole(self, raw: bytes) -> Verdict:
        """The body with the blocks of all rounds; the provider's own bytes where nothing was hidden."""
        shown = [block for block, visible in self._raw if visible]
        if not self._dialogue.is_later and len(shown) == len(self._raw):
            return LAST
        raw = json_splice.set_member(raw, "content", json_splice.join([*self._merged.bodies, *shown]))
        usage = self._dialogue.total_usage(self.answer.usage)
        return Verdict(last=True, data=json_splice.set_member(raw, "usage", usage))

    def _start(self) -> Verdict:
        if self._dialogue.is_later:
            return DROP
        self._dialogue.client_id = self.answer.response_id
        return PASS

    def _block_event(self, event: JsonObject, data: bytes) -> Verdict:
        at = int_or_none(event.get("index"))
        if at is None:
            return PASS
        if event["type"] == "content_block_start":
            self._open(at, event.get("content_block"))
        delta = event.get("delta")
        if at in self._blocks and event["type"] == "content_block_delta" and isinstance(delta, dict):
            self._blocks[at].grow(delta)
        numbering = self._merged.numbering
        if at in numbering.hidden:
            return DROP
        place = numbering.place(at)
        return PASS if place == at else Verdict(data=json_splice.set_member(data, "index", b"%d" % place))

    def _open(self, at: int, content: object) -> None:
        block = self._blocks[at] = _Block(dict(content) if isinstance(content, dict) else {})
        if self._is_ours(block.fields):
            block.visible = False
            self._merged.numbering.hidden.add(at)

    def _is_ours(self, block: Mapping[str, Any]) -> bool:
        return block.get("type") == "tool_use" and nonempty_str(block.get("name")) in self._dialogue.tools

    def _message_delta(self, event: JsonObject, data: bytes) -> Verdict:
        delta = event.get("delta")
        blocks = [block.fields for block in self._blocks.values()]
        self._end(delta.get("stop_reason") if isinstance(delta, dict) else None, blocks)
        if self._dialogue.goes_on:
            return DROP
        if not self._dialogue.is_later:
            return PASS
        return Verdict(data=json_splice.set_member(data, "usage", self._dialogue.total_usage(self.answer.usage)))

    def _end(self, stop_reason: object, blocks: Iterable[Mapping[str, Any]]) -> None:
        ours = [block for block, visible in self._said() if not visible]
        made = [self._call(jsontext.load(block), block) for block in ours] if stop_reason == "tool_use" else []
        calls = (block for block in blocks if block.get("type") == "tool_use")
        self._dialogue.end_round(made, only_ours=all(self._is_ours(call) for call in calls))

    def _call(self, block: JsonObject, raw: bytes) -> InjectedCall:
        tool = self._dialogue.tools.get(str(block.get("name")))
        if tool is None:
            raise ValueError("a delta has changed the name of a tool that was called")
        arguments = json_splice.member_text(raw, "input") or b"{}"
        return InjectedCall(str(block.get("id")), tool, arguments.decode())


def _result_block(result: ToolResult) -> bytes:
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": result.call.id,
        "content": [_result_part(part) for part in result.content],
    }
    return jsontext.dump(block | ({"is_error": True} if result.error is not None else {}))


def _result_part(part: ResultPart) -> dict[str, Any]:
    if part["type"] == "image":
        return {"type": "image", "source": {"type": "base64", "media_type": part["mime_type"], "data": part["data"]}}
    return {"type": "text", "text": part["text"]}


# Tools


def _with_tools(body: bytes, request: JsonObject, tools: Sequence[InjectedTool]) -> bytes:
    """The gateway's tools before the client's own, whose breakpoints then still close the whole list."""
    if not tools or _continues_thread(request):
        return body
    own = json_splice.member_text(body, "tools") if isinstance(request.get("tools"), list) else b"[]"
    offered = [
        jsontext.dump({"name": tool.name, "description": tool.description, "input_schema": tool.schema})
        for tool in tools
    ]
    return json_splice.set_member(body, "tools", json_splice.join([*offered, *json_splice.elements(own or b"[]")]))


def _continues_thread(request: JsonObject) -> bool:
    thread = request.get("thread")
    return isinstance(thread, dict) and thread.get("type") == "continue"


def _may_offer(request: JsonObject) -> bool:
    output = request.get("output_config")
    structured = request.get("output_format") or (output.get("format") if isinstance(output, dict) else None)
    if _continues_thread(request) or is_housekeeping(request):
        return False
    return not structured or bool(request.get("tools"))


def _forbids(request: JsonObject) -> bool:
    choice = request.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") == "none"


def _is_bound(request: JsonObject) -> bool:
    blocks = (block for message in objects(request.get("messages")) for block in objects(message.get("content")))
    return any(block.get("type") in ("thinking", "redacted_thinking") for block in blocks)


MESSAGES_TOOLS = ToolSupport(
    may_offer=_may_offer, forbids=_forbids, anchors=anchors, bound=_is_bound, dialogue=dialogue
)

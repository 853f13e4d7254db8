"""Rounds of the Messages API: calls are ``tool_use`` blocks, results stand in the next message of the user.

https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from attrs import Factory, define

from . import json_splice, jsontext
from .formats import DROP, DROP_LAST, LAST, PASS, Json, Verdict, dicts, text
from .messages import MessagesReader
from .messages_past import anchors, block_anchor, context_of, with_past
from .rounds import (
    CallResult,
    HiddenRound,
    InjectedCall,
    Recollection,
    Tool,
    ToolSupport,
    Turn,
    id_anchor,
    sum_usage,
    with_raw,
)

_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class MessagesDialogue:
    """One request and its answer; see `rounds.Dialogue`."""

    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, body: bytes, request: Json, tools: Sequence[Tool], past: Recollection) -> None:
        self.names = frozenset(tool.name for tool in tools)
        self.calls: Sequence[InjectedCall] = ()
        self.goes_on = False
        self.begun = False
        self.client_id: str | None = None
        self.visible = 0
        """How many content blocks the client has got."""
        self.usages: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        """Content blocks that the client will get, of an answer that isn't streamed."""
        self._context = context_of(dicts(request.get("messages")))
        self._rounds: list[HiddenRound] = []
        self._last: MessagesRound | None = None
        self._body = with_past(_with_tools(body, request, tools), request, past)

    def request(self) -> bytes:
        return self._body

    def listen(self) -> "MessagesRound":
        self.calls, self.goes_on = (), False
        self._last = MessagesRound(self)
        return self._last

    def end_round(self, calls: Sequence[InjectedCall], only_ours: bool) -> None:
        """The model has spoken: these are the gateway's calls among what it said."""
        self.calls = calls
        self.goes_on = bool(calls) and only_ours

    def add_results(self, results: Sequence[CallResult]) -> None:
        assert self._last is not None
        blocks = self._last.blocks()
        hidden = HiddenRound(
            json_splice.join(block for block, _ in blocks),
            json_splice.join(map(_result_block, results)),
            tuple(block_anchor(orjson.loads(block), self._context) if visible else "" for block, visible in blocks),
        )
        self._rounds.append(hidden)
        if self.goes_on:
            self._body = self._next_request(hidden)

    def turn(self) -> Turn | None:
        if self._last is None:
            return None
        last = () if self.calls else tuple(self._last.anchors(self._context))
        anchors = [anchor for hidden in self._rounds for anchor in hidden.visible if anchor]
        return Turn(
            anchors=(*anchors, *last, *([id_anchor(self.client_id)] if self.client_id else [])),
            rounds=tuple(self._rounds),
            pending=bool(self.calls) and not self.goes_on,
            client_id=self.client_id,
            provider_id=self._last.answer.response_id,
        )

    def _next_request(self, hidden: HiddenRound) -> bytes:
        assistant = with_raw({"role": "assistant"}, "content", hidden.assistant)
        results = with_raw({"role": "user"}, "content", hidden.results)
        if jsontext.load(self._body).get("thread") is not None:
            return self._continued(results)
        messages = json_splice.member_text(self._body, "messages") or b"[]"
        grown = json_splice.join([*json_splice.elements(messages), assistant, results])
        return json_splice.set_member(self._body, "messages", grown)

    def _continued(self, results: bytes) -> bytes:
        """A thread at the provider knows all but the results."""
        assert self._last is not None
        body = self._body
        for key in ("tools", "system"):
            body = json_splice.remove_member(body, key)
        thread = orjson.dumps({"type": "continue", "previous_message_id": self._last.answer.response_id})
        return json_splice.set_member(
            json_splice.set_member(body, "thread", thread), "messages", json_splice.join([results])
        )


@define
class _Block:
    """A content block as the provider builds it up."""

    content: dict[str, Any]
    visible: bool
    place: int | None
    arguments: list[str] = Factory(list)

    def grow(self, delta: Mapping[str, Any]) -> None:
        kind = delta.get("type")
        if kind == "input_json_delta":
            self.arguments.append(text(delta.get("partial_json")) or "")
        elif kind == "citations_delta":
            self.content["citations"] = [*(self.content.get("citations") or []), delta.get("citation")]
        else:
            for key in delta.keys() - {"type"}:
                name = _APPENDED.get(str(kind), key)
                before = self.content.get(name)
                both_text = isinstance(before, str) and isinstance(delta[key], str)
                self.content[name] = before + delta[key] if both_text else delta[key]

    def raw(self) -> bytes:
        """Its JSON; arguments keep the text that the model wrote."""
        if not self.arguments:
            return orjson.dumps(self.content)
        arguments = "".join(self.arguments) or "{}"
        return with_raw({k: v for k, v in self.content.items() if k != "input"}, "input", arguments.encode())


class MessagesRound:
    """Reads one round's answer, and decides what the client gets of it."""

    def __init__(self, dialogue: MessagesDialogue) -> None:
        self._reader = MessagesReader()
        self.answer = self._reader.answer
        self._dialogue = dialogue
        self._blocks: dict[object, _Block] = {}
        self._raw: list[tuple[bytes, bool]] = []

    def skips(self, frame: bytes) -> bool:
        """Nothing: all of it may be needed for the next round's request."""
        return False

    def blocks(self) -> list[tuple[bytes, bool]]:
        """What the model said, block by block, and whether the client gets it."""
        return self._raw or [(block.raw(), block.visible) for block in self._blocks.values()]

    def anchors(self, context: str) -> Iterator[str]:
        """What the client will send back of it."""
        for block, visible in self.blocks():
            if visible and (anchor := block_anchor(orjson.loads(block), context)):
                yield anchor

    def read_event(self, data: bytes) -> Verdict:
        event = jsontext.load_object(data)
        if event is None:
            return PASS
        self._reader.read(event)
        kind = event.get("type")
        if kind == "message_start":
            return self._start()
        if kind in ("content_block_start", "content_block_delta", "content_block_stop"):
            return self._block_event(event, data)
        if kind == "message_delta":
            return self._message_delta(event, data)
        if kind == "message_stop":
            return DROP_LAST if self._dialogue.goes_on else LAST
        return LAST if kind == "error" else PASS

    def read_body(self, body: Json, raw: bytes) -> Verdict:
        verdict = self._reader.read_body(body, raw)
        if self.answer.error:
            return verdict
        dialogue = self._dialogue
        parsed = dicts(body.get("content"))
        elements = json_splice.elements(json_splice.member_text(raw, "content") or b"[]")
        self._raw = [(element, not self._is_ours(block)) for element, block in zip(elements, parsed, strict=True)]
        self._end(body.get("stop_reason"), [block for block in parsed if block.get("type") == "tool_use"])
        dialogue.client_id = self.answer.response_id
        dialogue.bodies += [block for block, visible in self._raw if visible]
        if dialogue.goes_on:
            return DROP_LAST
        return self._whole(raw)

    def _whole(self, raw: bytes) -> Verdict:
        """The body with the blocks of all rounds; the provider's own bytes where nothing was hidden."""
        dialogue = self._dialogue
        if len(dialogue.usages) == 1 and len(dialogue.bodies) == len(self._raw):
            return LAST
        raw = json_splice.set_member(raw, "content", json_splice.join(dialogue.bodies))
        return Verdict(last=True, data=json_splice.set_member(raw, "usage", orjson.dumps(sum_usage(dialogue.usages))))

    def _start(self) -> Verdict:
        if self._dialogue.begun:
            return DROP
        self._dialogue.begun = True
        self._dialogue.client_id = self.answer.response_id
        return PASS

    def _block_event(self, event: Json, data: bytes) -> Verdict:
        index = event.get("index")
        if event["type"] == "content_block_start":
            self._blocks[index] = self._open(event.get("content_block"))
        block = self._blocks.get(index)
        if block is None:
            return PASS
        delta = event.get("delta")
        if event["type"] == "content_block_delta" and isinstance(delta, dict):
            block.grow(delta)
        if block.place is None:
            return DROP
        if block.place == index:
            return PASS
        return Verdict(data=json_splice.set_member(data, "index", b"%d" % block.place))

    def _open(self, content: object) -> _Block:
        content = content if isinstance(content, dict) else {}
        if self._is_ours(content):
            return _Block(dict(content), False, None)
        place = self._dialogue.visible
        self._dialogue.visible += 1
        return _Block(dict(content), True, place)

    def _is_ours(self, block: Mapping[str, Any]) -> bool:
        return block.get("type") == "tool_use" and block.get("name") in self._dialogue.names

    def _message_delta(self, event: Json, data: bytes) -> Verdict:
        delta = event.get("delta")
        calls = [block.content for block in self._blocks.values() if block.content.get("type") == "tool_use"]
        self._end(delta.get("stop_reason") if isinstance(delta, dict) else None, calls)
        if self._dialogue.goes_on:
            return DROP
        if len(self._dialogue.usages) == 1:
            return PASS
        return Verdict(data=json_splice.set_member(data, "usage", orjson.dumps(sum_usage(self._dialogue.usages))))

    def _end(self, stop_reason: object, calls: Iterable[Mapping[str, Any]]) -> None:
        ours = [block for block, visible in self.blocks() if not visible]
        made = [_call(orjson.loads(block), block) for block in ours] if stop_reason == "tool_use" else []
        self._dialogue.usages.append(self.answer.usage)
        self._dialogue.end_round(made, only_ours=all(self._is_ours(call) for call in calls))


def _call(block: Json, raw: bytes) -> InjectedCall:
    arguments = json_splice.member_text(raw, "input") or b"{}"
    return InjectedCall(str(block.get("id")), str(block.get("name")), arguments.decode())


def _result_block(result: CallResult) -> bytes:
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": result.call.id,
        "content": [_result_part(part) for part in result.parts],
    }
    return orjson.dumps(block | ({"is_error": True} if result.is_error else {}))


def _result_part(part: Mapping[str, str]) -> dict[str, Any]:
    if part["type"] == "image":
        return {"type": "image", "source": {"type": "base64", "media_type": part["mime_type"], "data": part["data"]}}
    return {"type": "text", "text": part["text"]}


# Tools


def _with_tools(body: bytes, request: Json, tools: Sequence[Tool]) -> bytes:
    """The gateway's tools before the client's own, whose breakpoints then still close the whole list."""
    if not tools or _continues_thread(request):
        return body
    own = json_splice.member_text(body, "tools") if isinstance(request.get("tools"), list) else b"[]"
    offered = [
        orjson.dumps({"name": tool.name, "description": tool.description, "input_schema": tool.schema})
        for tool in tools
    ]
    return json_splice.set_member(body, "tools", json_splice.join([*offered, *json_splice.elements(own or b"[]")]))


def _continues_thread(request: Json) -> bool:
    thread = request.get("thread")
    return isinstance(thread, dict) and thread.get("type") == "continue"


def _may_offer(request: Json) -> bool:
    output = request.get("output_config")
    structured = request.get("output_format") or (output.get("format") if isinstance(output, dict) else None)
    housekeeping = "haiku" in str(request.get("model"))
    return not (_continues_thread(request) or (structured and not request.get("tools")) or housekeeping)


def _forbids(request: Json) -> bool:
    choice = request.get("tool_choice")
    return isinstance(choice, dict) and choice.get("type") == "none"


def _is_bound(request: Json) -> bool:
    blocks = (block for message in dicts(request.get("messages")) for block in dicts(message.get("content")))
    return any(block.get("type") in ("thinking", "redacted_thinking") for block in blocks)


MESSAGES_TOOLS = ToolSupport(
    may_offer=_may_offer, forbids=_forbids, anchors=anchors, bound=_is_bound, dialogue=MessagesDialogue
)

"""Providers and clients of every API, as far as conversations go: what each says, and how it tells it to the other.

What a model says is a list of parts: ``think(…)``, ``say(…)``, ``call(…)``.
"""

import json
from itertools import count

from attrs import Factory, define

from aibridge.wire.chat.rounds import CHAT_TOOLS
from aibridge.wire.history import KnownTurns
from aibridge.wire.messages.rounds import MESSAGES_TOOLS
from aibridge.wire.responses.rounds import RESPONSES_TOOLS
from aibridge.wire.sse import frame_data, make_frame
from aibridge.wire.tap import BodyTap, StreamTap
from aibridge.wire.tool_calls import InjectedTool, ToolResult

from .streams import frames

LIMIT = 1 << 24


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = tuple(
    InjectedTool(f"bmcp_sky_{name}", "sky", "https://sky.test/mcp", name, "of the gateway's", SCHEMA)
    for name in ("tides", "now")
)


def think(words):
    return {"kind": "think", "words": words}


def say(words):
    return {"kind": "say", "words": words}


def call(call_id, name, arguments='{"a": 1.0,"b":12345678901234567890123}'):
    return {"kind": "call", "id": call_id, "name": name, "arguments": arguments}


def ours(parts):
    return [part for part in parts if part["kind"] == "call" and part["name"].startswith("bmcp_")]


def calls(parts):
    return [part for part in parts if part["kind"] == "call"]


def events(stream):
    """The data of a stream's frames, read."""
    return [json.loads(data) for frame in frames(stream) if (data := frame_data(frame)) and data != b"[DONE]"]


class MessagesApi:
    """The Messages API."""

    support = MESSAGES_TOOLS
    history_key = "messages"

    def user(self, words):
        return [{"role": "user", "content": [{"type": "text", "text": words}]}]

    def results(self, answered):
        blocks = [{"type": "tool_result", "tool_use_id": one["id"], "content": "from the client"} for one in answered]
        return [{"role": "user", "content": blocks}]

    def block(self, part):
        if part["kind"] == "think":
            return {"type": "thinking", "thinking": part["words"], "signature": f"sig:{part['words']}"}
        if part["kind"] == "say":
            return {"type": "text", "text": part["words"]}
        return {"type": "tool_use", "id": part["id"], "name": part["name"], "input": json.loads(part["arguments"])}

    def said(self, parts):
        """Return the history's entries for the model's parts."""
        return [{"role": "assistant", "content": [self.block(part) for part in parts]}]

    def usage(self):
        return {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3}

    def total(self, rounds):
        return {"input_tokens": 10 * rounds, "output_tokens": 5 * rounds, "cache_read_input_tokens": 3 * rounds}

    def body(self, answer_id, parts, finish=None):
        finish = finish or ("tool_use" if calls(parts) else "end_turn")
        content = [self.block(part) for part in parts]
        whole = {"id": answer_id, "type": "message", "role": "assistant", "model": "m", "content": content}
        return json.dumps(whole | {"stop_reason": finish, "stop_sequence": None, "usage": self.usage()}).encode()

    def stream(self, answer_id, parts, finish=None):
        finish = finish or ("tool_use" if calls(parts) else "end_turn")
        head = {"id": answer_id, "type": "message", "role": "assistant", "model": "m", "content": []}
        head |= {"stop_reason": None, "usage": self.usage() | {"output_tokens": 1}}
        told = [{"type": "message_start", "message": head}]
        for at, part in enumerate(parts):
            told += self._block_events(at, part)
        told.append({"type": "message_delta", "delta": {"stop_reason": finish}, "usage": {"output_tokens": 5}})
        told.append({"type": "message_stop"})
        return b"".join(make_frame(json.dumps(event).encode(), event["type"].encode()) for event in told)

    def _block_events(self, at, part):
        whole = self.block(part)
        empty = {**whole, **{key: "" for key in ("thinking", "signature", "text") if key in whole}}
        if part["kind"] == "call":
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _halves(part["arguments"])]
            empty["input"] = {}
        elif part["kind"] == "say":
            deltas = [{"type": "text_delta", "text": piece} for piece in _halves(part["words"])]
        else:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _halves(part["words"])]
            deltas.append({"type": "signature_delta", "signature": whole["signature"]})
        middle = [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        start = {"type": "content_block_start", "index": at, "content_block": empty}
        return [start, *middle, {"type": "content_block_stop", "index": at}]

    def collect(self, stream):
        """Return the whole answer that a client puts together from a stream."""
        message, blocks, pieces = {}, [], {}
        for event in events(stream):
            if event["type"] == "message_start":
                assert not message, "a second start"
                message = event["message"]
            elif event["type"] == "content_block_start":
                assert event["index"] == len(blocks), "a gap in the indexes"
                blocks.append(event["content_block"])
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                block = blocks[event["index"]]
                if delta["type"] == "input_json_delta":
                    pieces.setdefault(event["index"], []).append(delta["partial_json"])
                else:
                    key = delta["type"].removesuffix("_delta")
                    block[key] = block[key] + delta[key]
            elif event["type"] == "message_delta":
                message = {**message, **event["delta"], "usage": {**message["usage"], **event["usage"]}}
        for at, texts in pieces.items():
            blocks[at]["input"] = json.loads("".join(texts))
        return {**message, "content": blocks}

    def answered(self, whole):
        """The entries that a client adds to its history."""
        return [{"role": "assistant", "content": whole["content"]}]


class ChatApi:
    """Chat Completions."""

    support = CHAT_TOOLS
    history_key = "messages"

    def user(self, words):
        return [{"role": "user", "content": words}]

    def results(self, answered):
        return [{"role": "tool", "tool_call_id": one["id"], "content": "from the client"} for one in answered]

    def _call(self, part):
        function = {"name": part["name"], "arguments": part["arguments"]}
        return {"id": part["id"], "type": "function", "function": function, "extra_content": {"seal": part["id"]}}

    def said(self, parts):
        words = "".join(part["words"] for part in parts if part["kind"] == "say")
        thoughts = "".join(part["words"] for part in parts if part["kind"] == "think")
        message = {"role": "assistant", "content": words or None}
        message |= {"reasoning_content": thoughts} if thoughts else {}
        return [message | ({"tool_calls": [self._call(part) for part in calls(parts)]} if calls(parts) else {})]

    def usage(self):
        return {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}

    def total(self, rounds):
        details = {"cached_tokens": 2 * rounds}
        return {"prompt_tokens": 10 * rounds, "completion_tokens": 5 * rounds, "prompt_tokens_details": details}

    def body(self, answer_id, parts, finish=None):
        finish = finish or ("tool_calls" if calls(parts) else "stop")
        choice = {"index": 0, "message": self.said(parts)[0], "logprobs": None, "finish_reason": finish}
        whole = {"id": answer_id, "object": "chat.completion", "created": _created(answer_id), "model": "m"}
        return json.dumps(whole | {"choices": [choice], "usage": self.usage()}).encode()

    def stream(self, answer_id, parts, finish=None):
        finish = finish or ("tool_calls" if calls(parts) else "stop")
        deltas = [{"role": "assistant", "content": ""}]
        for part in parts:
            if part["kind"] != "call":
                key = "content" if part["kind"] == "say" else "reasoning_content"
                deltas += [{key: piece} for piece in _halves(part["words"])]
        deltas += self._call_deltas(calls(parts))
        choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        choices.append([{"index": 0, "delta": {}, "finish_reason": finish}])
        head = {"id": answer_id, "object": "chat.completion.chunk", "created": _created(answer_id), "model": "m"}
        told = [{**head, "choices": one, "usage": None} for one in choices]
        told.append({**head, "choices": [], "usage": self.usage()})
        return b"".join(make_frame(json.dumps(chunk).encode()) for chunk in told) + b"data: [DONE]\n\n"

    def _call_deltas(self, made):
        """The calls' heads, then a chunk with a piece of each, then the rest."""
        heads = [{"index": at, **self._call(part)} for at, part in enumerate(made)]
        for head in heads:
            head["function"] = {"name": head["function"]["name"], "arguments": ""}
        pieces = [_halves(part["arguments"]) for part in made]
        firsts = [{"index": at, "function": {"arguments": piece[0]}} for at, piece in enumerate(pieces)]
        lasts = [{"index": at, "function": {"arguments": piece[1]}} for at, piece in enumerate(pieces)]
        together = [{"tool_calls": firsts}] if firsts else []
        return [{"tool_calls": [one]} for one in heads] + together + [{"tool_calls": [one]} for one in lasts]

    def collect(self, stream):
        assert stream.count(b"data: [DONE]") == 1
        message, made, heads, finish, usage = {}, [], set(), None, None
        for chunk in events(stream):
            heads.add((chunk["id"], chunk["created"]))
            usage = chunk["usage"] or usage
            for choice in chunk["choices"]:
                assert finish is None, "something after the end"
                finish = choice["finish_reason"]
                for key, value in choice["delta"].items():
                    if key == "tool_calls":
                        self._grow(made, value)
                    else:
                        assert key != "role" or key not in message, "a second role"
                        message[key] = (message.get(key) or "") + value
        assert len(heads) == 1, "more than one id"
        message["content"] = message["content"] or None
        message |= {"tool_calls": made} if made else {}
        return {"id": heads.pop()[0], "choices": [{"message": message, "finish_reason": finish}], "usage": usage}

    def _grow(self, made, pieces):
        for piece in pieces:
            if piece["index"] == len(made):
                made.append({key: value for key, value in piece.items() if key != "index"})
            else:
                made[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]

    def answered(self, whole):
        return [whole["choices"][0]["message"]]


class ResponsesApi:
    """The Responses API."""

    support = RESPONSES_TOOLS
    history_key = "input"

    def user(self, words):
        return [{"role": "user", "content": [{"type": "input_text", "text": words}]}]

    def results(self, answered):
        return [{"type": "function_call_output", "call_id": one["id"], "output": "from the client"} for one in answered]

    def item(self, part):
        if part["kind"] == "think":
            summary = [{"type": "summary_text", "text": part["words"]}]
            seal = f"sealed {part['words']}"
            return {"id": f"rs_{part['words']}", "type": "reasoning", "summary": summary, "encrypted_content": seal}
        if part["kind"] == "say":
            content = [{"type": "output_text", "annotations": [], "logprobs": [], "text": part["words"]}]
            head = {"id": f"msg_{part['words']}", "type": "message", "status": "completed", "role": "assistant"}
            return {**head, "content": content}
        head = {"id": f"fc_{part['id']}", "type": "function_call", "status": "completed", "call_id": part["id"]}
        return {**head, "name": part["name"], "arguments": part["arguments"]}

    def said(self, parts):
        return [self.item(part) for part in parts]

    def usage(self):
        return {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 2}}

    def total(self, rounds):
        details = {"cached_tokens": 2 * rounds}
        return {"input_tokens": 10 * rounds, "output_tokens": 5 * rounds, "input_tokens_details": details}

    def _response(self, answer_id, parts, status):
        head = {"id": answer_id, "object": "response", "created_at": 1, "status": status, "model": "m"}
        rest = {"error": None, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [{"type": "function"}]}
        usage = self.usage() if status != "in_progress" else None
        return {**head, **rest, "output": self.said(parts), "usage": usage}

    def body(self, answer_id, parts, finish=None):
        return json.dumps(self._response(answer_id, parts, finish or "completed")).encode()

    def stream(self, answer_id, parts, finish=None):
        finish = finish or "completed"
        begun = self._response(answer_id, [], "in_progress")
        told = [{"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")]
        for at, part in enumerate(parts):
            told += self._item_events(at, self.item(part))
        told.append({"type": f"response.{finish}", "response": self._response(answer_id, parts, finish)})
        numbered = [{"type": event["type"], "sequence_number": at, **event} for at, event in enumerate(told)]
        return b"".join(make_frame(_compact(event), event["type"].encode()) for event in numbered)

    def _item_events(self, at, item):
        head = {"item_id": item["id"], "output_index": at}
        empty = {**item, **{key: [] for key in ("content", "summary") if key in item}}
        middle = []
        if item["type"] == "function_call":
            empty["arguments"] = ""
            kind = "response.function_call_arguments"
            middle = [{"type": f"{kind}.delta", **head, "delta": piece} for piece in _halves(item["arguments"])]
            middle.append({"type": f"{kind}.done", **head, "arguments": item["arguments"]})
        elif item["type"] == "message":
            head = {**head, "content_index": 0}
            part = item["content"][0]
            middle = [{"type": "response.content_part.added", **head, "part": {**part, "text": ""}}]
            kind = "response.output_text"
            middle += [{"type": f"{kind}.delta", **head, "delta": p, "logprobs": []} for p in _halves(part["text"])]
            middle.append({"type": f"{kind}.done", **head, "text": part["text"], "logprobs": []})
            middle.append({"type": "response.content_part.done", **head, "part": part})
        start = {"type": "response.output_item.added", "output_index": at, "item": empty}
        return [start, *middle, {"type": "response.output_item.done", "output_index": at, "item": item}]

    def collect(self, stream):
        done, whole, ids = [], None, set()
        for at, event in enumerate(events(stream)):
            assert event["sequence_number"] == at, "a gap in the numbers"
            assert (event["type"] == "response.created") == (at == 0), "a start amid the answer"
            if "response" in event:
                ids.add(event["response"]["id"])
                whole = event["response"]
            elif event["type"] == "response.output_item.done":
                assert event["output_index"] == len(done), "a gap in the indexes"
                done.append(event["item"])
            else:
                assert event["output_index"] == len(done), "an event of another item"
        assert len(ids) == 1, "more than one id"
        assert whole["output"] == done, "the whole is not what was streamed"
        return whole

    def answered(self, whole):
        return whole["output"]


APIS = (MessagesApi(), ChatApi(), ResponsesApi())


@define
class Exchange:
    """A client's conversation through the gateway with a provider that checks what it is sent.

    The provider remembers each request and what it said to it: in later requests all of that must stand again.
    """

    api: object
    streaming: bool
    more: dict = Factory(dict)
    """Further members of the client's requests."""
    history: list = Factory(list)
    """As the client knows it."""
    seen: list = Factory(list)
    """As the provider knows it."""
    turns: list = Factory(list)
    bodies: list = Factory(list)
    """All that the provider was sent."""
    ids: object = Factory(count)

    def turn(self, entries, rounds):
        """The client's next request, and its answer over these rounds."""
        self.history += entries
        dialogue = self.dialogue()
        told = b"".join([self._round(dialogue, parts) for parts in rounds])
        turn = dialogue.turn()
        self.turns.append(turn)
        whole = self.api.collect(told) if self.streaming else json.loads(told)
        self.history += json.loads(json.dumps(self.api.answered(whole)))
        return whole

    def dialogue(self):
        request = {"model": "m", "stream": self.streaming, self.api.history_key: self.history, **self.more}
        if self.api.support is CHAT_TOOLS and self.streaming:
            request["stream_options"] = {"include_usage": True}
        past = KnownTurns(self.turns)
        return self.api.support.dialogue(json.dumps(request).encode(), request, TOOLS, past)

    def _round(self, dialogue, parts):
        self._check(dialogue.request())
        answer_id = f"answer_{next(self.ids)}"
        told = play(dialogue, self.api, answer_id, parts, self.streaming)
        self.seen = [*self.seen, *self.api.said(parts)]
        if dialogue.calls:
            made = [(one.id, one.tool.name, json.loads(one.arguments)) for one in dialogue.calls]
            assert made == [(one["id"], one["name"], json.loads(one["arguments"])) for one in ours(parts)]
            dialogue.add_results(results_of(dialogue.calls))
        return told

    def _check(self, body):
        self.bodies.append(body)
        sent = _plain(json.loads(body)[self.api.history_key])
        assert sent[: len(self.seen)] == self.seen, f"\n{sent}\nis not what was, \n{self.seen}"
        check_pairs(sent)
        self.seen = sent


def results_of(made):
    return [ToolResult(one, [{"type": "text", "text": f"result of {one.tool.name} {one.id}"}]) for one in made]


def play(dialogue, api, answer_id, parts, streaming, finish=None):
    """Play one round. Return the bytes that the client gets."""
    if streaming:
        tap = StreamTap(dialogue.new_reader(), LIMIT)
        told = tap.feed(api.stream(answer_id, parts, finish))
    else:
        tap = BodyTap(dialogue.new_reader(), LIMIT)
        told = tap.feed(api.body(answer_id, parts, finish))
    tap.close()
    return told + tap.release()


def check_pairs(history):
    """Every call has one result, right behind it and no other."""
    waiting = []
    for entry in history:
        answered = _answers(entry)
        assert all(one in waiting for one in answered), f"a result of nothing: {answered}"
        waiting = [one for one in waiting if one not in answered]
        made = _made(entry)
        assert not waiting or not made or entry.get("type") == "function_call", f"no result: {waiting}"
        waiting += made
    assert not waiting, f"no result: {waiting}"


def _made(entry):
    blocks = entry["content"] if isinstance(entry.get("content"), list) else []
    made = [block["id"] for block in blocks if block.get("type") == "tool_use"]
    made += [one["id"] for one in entry.get("tool_calls") or ()]
    return made + ([entry["call_id"]] if entry.get("type") == "function_call" else [])


def _answers(entry):
    blocks = entry["content"] if isinstance(entry.get("content"), list) else []
    answers = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
    answers += [entry["tool_call_id"]] if entry.get("role") == "tool" else []
    return answers + ([entry["call_id"]] if entry.get("type") == "function_call_output" else [])


def _plain(value):
    """Without cache breakpoints, which bind nothing."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "cache_control"}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _compact(event):
    return json.dumps(event, separators=(",", ":")).encode()


def _created(answer_id):
    return 1_767_225_600 + int(answer_id.rpartition("_")[2])


def _halves(whole):
    return whole[: len(whole) // 2], whole[len(whole) // 2 :]

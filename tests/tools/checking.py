"""The demands of real providers on a conversation, as the script of a `FakeProvider`."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any, Protocol

import orjson
from attrs import evolve

from aibridge.testing import Question, RawReply, Reply, Usage
from aibridge.testing.chat import CHAT
from aibridge.testing.exchange import Format
from aibridge.testing.messages import MESSAGES
from aibridge.testing.responses import RESPONSES

Json = dict[str, Any]

USAGE = Usage(input=10, output=5)
"""The figures of every round, where a reply has none of its own."""
_MOST_BREAKPOINTS = 4


class Refused(Exception):
    """A request that a real provider would refuse."""

    def __init__(self, message: str, status: int = 400, code: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Exam(Protocol):
    """The demands of one API."""

    form: Format

    def read(self, document: Json) -> Json:
        """Return the conversation as the model sees it. Raise `Refused` if it is wrong."""

    def learn(self, conversation: Json, body: Json) -> None:
        """Keep what later requests are checked against, after this response."""

    def refusal(self, refused: Refused) -> Json:
        """Return the error as the API's body."""


class Examiner:
    """Sends the next of its replies to each correct request, and 400 to a wrong one."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """The mistakes in all requests."""
        self.documents: list[Json] = []
        """The bodies of all requests."""
        self.sayings: deque[Reply | RawReply] = deque()
        self._numbers = count(1)
        self._exams = {"messages": MessagesExam(), "responses": ResponsesExam(), "completions": ChatExam()}

    def say(self, *sayings: Reply | RawReply) -> None:
        """Add the next replies, one a round."""
        self.sayings.extend(sayings)

    def __call__(self, question: Question) -> Reply | RawReply:
        self.documents.append(question.document)
        exam: Exam = self._exams[question.request.uri.partition(b"?")[0].rpartition(b"/")[2].decode()]
        try:
            return self._answer(exam, question)
        except Refused as refused:
            self.problems.append(str(refused))
            body = orjson.dumps(exam.refusal(refused))
            return RawReply(status=refused.status, headers={"content-type": "application/json"}, chunks=[body])

    def _answer(self, exam: Exam, question: Question) -> Reply | RawReply:
        conversation = exam.read(question.document)
        demand(self.sayings, "one request too many")
        said = self.sayings.popleft()
        if isinstance(said, Reply):
            said = _settled(said, exam.form, next(self._numbers))
            exam.learn(conversation, exam.form.body(said, question))
        return said


def _settled(reply: Reply, form: Format, number: int) -> Reply:
    """Return the reply with unique ids."""
    calls = [
        evolve(call, id=call.id or f"{form.call_id_prefix}{number:03d}{place}")
        for place, call in enumerate(reply.tool_calls)
    ]
    return evolve(reply, id=reply.id or f"{form.id_prefix}{number:03d}", tool_calls=calls, usage=reply.usage or USAGE)


def demand(holds: object, message: str) -> None:
    """Raise `Refused` if the condition is false."""
    if not holds:
        raise Refused(message)


class MessagesExam:
    """Anthropic: a thinking block holds only after what it was thought after; each call has its result right after it."""

    form = MESSAGES

    def __init__(self) -> None:
        self._seals: dict[str, str] = {}
        """Of each signature what stood before it."""
        self._threads: dict[str, Json] = {}

    def read(self, document: Json) -> Json:
        breakpoints = sum(1 for _ in _marked(document))
        demand(breakpoints <= _MOST_BREAKPOINTS, f"{breakpoints} blocks with cache_control")
        whole = self._in_thread(document)
        names = [tool["name"] for tool in whole.get("tools") or []]
        demand(len(names) == len({*names}), "tools: Tool names must be unique.")
        turns = _merged(whole["messages"])
        _check_results(turns)
        for position, turn in enumerate(turns):
            for block in turn["content"]:
                if block["type"] == "thinking":
                    sealed = self._seals.get(block["signature"])
                    demand(sealed == _prefix(whole, turns[:position]), f"messages.{position}: Invalid `signature`")
        return whole

    def learn(self, conversation: Json, body: Json) -> None:
        before = _prefix(conversation, _merged(conversation["messages"]))
        for block in body["content"]:
            if block["type"] == "thinking":
                self._seals[block["signature"]] = before
        if conversation.get("thread"):
            answer = {"role": "assistant", "content": body["content"]}
            self._threads[body["id"]] = conversation | {"messages": [*conversation["messages"], answer]}

    def refusal(self, refused: Refused) -> Json:
        details = {"details": {"error_code": refused.code}} if refused.status == 404 else {}
        kind = "not_found_error" if refused.status == 404 else refused.code
        return {"type": "error", "error": {"type": kind, "message": str(refused), **details}}

    def _in_thread(self, document: Json) -> Json:
        """https://docs.claude.com: a thread's id is continued once, and with new messages only."""
        thread = document.get("thread")
        if not thread or thread["type"] == "create":
            return document
        before = self._threads.pop(thread["previous_message_id"], None)
        if before is None:
            raise Refused("No such thread.", 404, "thread_not_found")
        demand(not {"tools", "system"} & document.keys(), "thread: tools and system are those of the thread")
        return before | {"messages": [*before["messages"], *document["messages"]]}


def _marked(value: Any) -> Iterator[Json]:
    """Return every object with a cache breakpoint."""
    if isinstance(value, dict):
        if value.get("cache_control"):
            yield value
        for member in value.values():
            yield from _marked(member)
    elif isinstance(value, list):
        for element in value:
            yield from _marked(element)


def _plain(value: Any) -> Any:
    """Return the value without cache breakpoints, which the model doesn't see."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items() if key != "cache_control"}
    return [_plain(element) for element in value] if isinstance(value, list) else value


def _merged(messages: Sequence[Json]) -> list[Json]:
    """Return the turns of a conversation: consecutive messages of a role are one turn."""
    turns: list[Json] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else _plain(content)
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message["role"], "content": [*blocks]})
    return turns


def _prefix(whole: Json, turns: Sequence[Json]) -> str:
    seen = [_plain(whole.get("system")), _plain(whole.get("tools")), turns]
    return hashlib.sha256(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _check_results(turns: Sequence[Json]) -> None:
    nothing: Json = {"content": []}
    for before, turn in pairwise([nothing, *turns, nothing]):
        calls = sorted(block["id"] for block in before["content"] if block["type"] == "tool_use")
        kinds = [block["type"] for block in turn["content"]]
        results = sorted(block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result")
        demand(calls == results, f"tool_use {calls} is followed by tool_result {results}")
        demand(kinds[: len(results)] == ["tool_result"] * len(results), "tool_result blocks come first")


class ResponsesExam:
    """OpenAI: calls and outputs in pairs, reasoning beside what came of it, and no ids but its own."""

    form = RESPONSES

    def __init__(self) -> None:
        self._responses: dict[str, list[Json]] = {}
        """Of each stored response the whole conversation."""
        self._followers: dict[str, str | None] = {}
        """Of each reasoning item what came of it."""
        self._sealed: dict[str, str] = {}
        self._required: dict[str, str] = {}
        """Of each item that came of reasoning the reasoning's id."""

    def read(self, document: Json) -> Json:
        given = document["input"]
        own = [{"role": "user", "content": given}] if isinstance(given, str) else given
        items = [*self._before(document.get("previous_response_id")), *own]
        _check_outputs(items)
        for item, following in pairwise([*items, {}]):
            if item.get("type") == "reasoning":
                self._check_reasoning(item, following)
        for item in own:
            if item.get("type") == "reasoning" and document.get("store") is False:
                demand(item.get("encrypted_content"), f"Item with id '{item['id']}' not found: nothing is persisted.")
                demand(item["encrypted_content"] == self._sealed[item["id"]], "reasoning is not what it was")
        for before, item in pairwise([{}, *own]):
            wanted = self._required.get(item.get("id", ""), before.get("id"))
            problem = f"Item '{item.get('id')}' was provided without its required 'reasoning' item: '{wanted}'."
            demand(wanted == before.get("id"), problem)
        return {"items": items, "stored": document.get("store") is not False}

    def learn(self, conversation: Json, body: Json) -> None:
        if conversation["stored"]:
            self._responses[body["id"]] = [*conversation["items"], *body["output"]]
        for item, following in pairwise([*body["output"], {}]):
            if item["type"] == "reasoning":
                self._followers[item["id"]] = _key(following)
                self._sealed[item["id"]] = item.get("encrypted_content")
                if following:
                    self._required[following["id"]] = item["id"]

    def refusal(self, refused: Refused) -> Json:
        return _as_openai(refused)

    def _before(self, previous: str | None) -> list[Json]:
        if previous is None:
            return []
        if previous not in self._responses:
            message = f"Previous response with id '{previous}' not found."
            raise Refused(message, 400, "previous_response_not_found")
        return self._responses[previous]

    def _check_reasoning(self, item: Json, following: Json) -> None:
        demand(item["id"] in self._followers, f"Item with id '{item['id']}' not found.")
        wanted = self._followers[item["id"]]
        demand(wanted == _key(following), f"'{item['id']}' was provided without its required following item.")


def _key(item: Json) -> str | None:
    """Return a key of an item that is the same with and without its id."""
    if item.get("content") and item.get("type", "message") == "message":
        content = item["content"]
        return content if isinstance(content, str) else "".join(part["text"] for part in content)
    return item.get("call_id")


def _check_outputs(items: Sequence[Json]) -> None:
    waiting: set[str] = set()
    for item in items:
        kind = item.get("type", "message")
        if kind.endswith("_call_output"):
            demand(item["call_id"] in waiting, f"No tool call found for call_id {item['call_id']}.")
            waiting.remove(item["call_id"])
        elif "call_id" in item:
            demand(item["call_id"] not in waiting, f"{item['call_id']} is there twice")
            waiting.add(item["call_id"])
    demand(not waiting, f"No tool output found for {sorted(waiting)}.")


class ChatExam:
    """OpenAI's chat completions: each call is followed at once by its result, and no other message."""

    form = CHAT

    def read(self, document: Json) -> Json:
        waiting: set[str] = set()
        for message in document["messages"]:
            if waiting or message["role"] == "tool":
                called = message.get("tool_call_id")
                demand(called in waiting, f"{called} ({message['role']}) where results of {sorted(waiting)} belong")
                waiting.remove(called)
            waiting |= {call["id"] for call in message.get("tool_calls") or []}
        demand(not waiting, f"tool_call_ids without response messages: {sorted(waiting)}")
        return document

    def learn(self, conversation: Json, body: Json) -> None:
        """Keep nothing: this API has no state."""

    def refusal(self, refused: Refused) -> Json:
        return _as_openai(refused)


def _as_openai(refused: Refused) -> Json:
    return {"error": {"message": str(refused), "type": "invalid_request_error", "param": None, "code": refused.code}}

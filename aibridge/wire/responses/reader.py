"""OpenAI's Responses API.

https://platform.openai.com/docs/api-reference/responses
Streams: https://platform.openai.com/docs/api-reference/responses-streaming
"""

import re

from attrs import evolve

from ...errors import GatewayError, ProviderError, encode
from .. import jsontext
from ..formats import HOLD, LAST, PASS, Answer, Thought, ToolCall, Verdict, WireFormat, error_name, parse_arguments
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
from ..lazy_document import newest_first
from ..prompts import LastTurn, own_words, read_last_turn, user_texts
from ..sse import make_frame
from ..usage import merge_usage, openai_token_counts

# The text of all deltas comes again in the item's `done` event, so no delta needs to be read.
_DELTA = re.compile(rb'event: (response\.[a-z_.]+\.delta)\ndata: \{"type":"\1"|\{"type":"response\.[a-z_.]+\.delta"')
"""The beginning of a delta, as a frame or as a message of a WebSocket."""
DELTA = re.compile(rb'\{"type":"(response\.[a-z_.]{1,80}\.delta)"')
"""The beginning of a delta as a message, and its type."""
_NUMBER = re.compile(rb'(?<!\\)"sequence_number": ?(\d{1,18})\b')
FIRST_EVENTS = ("response.created", "response.queued", "response.in_progress")
LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
ERROR = "error"
_INPUTS = ("arguments", "revised_prompt", "actions", "action", "operation", "code", "queries")
"""The members in which calls of the provider's own tools have their input; the first that is not empty counts."""
INSTRUCTIONS = ("additional_tools", "configuration_update")
"""Types of the items by which a client changes its instructions in mid-conversation, as developer messages do."""
_SEARCHES = "web_search_requests"
"""The counter of web searches, by the name that Anthropic's usage object has for it."""


class ResponsesReader:
    """Reads one answer as it passes."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._items_read: set[object] = set()
        """The items that have been read, by everything that tells them apart."""
        self._items_done = 0
        self._next_number = 0
        self._skipped = b""
        """The last frame that was not read; its number may be asked for."""

    @property
    def next_number(self) -> int:
        """The number after that of the last event; that of the last event itself if the answer ends with it."""
        skipped = _NUMBER.search(self._skipped)
        return max(self._next_number, int(skipped[1]) + 1 if skipped else 0)

    def skips(self, frame: bytes) -> bool:
        """Return True for deltas of every kind."""
        if _DELTA.match(frame) is None:
            return False
        self._skipped = frame
        return True

    def read_event(self, data: bytes) -> Verdict:
        """Read one event. The ``type`` in its data counts."""
        event = jsontext.load_object(data)
        return self.read(event) if event is not None else PASS

    def read(self, event: JsonObject) -> Verdict:
        """Read one event that is parsed already."""
        kind = event.get("type")
        response = event.get("response")
        if (number := int_or_none(event.get("sequence_number"))) is not None:
            self._next_number = number if kind == ERROR or kind in LAST_EVENTS else number + 1
        if kind == "response.output_item.done":
            place = int_or_none(event.get("output_index"))
            self._read_item(event.get("item"), self._items_done if place is None else place)
            self._items_done += 1
        elif kind in LAST_EVENTS:
            self._read_response(response if isinstance(response, dict) else {})
            return LAST
        elif kind == ERROR:
            self.answer.error = error_name(event.get("error") or {"type": event.get("code")})
            return HOLD
        elif kind and isinstance(response, dict):
            self._read_head(response)
        return PASS

    def end(self, whole: bool) -> Verdict:
        """Return PASS: without its last event an answer is not complete."""
        return PASS

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole response object, or the API's error object."""
        self._read_response(body)
        return LAST

    def _read_response(self, response: JsonObject) -> None:
        """Read a response object, which is a JSON body or stands in the last event of a stream."""
        self._read_head(response)
        usage = response.get("usage")
        if isinstance(usage, dict):
            merge_usage(self.answer.usage, usage)
        for place, item in enumerate(objects(response.get("output"))):
            self._read_item(item, place)
        if response.get("error") or response.get("status") == "failed":
            self.answer.error = self.answer.error or error_name(response.get("error"))
        self.answer.deferred = response.get("status") in ("queued", "in_progress")
        self.answer.finished = not self.answer.deferred

    def _read_head(self, response: JsonObject) -> None:
        answer = self.answer
        answer.response_id = nonempty_str(response.get("id")) or answer.response_id
        answer.served_model = nonempty_str(response.get("model")) or answer.served_model
        answer.service_tier = nonempty_str(response.get("service_tier")) or answer.service_tier

    def _read_item(self, item: object, place: int) -> None:
        """Add an item to the answer, if it is a thought or a tool call.

        A streamed item comes twice, when it is done and in the last event, and is added once. Items without a call id
        are also known by their place and content: some providers give an item another id in each event, or none.
        """
        if not isinstance(item, dict):
            return
        kind = nonempty_str(item.get("type")) or ""
        calls = [_tool_call(kind, item)] if kind.endswith("_call") or kind == "program" else []
        thoughts = _thoughts(kind, item)
        if not calls and not thoughts:
            return
        marks = _marks(item, place, [*((call.name, call.input) for call in calls), *(t.content for t in thoughts)])
        if self._items_read.isdisjoint(marks):
            self.answer.tool_calls += calls
            self.answer.thoughts += thoughts
            if kind == "web_search_call" and not _reads_a_page(item):
                counters = self.answer.counters
                counters[_SEARCHES] = counters.get(_SEARCHES, 0) + 1
        self._items_read.update(marks)


def _reads_a_page(item: JsonObject) -> bool:
    """Return True for the actions of the search tool that OpenAI does not charge as a search.

    https://platform.openai.com/docs/guides/tools-web-search#output-and-citations
    """
    action = item.get("action")
    return isinstance(action, dict) and action.get("type") in ("open_page", "find_in_page")


def _marks(item: JsonObject, place: int, content: object) -> list[object]:
    """Return everything that tells an item apart: its call's id, else its own id, and its place with its content."""
    if call_id := nonempty_str(item.get("call_id")):
        return [call_id]
    item_id = nonempty_str(item.get("id"))
    try:
        by_place = (place, jsontext.dump(content))
    except RecursionError:
        by_place = (place, b"")
    return [item_id, by_place] if item_id else [by_place]


def _thoughts(kind: str, item: JsonObject) -> list[Thought]:
    """Return the thoughts in an item: the summary of reasoning, its full text if the model shows it, and commentary."""
    parts: list[tuple[str, object]] = []
    if kind == "reasoning":
        parts = [("reasoning_summary", item.get("summary")), ("reasoning_text", item.get("content"))]
    elif kind == "message" and item.get("phase") == "commentary":
        parts = [("commentary", item.get("content"))]
    return [
        Thought(text, source)
        for source, texts in parts
        for part in objects(texts)
        if (text := nonempty_str(part.get("text")))
    ]


def _tool_call(kind: str, item: JsonObject) -> ToolCall:
    """Return the call in an item. A call of the provider's own tools has no name but its type."""
    metadata = {} if kind == "function_call" else {"type": kind}
    metadata |= {key: value for key in ("namespace", "server_label") if (value := nonempty_str(item.get(key)))}
    arguments = item.get("arguments")
    if kind == "custom_tool_call":
        arguments = item.get("input")
    elif isinstance(arguments, str):
        arguments = parse_arguments(arguments or "{}")
    else:
        arguments = next((member for key in _INPUTS if (member := item.get(key))), None)
    return ToolCall(
        id=nonempty_str(item.get("call_id")) or nonempty_str(item.get("id")),
        name=nonempty_str(item.get("name")) or kind.removesuffix("_call"),
        input=arguments,
        metadata=metadata,
    )


def last_turn(request: JsonObject) -> LastTurn:
    """Return the last turn of a request. The prompt is a string, or all text parts of the last message."""
    items = newest_first(request, "input")
    if items is None:
        text = request.get("input")
        return LastTurn((own_words(text) or None) if isinstance(text, str) else None)
    texts, tool_result_id = read_last_turn(items, _user_texts, tool_result_id_of)
    return LastTurn("\n".join(texts) or None, tool_result_id)


def _user_texts(item: JsonObject) -> list[str] | None:
    """Return the user's texts in an input item; see `prompts.user_texts`. An item without a type is a message."""
    kind = item.get("type", "message")
    if kind in INSTRUCTIONS:
        return None
    return user_texts(item, "input_text") if kind == "message" else []


def tool_result_id_of(item: JsonObject) -> object:
    """Return the id of the call that an output item answers, "" if it has none, None for other items.

    Tools are searched by the client or, then often without a call's id, by the provider.
    https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
    """
    kind = str(item.get("type"))
    if kind == "tool_search_output":
        return item.get("call_id")
    if not kind.endswith("_call_output"):
        return None
    named = item.get("id") if kind == "local_shell_call_output" else None  # its `id` is that of the call
    return item.get("call_id") or named or ""


def error_frame(error: GatewayError, number: int) -> bytes:
    """Return the API's error event: https://platform.openai.com/docs/api-reference/responses-streaming/error"""
    fields = error.as_openai()["error"]
    code = fields["code"] or fields["type"]
    event = {
        "type": "error",
        "code": str(code) if code else None,
        "message": fields["message"],
        "param": fields["param"],
        "sequence_number": number,
    }
    return make_frame(encode(event), b"error")


def error_message(error: GatewayError, number: int) -> bytes:
    """Return the error as a message of a WebSocket, where clients read it as a response with that status."""
    given = error.headers | error.openai_headers
    headers = {name: value for name, value in given.items() if name != "Connection"}
    status = (error.provider_status if isinstance(error, ProviderError) else None) or error.status
    event = {"type": ERROR, "status": status, **error.as_openai()} | ({"headers": headers} if headers else {})
    return encode(event | {"sequence_number": number})


RESPONSES = WireFormat(
    name="responses",
    last_turn=last_turn,
    reader=lambda request: ResponsesReader(),
    count_tokens=openai_token_counts,
    error_frame=error_frame,
)

RESPONSES_MESSAGES = evolve(RESPONSES, error_frame=error_message)
"""The responses API over a WebSocket: each event is a message."""

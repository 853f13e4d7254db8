"""OpenAI's Chat Completions API.

https://platform.openai.com/docs/api-reference/chat
Streams: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import Factory, define, evolve

from ...errors import BadRequest, encode
from .. import json_splice, jsontext
from ..formats import DROP, HOLD, LAST, PASS, Answer, Thought, ToolCall, Verdict, WireFormat, error_name
from ..jsontext import JsonObject, int_or_none, nonempty_str, objects
from ..prompts import last_turn_of_messages
from ..sse import make_frame
from ..usage import merge_usage, openai_token_counts, xai_token_counts
from .calls import GrowingCall, GrowingCalls

_TEXT_CHOICE = b'"choices":[{"index":0,"delta":{"content":"'
_UNFINISHED = b'"finish_reason":null'
_DONE = b"[DONE]"
_THOUGHTS = ("reasoning_content", "reasoning")
"""The members in which providers show the model's thoughts as text."""
_THOUGHT = b'"reasoning'
_CONTENT = ("content", "refusal", "tool_calls", "function_call", *_THOUGHTS)


@define(eq=False)
class _Choice:
    """The facts of one choice of an answer."""

    calls: GrowingCalls = Factory(GrowingCalls)
    function_call: GrowingCall | None = None
    """The call in the deprecated form, of which a message has no more than one."""
    texts: dict[str, list[str]] = Factory(dict)
    """The pieces of the model's thoughts, by the member that holds them."""
    finished: bool = False
    """True once it had a finish reason."""
    reopened: bool = False
    """True if it went on after a finish reason, which some providers give in every chunk: the stream's end counts."""
    tool_calls: Sequence[ToolCall] = ()
    """The calls that are recorded."""
    thoughts: Sequence[Thought] = ()

    def read(self, message: object) -> Iterator[tuple[GrowingCall, JsonObject]]:
        """Read a message or a delta. Yield each piece of a tool call with its call."""
        if not isinstance(message, dict):
            return
        for name, text in _thoughts(message):
            self.texts.setdefault(name, []).append(text)
        function_call = message.get("function_call")
        if isinstance(function_call, dict):
            self.function_call = self.function_call or GrowingCall()
            self.function_call.add({"function": function_call})
        yield from self.calls.add(message.get("tool_calls"))

    def record(self, answer: Answer) -> None:
        """Add the calls and thoughts to the answer: they are whole."""
        calls = [*self.calls.calls, *([self.function_call] if self.function_call is not None else [])]
        self.tool_calls = [call.to_tool_call() for call in calls]
        sources: dict[str, str] = {}
        for name, pieces in self.texts.items():
            sources.setdefault("".join(pieces), name)  # some providers send a thought under two names
        self.thoughts = [Thought(text, name) for text, name in sources.items()]
        answer.tool_calls += self.tool_calls
        answer.thoughts += self.thoughts

    def take_back(self, answer: Answer) -> None:
        """Remove the calls and thoughts from the answer: more of them comes."""
        own = {id(fact) for fact in (*self.tool_calls, *self.thoughts)}
        answer.tool_calls[:] = [call for call in answer.tool_calls if id(call) not in own]
        answer.thoughts[:] = [thought for thought in answer.thoughts if id(thought) not in own]
        self.tool_calls = self.thoughts = ()


class ChatReader:
    """Reads one answer as it passes.

    `hide_usage` is True if the gateway asked for the usage chunk and the client did not. `on_piece` is called with each
    piece of a tool call: the call, and the piece's index if it has one.
    """

    next_number = 0  # the events of this API have no numbers

    def __init__(
        self, hide_usage: bool = False, on_piece: Callable[[GrowingCall, int | None], None] | None = None
    ) -> None:
        self.answer = Answer()
        self._hide_usage = hide_usage
        self._on_piece = on_piece
        self._text_head = b""
        self._choices: dict[int, _Choice] = {}

    def skips(self, frame: bytes) -> bool:
        """Return True for text of the first choice. The first text chunk shows the bytes that all others begin with."""
        if not self._text_head:
            return False
        find = frame.find  # faster than `in` for bytes
        return (
            frame.startswith(self._text_head)
            and find(_UNFINISHED) > 0
            and find(b'"tool_calls"') < 0
            and find(b'"function_call":{') < 0
            and find(_THOUGHT) < 0
            and (find(b'"usage":null') > 0 or find(b'"usage"') < 0)
        )

    def read_event(self, data: bytes) -> Verdict:
        """Read one chunk, or the ``[DONE]`` after the last one."""
        if data.startswith(_DONE):  # the SDKs compare no more than this
            for choice in self._choices.values():
                if choice.reopened or not choice.finished:
                    choice.record(self.answer)
            self.answer.finished = True
            return LAST
        chunk = jsontext.load_object(data)
        if chunk is None:
            return PASS
        verdict = self.read(chunk)
        if not self._text_head and self.answer.response_id and (start := data.find(_TEXT_CHOICE)) > 0:
            self._text_head = b"data: " + data[: start + len(_TEXT_CHOICE)]
        return verdict

    def read(self, chunk: JsonObject) -> Verdict:
        """Read one chunk that is parsed already."""
        if self._read_head(chunk):
            return HOLD
        choices = objects(chunk.get("choices"))
        for given in choices:
            choice = self._choices.setdefault(int_or_none(given.get("index")) or 0, _Choice())
            delta = given.get("delta")
            if choice.finished and not choice.reopened and _has_content(delta):
                choice.reopened = True
                choice.take_back(self.answer)
            self._read_message(choice, delta)
            if nonempty_str(given.get("finish_reason")):
                if not choice.reopened and not choice.finished:
                    choice.record(self.answer)
                choice.finished = True
        if choices:
            self.answer.ending = all(choice.finished and not choice.reopened for choice in self._choices.values())
        is_usage_chunk = not choices and isinstance(chunk.get("usage"), dict)
        return DROP if is_usage_chunk and self._hide_usage else PASS

    def end(self, whole: bool) -> Verdict:
        """Take a stream without ``[DONE]`` as complete if all choices have finished, and no figures can be missing."""
        choices = self._choices.values()
        if not choices or not all(choice.finished for choice in choices) or not (whole or self.answer.usage):
            return PASS
        for choice in choices:
            if choice.reopened:
                choice.record(self.answer)
        self.answer.finished = True
        return LAST

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read a whole completion, or the API's error object."""
        if self._read_head(body):
            return LAST
        for given in objects(body.get("choices")):
            choice = _Choice()
            self._read_message(choice, given.get("message"))
            choice.record(self.answer)
        self.answer.finished = True
        return LAST

    def _read_head(self, document: JsonObject) -> bool:
        """Read the members beside the choices. Return True for an error."""
        answer = self.answer
        answer.response_id = answer.response_id or nonempty_str(document.get("id"))
        answer.served_model = answer.served_model or nonempty_str(document.get("model"))
        answer.service_tier = nonempty_str(document.get("service_tier")) or answer.service_tier
        usage = document.get("usage")
        if isinstance(usage, dict):
            merge_usage(answer.usage, usage)
        if document.get("error"):
            answer.error = error_name(document["error"])
            return True
        return False

    def _read_message(self, choice: _Choice, message: object) -> None:
        for call, piece in choice.read(message):
            if self._on_piece is not None:
                self._on_piece(call, int_or_none(piece.get("index")))


def _thoughts(message: JsonObject) -> Iterator[tuple[str, str]]:
    """Yield the pieces of the model's thoughts in a message or a delta, each with the name of its source.

    Mistral's stand in the content: https://docs.mistral.ai/capabilities/reasoning/
    """
    for name in _THOUGHTS:
        if text := nonempty_str(message.get(name)):
            yield name, text
    content = message.get("content")
    if isinstance(content, list):
        parts = [part for chunk in objects(content) for part in objects(chunk.get("thinking"))]
        yield from (("thinking", text) for part in parts if (text := nonempty_str(part.get("text"))))


def _has_content(delta: object) -> bool:
    """Return True if a delta holds more of the message than its role."""
    return isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT)


def hides_usage(request: JsonObject) -> bool:
    """Return True if the gateway asks for the usage chunk of a stream, and the client does not.

    Options that are no object stay as they are: the provider refuses them, and the client should learn why.
    """
    if request.get("stream") is not True or asks_for_usage(request):
        return False
    return isinstance(request.get("stream_options"), Mapping | None)


def asks_for_usage(request: JsonObject) -> bool:
    """Return True if the client asks for the usage chunk of a stream."""
    options = request.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def ask_for_usage(body: bytes, request: JsonObject) -> bytes:
    """Return a request's body with ``include_usage`` set for a stream. Nothing else changes."""
    if not hides_usage(request):
        return body
    try:
        options = json_splice.member_text(body, "stream_options")
        if options is None or not isinstance(request.get("stream_options"), dict):
            options = b"{}"
        options = json_splice.set_member(options, "include_usage", b"true")
        return json_splice.set_member(body, "stream_options", options)
    except ValueError as error:
        raise BadRequest("The request body is nested too deeply.") from error


def tool_result_id_of(message: JsonObject) -> object:
    """Return the id of the call that a tool message answers, "" if it has none, None for other messages."""
    return (message.get("tool_call_id") or "") if message.get("role") == "tool" else None


CHAT = WireFormat(
    name="chat/completions",
    last_turn=lambda request: last_turn_of_messages(request, tool_result_id_of),
    amend=ask_for_usage,
    reader=lambda request: ChatReader(hide_usage=hides_usage(request)),
    count_tokens=openai_token_counts,
    error_frame=lambda error, number: make_frame(encode(error.as_openai())),
)

XAI_CHAT = evolve(CHAT, count_tokens=xai_token_counts)
"""The chat completions API, with xAI's way to count."""

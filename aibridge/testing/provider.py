"""A fake model provider, which replies as the test says, in every wire format."""

import gzip
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from typing import Any, TypeVar

import orjson
import zstandard
from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import BadRequest, GatewayError, RouteUnknown
from .chat import CHAT
from .delivery import Delivery
from .exchange import Ending, Format, Json, Question, RawReply, ReceivedRequest, Reply, Script, Usage
from .messages import MESSAGES
from .responses import COMPACT, RESPONSES
from .text import CREATED, digest

V = TypeVar("V")

MODELS = ("claude-fake-1", "gpt-fake-1")

FORMATS: dict[tuple[str, ...], Format] = {
    ("messages",): MESSAGES,
    ("chat", "completions"): CHAT,
    ("responses",): RESPONSES,
    ("responses", "compact"): COMPACT,
}


class FakeProvider(Resource):
    """A Resource with the messages, chat completions and responses APIs, at ``/v1`` and at the root.

    Each request to the model gets the next reply that `say` was given. When there is none left, it gets the reply that
    `script` returns for the `Question`, or without a script the repeated prompt. Ids and usage that a `Reply` leaves
    open are generated, and are the same at every run.

    :param clock: the clock of `delay`, the seconds between two events of a stream.
    :param remember: the number of exchanges to keep; None: all.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        script: Script | None = None,
        *,
        clock: IReactorTime | None = None,
        delay: float = 0.0,
        remember: int | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if delay and clock is None:
            raise ValueError("a delay needs a clock")
        self.requests: deque[ReceivedRequest] = deque(maxlen=remember)
        """Every request that arrived, whatever its response."""
        self.sent: dict[str, Reply] = {}
        """Every reply that was sent, by its response id, with its ids and usage."""
        self._script: Script = script or (lambda question: Reply(text=f"You said: {question.prompt}"))
        self._sayings: deque[Reply | RawReply] = deque()
        self._clock = clock
        self._delay = delay
        self._numbers = count(1)
        self._bodies: dict[str, Json] = {}

    def say(self, *replies: Reply | RawReply) -> None:
        """Queue the replies to the next requests to the model."""
        self._sayings.extend(replies)

    def render(self, request: Request) -> int:
        """Keep the request, and send its response."""
        received = received_request(request)
        self.requests.append(received)
        request.defaultContentType = None
        delivery = Delivery(request, received, self._clock)
        segments = tuple(segment.decode("utf-8", "replace") for segment in request.postpath or () if segment)
        path = segments[1:] if segments[:1] == ("v1",) else segments
        model_format = FORMATS.get(path) if received.method == "POST" else None
        try:
            if model_format is not None:
                question = model_format.read(read_document(received), received)
                next_reply: Callable[[], Any] = (
                    self._sayings.popleft if self._sayings else partial(self._script, question)
                )
                reply: Deferred[Reply | RawReply] = maybeDeferred(next_reply)
                reply.addCallback(self._send, question, model_format, delivery)
                reply.addErrback(self._report_failure, delivery)
            else:
                send_json(delivery, 200, self._look_up(path, received))
        except GatewayError as error:
            is_anthropic = _is_anthropic(received) or path[:1] == ("messages",)
            send_json(delivery, error.status, error.as_anthropic() if is_anthropic else error.as_openai())
        return NOT_DONE_YET

    def _report_failure(self, failure: Failure, delivery: Delivery) -> None:
        self._log.failure("The script of a fake provider failed", failure)
        send_json(delivery, 500, GatewayError("the script of the fake provider failed").as_either())

    def _send(self, given: Reply | RawReply, question: Question, form: Format, delivery: Delivery) -> None:
        """Send a reply as an event stream or as JSON, whichever was requested. Send a raw reply unchanged."""
        if isinstance(given, RawReply):
            delivery.start(given.status, given.headers, iter(given.chunks), given.ending)
            return
        if not isinstance(given, Reply):
            raise TypeError(f"a fake provider sends a Reply or a RawReply, not {type(given).__name__}")
        reply = complete(given, question, form, next(self._numbers))
        assert reply.id is not None
        body = form.body(reply, question)
        self._keep(self.sent, reply.id, reply)
        self._keep(self._bodies, reply.id, body)
        headers = {"request-id": f"req_{digest(reply.id)[:24]}"}
        if question.streaming:
            headers["content-type"] = "text/event-stream; charset=utf-8"
            frames = stop_early(form.frames(body, question), reply, form)
            delivery.start(200, headers, frames, reply.ending, self._delay)
            return
        data = orjson.dumps(body)
        kilobytes = (data[start : start + 1024] for start in range(0, len(data), 1024))
        # A body that stops short of its Content-Length can't have a proper end.
        is_short = reply.stop_after is not None and reply.ending is not Ending.STALL
        ending = Ending.CUT if is_short else reply.ending
        delivery.start(200, headers | _json_headers(data), islice(kilobytes, reply.stop_after), ending)

    def _keep(self, memory: dict[str, V], key: str, value: V) -> None:
        memory[key] = value
        if self.requests.maxlen is not None and len(memory) > self.requests.maxlen:
            del memory[next(iter(memory))]

    def _look_up(self, path: tuple[str, ...], received: ReceivedRequest) -> Json:
        """Return the JSON at a path that is no request to the model."""
        match received.method, *path:
            case "GET", "models":
                return model_list(_is_anthropic(received))
            case "GET", "models", name if name in MODELS:
                return model(name, _is_anthropic(received))
            case "POST", "messages", "count_tokens":
                return {"input_tokens": count_tokens(received.body)}
            case "GET", "responses", response_id if response_id in self._bodies:
                return self._bodies[response_id]
        raise RouteUnknown("The fake provider has nothing here.")


def received_request(request: Request) -> ReceivedRequest:
    """Return the values of a twisted.web request."""
    assert request.content is not None
    return ReceivedRequest(
        method=request.method.decode("ascii"),
        uri=request.uri,
        headers=request.requestHeaders.copy(),
        body=request.content.read(),
    )


DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}
"""The function that undoes each content coding."""


def read_document(received: ReceivedRequest) -> Json:
    """Return the JSON object in the body. Raise `BadRequest` if there is none, or if it names no model."""
    encoding = received.headers.getRawHeaders("content-encoding", ["identity"])[-1]
    try:
        document = orjson.loads(DECOMPRESSORS[encoding](received.body))
    except ValueError as error:
        raise BadRequest("The body is not JSON.") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        raise BadRequest("model: Field required")
    return document


def complete(reply: Reply, question: Question, form: Format, number: int) -> Reply:
    """Return the reply with all ids and its usage. `number` makes the ids of equal requests differ."""
    unique = digest(str(number), question.request.body)[:24]
    calls = [
        evolve(call, id=call.id or f"{form.call_id_prefix}{unique[:20]}{index:02d}")
        for index, call in enumerate(reply.tool_calls)
    ]
    return evolve(
        reply,
        id=reply.id or form.id_prefix + unique,
        tool_calls=calls,
        usage=reply.usage or plausible_usage(reply, question),
    )


def plausible_usage(reply: Reply, question: Question) -> Usage:
    """Return figures of four bytes a token. Whole kilotokens of the request come from the cache, as with providers."""
    request_tokens = count_tokens(question.request.body)
    cached = request_tokens // 1024 * 1024
    texts = reply.text, reply.commentary, *(str(call.arguments) for call in reply.tool_calls)
    reasoning = count_tokens(reply.thinking) if reply.thinking else 0
    return Usage(
        input=request_tokens - cached,
        cache_read=cached,
        output=reasoning + sum(map(count_tokens, texts)),
        reasoning=reasoning,
    )


def count_tokens(text: str | bytes) -> int:
    """Return a plausible number of tokens."""
    return len(text) // 4 + 1


def stop_early(frames: Iterator[bytes], reply: Reply, form: Format) -> Iterator[bytes]:
    """Yield the events that the reply lets through, and its error event if it ends with that."""
    sent = 0
    for frame in islice(frames, reply.stop_after):
        yield frame
        sent += 1
    if reply.ending is Ending.ERROR:
        yield form.error_frame(sent)


def send_json(delivery: Delivery, status: int, document: Json) -> None:
    """Send a whole JSON response."""
    body = orjson.dumps(document)
    delivery.start(status, _json_headers(body), iter([body]))


def _json_headers(body: bytes) -> dict[str, str]:
    return {"content-type": "application/json", "content-length": str(len(body))}


def _is_anthropic(received: ReceivedRequest) -> bool:
    return received.headers.hasHeader("anthropic-version")


def model_list(is_anthropic: bool) -> Json:
    """Return the list of models in the shape of Anthropic's API or of OpenAI's."""
    data = [model(name, is_anthropic) for name in MODELS]
    if is_anthropic:
        return {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
    return {"object": "list", "data": data}


def model(name: str, is_anthropic: bool) -> Json:
    """Return one model in the shape of Anthropic's API or of OpenAI's."""
    if is_anthropic:
        return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "aibridge"}

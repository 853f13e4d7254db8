"""A provider that says what it is told to, in all wire formats at once."""

import gzip
from collections import deque
from collections.abc import Callable, Iterator
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

FORMATS = {
    ("messages",): MESSAGES,
    ("chat", "completions"): CHAT,
    ("responses",): RESPONSES,
    ("responses", "compact"): COMPACT,
}


class FakeProvider(Resource):
    """A Resource that speaks the messages, chat completions and responses APIs, with ``/v1`` before them or without.

    It answers with what `say` was given, in that order; then with what `script` returns for the `Question`; without
    one it repeats the prompt. Ids and figures that a `Reply` leaves open are made up, the same at every run.

    :param clock: where `delay`, the seconds between two frames of a stream, comes from.
    :param remember: how many exchanges it keeps in mind; None for all.
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
        """Every request that arrived, whatever came of it."""
        self.sent: dict[str, Reply] = {}
        """Every reply by its response id, with the ids and figures that went out."""
        self._script: Script = script or (lambda question: Reply(text=f"You said: {question.prompt}"))
        self._sayings: deque[Reply | RawReply] = deque()
        self._clock = clock
        self._delay = delay
        self._numbers = count(1)
        self._bodies: dict[str, Json] = {}

    def say(self, *replies: Reply | RawReply) -> None:
        """The answers to the next requests to the model, one each."""
        self._sayings.extend(replies)

    def render(self, request: Request) -> int:
        """Keeps the request, and answers as the test said."""
        received = _received(request)
        self.requests.append(received)
        request.defaultContentType = None
        delivery = Delivery(request, received, self._clock)
        path = _path(request)
        model_format = FORMATS.get(path) if received.method == "POST" else None
        try:
            if model_format is not None:
                self._ask(model_format, received, delivery)
            else:
                _deliver_json(delivery, 200, self._look_up(path, received))
        except GatewayError as error:
            _deliver_json(delivery, error.status, _error_body(error, path, received))
        return NOT_DONE_YET

    def _ask(self, form: Format, received: ReceivedRequest, delivery: Delivery) -> None:
        question = form.read(_document(received), received)
        answer: Deferred[Reply | RawReply] = maybeDeferred(self._next_reply, question)
        answer.addCallback(self._deliver, question, form, delivery)
        answer.addErrback(self._script_failed, delivery)

    def _next_reply(self, question: Question) -> Any:
        return self._sayings.popleft() if self._sayings else self._script(question)

    def _script_failed(self, failure: Failure, delivery: Delivery) -> None:
        self._log.failure("The script of a fake provider failed", failure)
        _deliver_json(delivery, 500, GatewayError("the script of the fake provider failed").as_either())

    def _deliver(self, said: Reply | RawReply, question: Question, form: Format, delivery: Delivery) -> None:
        if isinstance(said, Reply):
            self._deliver_reply(said, question, form, delivery)
        else:
            delivery.start(said.status, said.headers, iter(said.chunks), said.ending)

    def _deliver_reply(self, said: Reply, question: Question, form: Format, delivery: Delivery) -> None:
        reply = _settled(said, question, form, next(self._numbers))
        assert reply.id is not None
        body = form.body(reply, question)
        self._keep(self.sent, reply.id, reply)
        self._keep(self._bodies, reply.id, body)
        headers = {"request-id": f"req_{digest(reply.id)[:24]}"}
        if question.streaming:
            headers["content-type"] = "text/event-stream; charset=utf-8"
            frames = _broken_off(form.frames(body, question), reply, form)
            delivery.start(200, headers, frames, reply.ending, self._delay)
        else:
            whole = orjson.dumps(body)
            headers |= _json_headers(whole)
            delivery.start(200, headers, islice(_kilobytes(whole), reply.stop_after), _ending_of_json(reply))

    def _keep(self, memory: dict[str, V], key: str, value: V) -> None:
        memory[key] = value
        if self.requests.maxlen is not None and len(memory) > self.requests.maxlen:
            del memory[next(iter(memory))]

    def _look_up(self, path: tuple[str, ...], received: ReceivedRequest) -> Json:
        match received.method, *path:
            case "GET", "models":
                return _model_list(received)
            case "GET", "models", name if name in MODELS:
                return _model(name, received)
            case "POST", "messages", "count_tokens":
                return {"input_tokens": _tokens(received.body)}
            case "GET", "responses", response_id if response_id in self._bodies:
                return self._bodies[response_id]
        raise RouteUnknown("The fake provider has nothing here.")


def _received(request: Request) -> ReceivedRequest:
    assert request.content is not None
    return ReceivedRequest(
        method=request.method.decode("ascii"),
        uri=request.uri,
        headers=request.requestHeaders.copy(),
        body=request.content.read(),
    )


def _path(request: Request) -> tuple[str, ...]:
    """The path below the place where the provider is mounted, without a leading ``v1``."""
    path = tuple(segment.decode("utf-8", "replace") for segment in request.postpath or () if segment)
    return path[1:] if path[:1] == ("v1",) else path


def _document(received: ReceivedRequest) -> Json:
    try:
        document = orjson.loads(_decompressed(received))
    except ValueError as error:
        raise BadRequest("The body is not JSON.") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        raise BadRequest("model: Field required")
    return document


def _decompressed(received: ReceivedRequest) -> bytes:
    encoding = received.headers.getRawHeaders("content-encoding", ["identity"])[-1]
    return _DECOMPRESSORS[encoding](received.body)


def _from_zstd(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "zstd": _from_zstd,
}


def _settled(reply: Reply, question: Question, form: Format, number: int) -> Reply:
    """The reply with everything that it left open."""
    unique = digest(str(number), question.request.body)[:24]
    calls = [
        evolve(call, id=call.id or f"{form.call_id_prefix}{unique[:20]}{index:02d}")
        for index, call in enumerate(reply.tool_calls)
    ]
    return evolve(
        reply,
        id=reply.id or form.id_prefix + unique,
        tool_calls=calls,
        usage=reply.usage or _plausible_usage(reply, question),
    )


def _plausible_usage(reply: Reply, question: Question) -> Usage:
    """Four bytes a token, whole kilotokens of the request from the cache, as providers do."""
    asked = _tokens(question.request.body)
    cached = asked // 1024 * 1024
    said = reply.text, reply.commentary, *(str(call.arguments) for call in reply.tool_calls)
    reasoning = _tokens(reply.thinking) if reply.thinking else 0
    return Usage(
        input=asked - cached,
        cache_read=cached,
        output=reasoning + sum(map(_tokens, said)),
        reasoning=reasoning,
    )


def _tokens(text: str | bytes) -> int:
    return len(text) // 4 + 1


def _broken_off(chunks: Iterator[bytes], reply: Reply, form: Format) -> Iterator[bytes]:
    sent = 0
    for chunk in islice(chunks, reply.stop_after):
        yield chunk
        sent += 1
    if reply.ending is Ending.ERROR:
        yield form.error_frame(sent)


def _ending_of_json(reply: Reply) -> Ending:
    """A body that stops short of its content-length can't end properly."""
    stops_early = reply.stop_after is not None and reply.ending is not Ending.STALL
    return Ending.CUT if stops_early else reply.ending


def _kilobytes(body: bytes) -> Iterator[bytes]:
    return (body[start : start + 1024] for start in range(0, len(body), 1024))


def _deliver_json(delivery: Delivery, status: int, document: Json) -> None:
    body = orjson.dumps(document)
    delivery.start(status, _json_headers(body), iter([body]))


def _json_headers(body: bytes) -> dict[str, str]:
    return {"content-type": "application/json", "content-length": str(len(body))}


def _is_anthropic(received: ReceivedRequest) -> bool:
    return received.headers.hasHeader("anthropic-version")


def _error_body(error: GatewayError, path: tuple[str, ...], received: ReceivedRequest) -> Json:
    anthropic = _is_anthropic(received) or path[:1] == ("messages",)
    return error.as_anthropic() if anthropic else error.as_openai()


def _model_list(received: ReceivedRequest) -> Json:
    data = [_model(name, received) for name in MODELS]
    if _is_anthropic(received):
        return {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
    return {"object": "list", "data": data}


def _model(name: str, received: ReceivedRequest) -> Json:
    if _is_anthropic(received):
        return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "aibridge"}

"""Scripted clouds: they check what real ones check, and answer as those do."""

import re
from typing import Any
from urllib.parse import unquote

import orjson
from attrs import evolve
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from aibridge.testing import RawReply, Reply
from aibridge.testing.delivery import Delivery
from aibridge.testing.exchange import ReceivedRequest
from aibridge.testing.messages import MESSAGES
from aibridge.testing.provider import complete, received_request

from ..wire.eventstreams import chunks_of, exception

KEYS = ReadOnlyCredentials("AKIDEXAMPLE0123456", "secret-key-never-seen-elsewhere", None)
KNOWN_BETAS = ("interleaved-thinking-2025-05-14", "context-management-2025-06-27")
KNOWN_FIELDS = {
    *("messages", "max_tokens", "system", "tools", "tool_choice", "metadata", "thinking", "temperature"),
    *("stop_sequences", "anthropic_version", "anthropic_beta", "user_profile_id"),
}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_NOT_FOR_CLOUDS = ("x-api-key", "cookie", "x-aibridge-key", "anthropic-dangerous-direct-browser-access-key")


class ScriptedCloud(Resource):
    """The parts that all clouds share: requests are kept, checked and answered with `say`'s replies, in their order."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[ReceivedRequest] = []
        self.replies: list[Any] = []
        self.betas = set(KNOWN_BETAS)
        self.fields = set(KNOWN_FIELDS)
        self._number = 0

    def say(self, *replies: Any) -> None:
        """Queue the replies to the next requests that are accepted."""
        self.replies += replies

    def render(self, request: Request) -> int:
        received = received_request(request)
        self.requests.append(received)
        request.defaultContentType = None
        delivery = Delivery(request, received, None)
        refusal = self.refuse(received)
        if refusal is not None:
            status, body, headers = refusal
            send(delivery, status, orjson.dumps(body), headers)
        else:
            self.answer(received, delivery)
        return NOT_DONE_YET

    def refuse(self, request: ReceivedRequest) -> tuple[int, Any, dict[str, str]] | None:
        """Return status, body and headers of an error; None if the request is right."""
        raise NotImplementedError

    def answer(self, request: ReceivedRequest, delivery: Delivery) -> None:
        """Answer a request that is right."""
        raise NotImplementedError

    def messages_body(self, model: str, streaming: bool, request: ReceivedRequest) -> tuple[Reply | RawReply, Any]:
        """Return the next reply, and the body of a Messages answer: SSE bytes if streamed."""
        given = self.replies.pop(0) if self.replies else Reply(text="Done.")
        if isinstance(given, RawReply):
            return given, None
        document = {**orjson.loads(request.body), "model": model, "stream": streaming}
        question = MESSAGES.read(document, request)
        self._number += 1
        reply = complete(given, evolve(question, request=request), MESSAGES, self._number)
        if streaming:
            return reply, b"".join(MESSAGES.frames(MESSAGES.body(reply, question), question))
        return reply, orjson.dumps(MESSAGES.body(reply, question))

    def check_parts(self, document: Any, betas: list[str]) -> str | None:
        """Return a cloud's words on a flag or a field that it does not know."""
        unknown = [beta for beta in betas if beta not in self.betas]
        if unknown:
            return self.words_for(unknown)
        for name in document:
            if name not in self.fields:
                return f"{name}: Extra inputs are not permitted"
        for number, tool in enumerate(document.get("tools", ())):
            for name in tool.keys() - {"name", "description", "input_schema", "cache_control", "type"}:
                return f"tools.{number}.custom.{name}: Extra inputs are not permitted"
        return None

    def words_for(self, unknown: list[str]) -> str:
        """Return a cloud's words on flags that it does not know."""
        listed = ", ".join(f"`{flag}`" for flag in unknown)
        return (
            f"Unexpected value(s) {listed} for the `anthropic-beta` header. Please consult our documentation at "
            "docs.anthropic.com or try again without the header."
        )


def send(delivery: Delivery, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    """Send a whole response."""
    given = {"content-type": "application/json", "content-length": str(len(body))} | (headers or {})
    delivery.start(status, given, iter([body]))


def flags(request: ReceivedRequest) -> list[str]:
    """The beta flags in a request's header."""
    values = request.headers.getRawHeaders("anthropic-beta") or []
    return [flag.strip() for value in values for flag in value.split(",") if flag.strip()]


def signature_fault(request: ReceivedRequest, service: str, region: str, keys: ReadOnlyCredentials) -> str | None:
    """Return what is wrong with a request's signature, computed once more with botocore's code over what arrived."""
    [given] = request.headers.getRawHeaders("authorization") or [""]
    found = _AUTHORIZATION.fullmatch(given)
    if found is None:
        return "Missing Authentication Token"
    if (found["id"], found["region"], found["service"]) != (keys.access_key, region, service):
        return f"Credential should be scoped to a valid region and service, not {given[:90]}"
    if (request.headers.getRawHeaders("x-amz-security-token") or [None])[0] != keys.token:
        return "The security token included in the request is invalid."
    names = found["names"].split(";")
    if "host" not in names:
        return "host must be signed"
    headers = {name: request.headers.getRawHeaders(name)[0] for name in names}
    [host] = request.headers.getRawHeaders("host")
    again = AWSRequest(request.method, f"http://{host}{request.uri.decode()}", headers, request.body)
    [again.context["timestamp"]] = request.headers.getRawHeaders("x-amz-date")
    signer = SigV4Auth(keys, service, region)
    text = signer.string_to_sign(again, signer.canonical_request(again))
    if signer.signature(text, again) != found["signature"]:
        return "The request signature we calculated does not match the signature you provided."
    return None


class ScriptedBedrock(ScriptedCloud):
    """Bedrock's three doors."""

    region = "eu-central-1"

    def __init__(self, keys: ReadOnlyCredentials = KEYS) -> None:
        super().__init__()
        self.keys = keys
        self.bearer: str | None = None
        """The API key, where that is used in place of signatures."""
        self.models = {"eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929"}
        self.exception: tuple[str, str] | None = None
        """The exception that ends the next stream after its first events."""
        self.damage: Any = lambda stream: stream

    def refuse(self, request: ReceivedRequest) -> tuple[int, Any, dict[str, str]] | None:
        path = request.uri.decode().partition("?")[0]
        service = "bedrock-mantle" if path.startswith("/mantle") else "bedrock"
        if fault := self._authentication_fault(request, service):
            kind = "UnrecognizedClientException" if "token" in fault else "InvalidSignatureException"
            return self._error(403, kind, fault)
        for name in _NOT_FOR_CLOUDS:
            if request.headers.hasHeader(name):
                return self._error(400, "ValidationException", f"the header {name} is not for this cloud")
        document = orjson.loads(request.body)
        return (
            self._refuse_invoke(path, request, document)
            if path.startswith("/model/")
            else self._refuse_messages(path, request, document)
        )

    def _authentication_fault(self, request: ReceivedRequest, service: str) -> str | None:
        if self.bearer is None:
            return signature_fault(request, service, self.region, self.keys)
        given = request.headers.getRawHeaders("authorization")
        return None if given == [f"Bearer {self.bearer}"] else "The bearer token is wrong."

    def _refuse_invoke(self, path: str, request: ReceivedRequest, document: Any) -> Any:
        _, _, quoted, action = path.split("/")
        if "model" in document or "stream" in document:
            return self._error(400, "ValidationException", "model: Extra inputs are not permitted")
        if document.get("anthropic_version") not in ("bedrock-2023-05-31", "2026-10-21"):
            return self._error(400, "ValidationException", "anthropic_version: Field required")
        if request.headers.hasHeader("anthropic-beta") or request.headers.hasHeader("anthropic-version"):
            return self._error(400, "ValidationException", "headers of another API")
        if unquote(quoted) not in self.models or action not in ("invoke", "invoke-with-response-stream"):
            return self._error(400, "ValidationException", "The provided model identifier is invalid.")
        words = self.check_parts(document, document.get("anthropic_beta", []))
        return self._error(400, "ValidationException", words) if words else None

    def _refuse_messages(self, path: str, request: ReceivedRequest, document: Any) -> Any:
        if not path.endswith(("/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens")):
            return self._error(404, "UnknownOperationException", "unknown operation")
        if not request.headers.hasHeader("anthropic-version"):
            return self._error(400, "ValidationException", "anthropic-version: header is required")
        document.pop("stream", None)
        if document.pop("model", None) not in self.models:
            return self._error(404, "ResourceNotFoundException", "The model was not found.")
        words = self.check_parts(document, flags(request))
        if words is None:
            return None
        body = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
        return 400, body, {"x-amzn-requestid": "amzn-1"}

    def _error(self, status: int, kind: str, message: str) -> Any:
        return status, {"message": message}, {"x-amzn-requestid": "amzn-1", "x-amzn-errortype": f"{kind}:http://x/"}

    def words_for(self, unknown: list[str]) -> str:
        return "invalid beta flag"

    def answer(self, request: ReceivedRequest, delivery: Delivery) -> None:
        path = request.uri.decode().partition("?")[0]
        document = orjson.loads(request.body)
        if path.endswith("count_tokens"):
            send(delivery, 200, b'{"input_tokens":7}')
            return
        is_invoke = path.startswith("/model/")
        streaming = path.endswith("-stream") if is_invoke else document.get("stream", False)
        model = unquote(path.split("/")[2]) if is_invoke else document["model"]
        served = re.sub(r"^(\w+\.)?anthropic\.|-v\d+(:\d+)?$", "", model)
        reply, body = self.messages_body(served, streaming, request)
        headers = {"x-amzn-requestid": "amzn-1"}
        if isinstance(reply, RawReply):
            delivery.start(reply.status, reply.headers, iter(reply.chunks), reply.ending)
        elif not streaming:
            send(delivery, 200, body, headers)
        elif not is_invoke:
            delivery.start(200, headers | {"content-type": "text/event-stream"}, iter([body]))
        else:
            stream = chunks_of(body)
            if self.exception is not None:
                head = body[: body.index(b"event: content_block_stop")]
                stream = chunks_of(head) + exception(*self.exception)
            stream = self.damage(stream)
            pieces = (stream[start : start + 700] for start in range(0, len(stream), 700))
            delivery.start(200, headers | {"content-type": "application/vnd.amazon.eventstream"}, pieces)


class ScriptedVertex(ScriptedCloud):
    """Vertex AI, with tokens that can be revoked."""

    def __init__(self) -> None:
        super().__init__()
        self.fields |= {"stream"}
        self.tokens = {"ya29.first-token-of-the-test"}
        self.models = {"claude-sonnet-4-5@20250929"}
        self.place = "/v1/projects/proj-1/locations/europe-west1"

    def refuse(self, request: ReceivedRequest) -> tuple[int, Any, dict[str, str]] | None:
        given = (request.headers.getRawHeaders("authorization") or [""])[0].removeprefix("Bearer ")
        if given not in self.tokens:
            return 401, [{"error": {"code": 401, "message": "Invalid credentials.", "status": "UNAUTHENTICATED"}}], {}
        document = orjson.loads(request.body)
        found = re.fullmatch(
            re.escape(self.place) + r"/publishers/anthropic/models/(.+):(rawPredict|streamRawPredict)",
            request.uri.decode(),
        )
        if found is None or request.headers.hasHeader("x-api-key"):
            return 404, {"error": {"code": 404, "message": "Not found.", "status": "NOT_FOUND"}}, {}
        name = unquote(found[1])
        if name == "count-tokens":
            name = document.pop("model", "")
        if name not in self.models:
            return 404, {"error": {"code": 404, "message": f"{name} was not found.", "status": "NOT_FOUND"}}, {}
        if document.get("anthropic_version") not in ("vertex-2023-10-16", "2026-10-21"):
            return 400, _anthropic_error("anthropic_version: Field required"), {}
        if request.headers.hasHeader("anthropic-version"):
            return 400, _anthropic_error("anthropic-version: not here"), {}
        words = self.check_parts(document, flags(request))
        return (400, _anthropic_error(words), {}) if words else None

    def answer(self, request: ReceivedRequest, delivery: Delivery) -> None:
        name, action = unquote(request.uri.decode()).rpartition("/")[2].split(":")
        if name == "count-tokens":
            send(delivery, 200, b'{"input_tokens":7}')
            return
        streaming = action == "streamRawPredict"
        reply, body = self.messages_body(name.replace("@", "-"), streaming, request)
        if isinstance(reply, RawReply):
            delivery.start(reply.status, reply.headers, iter(reply.chunks), reply.ending)
        elif streaming:
            delivery.start(200, {"content-type": "text/event-stream"}, iter([body]))
        else:
            send(delivery, 200, body)


def _anthropic_error(message: str) -> Any:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_vrtx_1"}


class ScriptedFoundry(ScriptedCloud):
    """Foundry, with a key in both of its headers, or a token."""

    key = "foundry-key-0123456789abcdef"
    token: str | None = None

    def refuse(self, request: ReceivedRequest) -> tuple[int, Any, dict[str, str]] | None:
        headers = request.headers
        given = [headers.getRawHeaders(name) for name in ("x-api-key", "api-key", "authorization")]
        right = [[self.key], [self.key], None] if self.token is None else [None, None, [f"Bearer {self.token}"]]
        if given != right:
            return 401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}, {}
        path = request.uri.decode().partition("?")[0]
        if path not in ("/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"):
            return 404, {"error": {"code": "404", "message": "Resource not found"}}, {}
        document = orjson.loads(request.body)
        document.pop("model")
        document.pop("stream", None)
        words = self.check_parts(document, flags(request))
        return (400, _anthropic_error(words), {}) if words else None

    def answer(self, request: ReceivedRequest, delivery: Delivery) -> None:
        document = orjson.loads(request.body)
        if b"count_tokens" in request.uri:
            send(delivery, 200, b'{"input_tokens":7}')
            return
        streaming = document.get("stream", False)
        reply, body = self.messages_body(document["model"], streaming, request)
        if isinstance(reply, RawReply):
            delivery.start(reply.status, reply.headers, iter(reply.chunks), reply.ending)
        elif streaming:
            delivery.start(200, {"content-type": "text/event-stream"}, iter([body]))
        else:
            send(delivery, 200, body)

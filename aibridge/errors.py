"""Everything that can go wrong, as one tree. Each error knows its status and its form in each API.

    AIBridgeError
    ├── ConfigError                    a wrong option, file or key; ends the start
    ├── RecordingError                 a record could not be made durable
    ├── ClientLeft                     the client is gone: no one is left to be told
    └── GatewayError                   answered to a client, in the shape of the API that it called
        ├── BadRequest            400
        ├── Unauthorized          401
        │   └── MissingCredential 401
        ├── RouteUnknown          404
        ├── MethodNotAllowed      405
        ├── RequestTooSlow        408
        ├── BodyTooLarge          413
        ├── ExpectationFailed     417
        ├── UpgradeRefused        426
        ├── TooManyRequests       429  with Retry-After
        ├── HeadersTooLarge       431
        ├── UpstreamFailed        502
        │   ├── UpstreamRefused   502  provably not begun: may be tried again
        │   ├── UpstreamBroke     502  it broke off in the midst of its answer
        │   └── TooManyRounds     502  the model calls the gateway's tools without end
        ├── Unavailable           503  with Retry-After
        │   ├── RecordingImpossible
        │   ├── OverCapacity
        │   ├── CircuitOpen
        │   └── Draining
        └── UpstreamTimeout       504

Anthropic's shape: https://docs.claude.com/en/api/errors · OpenAI's: https://platform.openai.com/docs/guides/error-codes
"""

import json
from collections.abc import Iterable
from typing import Any, ClassVar


class AIBridgeError(Exception):
    """The root of all errors that this package raises on purpose."""


class ConfigError(AIBridgeError):
    """A setting that can't be used: which source it stands in, under which key, and what is wrong with it."""

    def __init__(self, source: str, key: str, why: str) -> None:
        super().__init__(f"{source}: {key}: {why}" if key else f"{source}: {why}")
        self.source = source
        self.key = key
        self.why = why


class RecordingError(AIBridgeError):
    """A record could not be made durable."""


class ClientLeft(AIBridgeError):
    """The client left before it had its answer, or takes nothing of it any more."""


class GatewayError(AIBridgeError):
    """An error that the gateway itself answers. The message is shown to the client: never put a secret into it.

    `retry_after`: the seconds after which the client may come again, where they are others than usual.
    """

    status: ClassVar[int] = 500
    anthropic_type: ClassVar[str] = "api_error"
    openai_type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    retry_after: int | None = None

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after

    @property
    def is_final(self) -> bool:
        """True if another try of the same request can't help."""
        return 400 <= self.status < 500 and self.status not in (408, 429)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of such a response.

        ``X-Should-Retry`` is read by Claude Code, which else tries for minutes, and by the SDKs:
        https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/_base_client.py
        """
        headers = {"X-Should-Retry": "false"} if self.is_final else {}
        return headers | ({"Retry-After": str(self.retry_after)} if self.retry_after is not None else {})

    def as_anthropic(self) -> dict[str, Any]:
        """The body that Anthropic's SDKs turn into their own error class."""
        return {"type": "error", "error": {"type": self.anthropic_type, "message": self.message}}

    def as_openai(self) -> dict[str, Any]:
        """The body that OpenAI's SDKs turn into their own error class."""
        return {"error": {"message": self.message, "type": self.openai_type, "param": None, "code": self.code}}

    def as_either(self) -> dict[str, Any]:
        """For a path that belongs to no provider: both kinds of client find what they look for."""
        return self.as_openai() | {"type": "error"}


class BadRequest(GatewayError):
    """The body is not what every request of this API must be."""

    status = 400
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"


class Unauthorized(GatewayError):
    """It is not known who asks."""

    status = 401
    anthropic_type = "authentication_error"
    openai_type = "invalid_request_error"
    code = "invalid_api_key"


class MissingCredential(Unauthorized):
    """Neither the client nor the configuration has a credential for the provider."""


class RouteUnknown(GatewayError):
    """Only known routes reach a provider."""

    status = 404
    anthropic_type = "not_found_error"
    openai_type = "invalid_request_error"
    code = "unknown_url"


class MethodNotAllowed(GatewayError):
    """The route is known, its method isn't: it takes only those that are `allowed`."""

    status = 405
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "method_not_supported"

    def __init__(self, message: str, retry_after: int | None = None, *, allowed: Iterable[str] = ()) -> None:
        super().__init__(message, retry_after)
        self.allowed = ", ".join(sorted(allowed))

    @property
    def headers(self) -> dict[str, str]:
        """Such an answer must say what would be allowed."""
        return super().headers | {"Allow": self.allowed}


class RequestTooSlow(GatewayError):
    """The client took too long to say what it wants."""

    status = 408
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "request_timeout"


class BodyTooLarge(GatewayError):
    """The body, as it came or as it unpacks, is over the limit."""

    status = 413
    anthropic_type = "request_too_large"
    openai_type = "invalid_request_error"
    code = "request_too_large"


class ExpectationFailed(GatewayError):
    """The client expects what the gateway does not do."""

    status = 417
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "expectation_failed"


class UpgradeRefused(GatewayError):
    """No WebSocket here; 426 is what makes Codex go on over HTTP at once."""

    status = 426
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "websocket_not_supported"


class TooManyRequests(GatewayError):
    """One actor asks for more than its share."""

    status = 429
    anthropic_type = "rate_limit_error"
    openai_type = "requests"
    code = "rate_limit_exceeded"
    retry_after = 1


class HeadersTooLarge(GatewayError):
    """The head of the request is over the limit."""

    status = 431
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "headers_too_large"


class UpstreamFailed(GatewayError):
    """The provider could not be reached, or what it said was not HTTP."""

    status = 502
    code = "upstream_failed"


class UpstreamRefused(UpstreamFailed):
    """The provider provably has not begun: nothing was spent, another try is safe."""


class UpstreamBroke(UpstreamFailed):
    """The provider broke off in the midst of its answer."""

    code = "upstream_broke_off"


class TooManyRounds(UpstreamFailed):
    """The model calls the gateway's tools again and again."""

    code = "too_many_tool_rounds"


class Unavailable(GatewayError):
    """Not now; the client may come again."""

    status = 503
    anthropic_type = "overloaded_error"
    retry_after = 1


class RecordingImpossible(Unavailable):
    """No record, no call: what can't be recorded is not begun."""

    code = "recording_unavailable"
    retry_after = 5


class OverCapacity(Unavailable):
    """As many requests are in flight as the operator allows."""

    code = "over_capacity"


class CircuitOpen(Unavailable):
    """The provider failed again and again, and is left alone for a while."""

    code = "circuit_open"


class Draining(Unavailable):
    """The gateway is on its way out."""

    code = "draining"

    @property
    def headers(self) -> dict[str, str]:
        """The next request had better go elsewhere."""
        return super().headers | {"Connection": "close"}


class UpstreamTimeout(GatewayError):
    """The provider is too slow."""

    status = 504
    anthropic_type = "timeout_error"
    code = "upstream_timeout"


def encode(body: dict[str, Any]) -> bytes:
    """JSON as it goes onto the wire."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")

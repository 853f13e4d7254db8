"""The tree of errors. Each error of a request knows its status and its form in each API.

    AIBridgeError
    ├── ConfigError                    a setting that can't be used; prevents the start
    ├── RecordingError                 a record could not be made durable
    ├── ClientLeft                     the client has left
    │   └── ClientStalled              the client is connected, but takes nothing
    └── GatewayError                   a response to a client, in the shape of the API that it called
        ├── BadRequest            400
        │   └── ConnectionOver    400  on a WebSocket, which is then opened anew
        ├── Unauthorized          401
        │   ├── MissingCredential 401
        │   └── CredentialRefused 401
        ├── PageRefused           403
        ├── RouteUnknown          404
        │   ├── RouteMissing      404  a route of the API that this provider does not have
        │   └── WrongBaseURL      421
        ├── NotStored             404
        ├── MethodNotAllowed      405
        ├── RequestTooSlow        408
        ├── BodyTooLarge          413
        ├── ExpectationFailed     417
        ├── UpgradeRefused        426
        ├── TooManyRequests       429  with Retry-After
        │   └── BudgetSpent       429  a cap on money: another try can't help before the period's end
        ├── HeadersTooLarge       431
        ├── UpstreamFailed        502
        │   ├── UpstreamRefused   502  the provider has not begun: another try is safe
        │   ├── NotConnected      502  TLS failed, or a proxy refused: another try would end in the same way
        │   ├── UpstreamBroke     502  the provider's answer broke off
        │   ├── ProviderError     502  the provider's own error in the middle of an answer
        │   └── TooManyRounds     502  the model called injected tools too often
        ├── Unavailable           503  with Retry-After
        │   ├── RecordingImpossible
        │   ├── OverCapacity
        │   ├── CircuitOpen
        │   ├── NoCredentials          none was found for a cloud
        │   └── Draining
        │       └── Interrupted        the gateway stopped before the end
        └── UpstreamTimeout       504
            └── ConnectTimeout    504  no connection came about: another try is safe

Anthropic's shape: https://docs.claude.com/en/api/errors · OpenAI's: https://platform.openai.com/docs/guides/error-codes
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class AIBridgeError(Exception):
    """The base class of all errors that this package raises."""


class ConfigError(AIBridgeError):
    """A setting that can't be used. `source` is the file or other place that it comes from, `key` its name there."""

    def __init__(self, source: str, key: str, why: str) -> None:
        super().__init__(f"{source}: {key}: {why}" if key else f"{source}: {why}")
        self.source = source
        self.key = key
        self.why = why


class RecordingError(AIBridgeError):
    """A record could not be made durable."""


class ClientLeft(AIBridgeError):
    """The client left before the end of its response, or stopped reading it."""


class ClientStalled(ClientLeft):
    """The client took nothing of its answer for too long, and is treated as one that has left."""


class GatewayError(AIBridgeError):
    """An error that the gateway responds with. The client sees the message: never put a secret into it.

    `retry_after`: the seconds after which the client may try again, if they differ from the class's own.
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

    @property
    def openai_headers(self) -> dict[str, str]:
        """The further headers of a response with OpenAI's body."""
        return {}

    def as_anthropic(self) -> dict[str, Any]:
        """Return the body that Anthropic's SDKs turn into their own error class."""
        return {"type": "error", "error": {"type": self.anthropic_type, "message": self.message}}

    def as_openai(self) -> dict[str, Any]:
        """Return the body that OpenAI's SDKs turn into their own error class."""
        return {"error": {"message": self.message, "type": self.openai_type, "param": None, "code": self.code}}

    def as_either(self) -> dict[str, Any]:
        """Return a body that both kinds of SDK understand, for a path that belongs to no provider."""
        return self.as_openai() | {"type": "error"}


class BadRequest(GatewayError):
    """The request is not well-formed."""

    status = 400
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"


class ConnectionOver(BadRequest):
    """The WebSocket takes no such request any more. Codex knows the code, and opens another one at once."""

    code = "websocket_connection_limit_reached"


class Unauthorized(GatewayError):
    """The request has no actor. `reason` is for the operator's log alone, where it stands in place of the message."""

    status = 401
    anthropic_type = "authentication_error"
    openai_type = "invalid_request_error"
    code = "invalid_api_key"

    def __init__(self, message: str, retry_after: int | None = None, *, reason: str = "") -> None:
        super().__init__(message, retry_after)
        self.reason = reason


class MissingCredential(Unauthorized):
    """Neither the client nor the configuration provides a credential for the provider."""


class CredentialRefused(Unauthorized):
    """The client sends its own credential to a provider that takes only the configured one."""


class PageRefused(GatewayError):
    """A web page of another site sends a request that browsers let through without asking first."""

    status = 403
    anthropic_type = "permission_error"
    openai_type = "invalid_request_error"
    code = "origin_not_allowed"


class RouteUnknown(GatewayError):
    """The path is no route of a provider."""

    status = 404
    anthropic_type = "not_found_error"
    openai_type = "invalid_request_error"
    code = "unknown_url"


class RouteMissing(RouteUnknown):
    """The path is a route of the API, which this provider does not have."""


class WrongBaseURL(RouteUnknown):
    """The path is a known route, but under another base URL. Claude Code shows the text of a 421, not of a 404."""

    status = 421
    anthropic_type = "invalid_request_error"
    code = "wrong_base_url"


class NotStored(GatewayError):
    """The provider stores nothing under that name that the actor has made."""

    status = 404
    anthropic_type = "not_found_error"
    openai_type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(GatewayError):
    """The route has other methods only, those that are `allowed`."""

    status = 405
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "method_not_supported"

    def __init__(self, message: str, retry_after: int | None = None, *, allowed: Iterable[str] = ()) -> None:
        super().__init__(message, retry_after)
        self.allowed = ", ".join(sorted(allowed))

    @property
    def headers(self) -> dict[str, str]:
        """The headers of such a response, which must list the allowed methods."""
        return super().headers | {"Allow": self.allowed}


class RequestTooSlow(GatewayError):
    """The client took too long to send its request."""

    status = 408
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "request_timeout"


class BodyTooLarge(GatewayError):
    """The body, compressed or decompressed, is over the limit."""

    status = 413
    anthropic_type = "request_too_large"
    openai_type = "invalid_request_error"
    code = "request_too_large"


class ExpectationFailed(GatewayError):
    """The request has an expectation that the gateway does not meet."""

    status = 417
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "expectation_failed"


class UpgradeRefused(GatewayError):
    """The request wants a WebSocket. The status 426 makes Codex go on over HTTP at once."""

    status = 426
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "websocket_not_supported"


class TooManyRequests(GatewayError):
    """The actor is over one of its limits."""

    status = 429
    anthropic_type = "rate_limit_error"
    openai_type = "requests"
    code = "rate_limit_exceeded"
    retry_after = 1


class BudgetSpent(TooManyRequests):
    """A cap on money has no room for the request.

    With this form Claude Code and Codex stop at once and show the message: a 400, 402 or 403 they take for something
    else, or try again. Codex shows `x-codex-promo-message`. `scope` is the cap's, `resets_at` the period's end in Unix
    time.
    """

    openai_type = "usage_limit_reached"
    code = "insufficient_quota"

    def __init__(self, message: str, retry_after: int | None = None, *, scope: str = "", resets_at: int = 0) -> None:
        super().__init__(message, retry_after)
        self.scope = scope
        self.resets_at = resets_at

    @property
    def is_final(self) -> bool:
        """True: clients that try again would only be refused again."""
        return True

    @property
    def openai_headers(self) -> dict[str, str]:
        """The header in which Codex looks for its words, if they are one line of ASCII."""
        line = " ".join(self.message.split())
        return {"X-Codex-Promo-Message": line.encode("ascii", "replace").decode()}

    def as_openai(self) -> dict[str, Any]:
        """Return the body by which Codex knows a limit that was reached, and when it ends."""
        body = super().as_openai()
        body["error"]["resets_at"] = self.resets_at
        return body


class HeadersTooLarge(GatewayError):
    """The head of the request is over the limit."""

    status = 431
    anthropic_type = "invalid_request_error"
    openai_type = "invalid_request_error"
    code = "headers_too_large"


class UpstreamFailed(GatewayError):
    """The provider could not be reached, or did not respond in HTTP."""

    status = 502
    code = "upstream_failed"


class UpstreamRefused(UpstreamFailed):
    """The provider provably has not begun: nothing was charged, and another try is safe."""


class NotConnected(UpstreamFailed):
    """No connection to the provider came about, for a reason that lasts: TLS failed, or a proxy refused it."""


class UpstreamBroke(UpstreamFailed):
    """The provider's answer broke off."""

    code = "upstream_broke_off"


class ProviderError(UpstreamFailed):
    """The provider's own error, where the client has the beginning of an answer already.

    `fields` are the members of the provider's error object. `kind` is Anthropic's type, and OpenAI's type and code, for
    those that it lacks. `recorded` is the text for the records, which keep no free text of a provider: type and status.
    `provider_status` is the status of the provider's response.
    """

    def __init__(
        self,
        message: str,
        retry_after: int | None = None,
        *,
        fields: Mapping[str, Any] | None = None,
        kind: tuple[str, str, str | None] = ("api_error", "server_error", None),
        request_id: str | None = None,
        recorded: str = "error",
        provider_status: int | None = None,
    ) -> None:
        super().__init__(message, retry_after)
        self.provider_status = provider_status
        self._fields = fields or {}
        self._kind = kind
        self._request_id = request_id
        self.recorded = recorded

    def as_anthropic(self) -> dict[str, Any]:
        """Return the provider's error object in Anthropic's body."""
        error = {"type": self._kind[0], "message": self.message} | dict(self._fields)
        return {"type": "error", "error": error} | ({"request_id": self._request_id} if self._request_id else {})

    def as_openai(self) -> dict[str, Any]:
        """Return the provider's error object in OpenAI's body."""
        _, openai_type, code = self._kind
        given = {"message": self.message, "type": openai_type, "param": None, "code": code}
        return {"error": given | dict(self._fields)}


class TooManyRounds(UpstreamFailed):
    """The model called injected tools in more rounds than are allowed."""

    code = "too_many_tool_rounds"


class Unavailable(GatewayError):
    """The gateway can't serve the request now; another try may succeed."""

    status = 503
    anthropic_type = "overloaded_error"
    retry_after = 1


class RecordingImpossible(Unavailable):
    """The request can't be recorded, so it is not sent to the provider."""

    code = "recording_unavailable"
    retry_after = 5


class OverCapacity(Unavailable):
    """As many requests are in flight as the operator allows."""

    code = "over_capacity"


class CircuitOpen(Unavailable):
    """The provider failed repeatedly, so for a while no requests are sent to it."""

    code = "circuit_open"


class NoCredentials(Unavailable):
    """The gateway finds no credentials for a cloud."""

    code = "no_credentials"
    retry_after = 10


class Draining(Unavailable):
    """The gateway is stopping."""

    code = "draining"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of such a response: the next request needs another connection."""
        return super().headers | {"Connection": "close"}


class Interrupted(Draining):
    """The gateway stopped before the end of an answer on a WebSocket."""


class UpstreamTimeout(GatewayError):
    """The provider did not respond in time."""

    status = 504
    anthropic_type = "timeout_error"
    code = "upstream_timeout"


class ConnectTimeout(UpstreamTimeout):
    """No connection to the provider came about in time."""


def encode(body: dict[str, Any]) -> bytes:
    """Return a body as compact JSON in ASCII."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")

"""Anthropic and what speaks its wire format. https://docs.claude.com/en/api/overview"""

from typing import Any, ClassVar

from attrs import frozen

from ..client.routes import Route
from ..errors import GatewayError
from ..wire.messages.reader import MESSAGES
from .base import Provider

_PROBE = (b"GET", b"HEAD")


@frozen(kw_only=True, slots=False)
class AnthropicProvider(Provider):
    """``/{name}`` stands for a base URL without ``/v1``."""

    type: ClassVar[str] = "anthropic"
    client_type: ClassVar[str] = "anthropic"
    default_base_url: ClassVar[str] = "https://api.anthropic.com"
    routes: ClassVar[tuple[Route, ...]] = (
        Route("/v1/messages", MESSAGES, methods=(b"POST",)),
        Route("/v1/messages/count_tokens", adapted=MESSAGES),
        Route("/v1/models"),
        Route("/v1/models/"),
        Route("/api/event_logging/"),
        # Claude Code asks for these when it starts, without a credential.
        Route("", methods=_PROBE, answered_here=True),
        Route("/api/hello", methods=_PROBE, answered_here=True),
    )
    credential_header: ClassVar[bytes] = b"x-api-key"
    credential_form: ClassVar[bytes] = b"%b"
    overloaded: ClassVar[frozenset[int]] = Provider.overloaded | {529}  # https://docs.claude.com/en/api/errors

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Anthropic's own shape."""
        return error.as_anthropic()

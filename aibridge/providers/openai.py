"""OpenAI and what speaks its wire formats. https://platform.openai.com/docs/api-reference"""

from functools import cached_property
from typing import Any, ClassVar

from attrs import evolve, frozen

from .. import settings
from ..client.routes import Route
from ..errors import GatewayError
from ..wire.chat.reader import CHAT, XAI_CHAT
from ..wire.responses.reader import RESPONSES
from .base import Provider

_POST = (b"POST",)


@frozen(kw_only=True, slots=False)
class OpenAIProvider(Provider):
    """``/{name}/v1`` stands for a base URL that ends in ``/v1``."""

    type: ClassVar[str] = "openai"
    client_type: ClassVar[str] = "openai"
    default_base_url: ClassVar[str] = "https://api.openai.com/v1"
    mount: ClassVar[str] = "/v1"
    routes: ClassVar[tuple[Route, ...]] = (
        Route("/v1/chat/completions", CHAT, methods=_POST),
        Route("/v1/responses", RESPONSES, methods=_POST),
        Route("/v1/responses/compact", RESPONSES, methods=_POST, offers_tools=False),
        Route("/v1/responses/", fetched=RESPONSES),
        Route("/v1/models"),
        Route("/v1/models/"),
        Route("/v1/conversations"),
        Route("/v1/conversations/"),
        Route("/v1/embeddings", methods=_POST, adapted=CHAT),
        Route("/v1/images/generations", methods=_POST, adapted=CHAT),
    )
    credential_header: ClassVar[bytes] = b"Authorization"
    credential_form: ClassVar[bytes] = b"Bearer %b"

    usage_profile: str = settings.choice("openai", "xai", default="openai")
    """Which tokens the figures of chat completions contain: xAI leaves those of reasoning out of the output."""

    max_tools: int | None = settings.count(128, least=0)
    """OpenAI's bound: https://platform.openai.com/docs/api-reference/chat/create#chat_create-tools"""

    websocket: bool = settings.switch(True)
    """True if requests for a WebSocket of responses are relayed to the provider; False answers them with 426."""

    @cached_property
    def _all_routes(self) -> tuple[Route, ...]:
        if self.usage_profile == "openai":
            return super()._all_routes
        return tuple(evolve(each, format=XAI_CHAT) if each.format is CHAT else each for each in super()._all_routes)

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """OpenAI's own shape."""
        return error.as_openai()

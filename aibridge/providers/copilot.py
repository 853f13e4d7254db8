"""GitHub Copilot, for users with a subscription of their own. https://docs.github.com/en/copilot"""

from typing import Any, ClassVar

from attrs import evolve, frozen

from .. import settings
from ..client.routes import Route
from ..errors import GatewayError, MissingCredential
from ..http.headers import RawHeaders
from ..identity.credentials import Credential, choose_credential
from ..settings import InvalidSetting
from ..wire.chat.reader import CHAT
from ..wire.messages.reader import MESSAGES
from ..wire.responses.reader import RESPONSES
from .base import Provider

_POST = (b"POST",)
_PATHS = (
    Route("/chat/completions", CHAT, methods=_POST),
    Route("/responses", RESPONSES, methods=_POST),
    Route("/models"),
    Route("/models/"),
    Route("/embeddings", methods=_POST, adapted=CHAT),
    Route("/agents/"),
    Route("/mcp"),
    Route("/mcp/"),
    Route("/.well-known/"),
)


@frozen(kw_only=True, slots=False)
class CopilotProvider(Provider):
    """Copilot's API. Its own clients send paths without ``/v1``, OpenAI's with it."""

    type: ClassVar[str] = "copilot"
    client_type: ClassVar[str] = "openai"
    adapts: ClassVar[bool] = True
    lists_models: ClassVar[bool] = False
    default_base_url: ClassVar[str] = "https://api.githubcopilot.com"
    routes: ClassVar[tuple[Route, ...]] = (
        *_PATHS,
        *(evolve(route, path=f"/v1{route.path}") for route in _PATHS),
        Route("/v1/messages", MESSAGES, methods=_POST),
    )

    websocket: bool = settings.switch(True)
    """True if requests for a WebSocket of responses are relayed; False answers them with 426."""

    def __attrs_post_init__(self) -> None:
        for name in ("api_key", "api_keys"):
            if getattr(self, name):
                raise InvalidSetting(name, "must not be set: Copilot takes each user's own token only")

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        """Return the URL of a path, without ``/v1``, which only Anthropic's route has at Copilot."""
        path = raw_path if raw_path.startswith(b"/v1/messages") else raw_path.removeprefix(b"/v1")
        return b"%b%b%b" % (self.base_url.encode(), path, b"?" + query if query else b"")

    def credential(self, client: RawHeaders) -> Credential:
        """Return the user's own bearer token, which is of a subscription. Raise MissingCredential without one."""
        own = client.filter(lambda name: name == b"authorization")
        try:
            return evolve(choose_credential(own, None, self.name, self.byok), is_of_account=True)
        except MissingCredential:
            raise MissingCredential(
                f"No {self.name} token: send your own GitHub Copilot token as Authorization: Bearer."
            ) from None

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """OpenAI's own shape."""
        return error.as_openai()

    def error_body_on(self, path: str, error: GatewayError) -> dict[str, Any]:
        """Return an error in the shape of the API that has this path."""
        return error.as_anthropic() if path.startswith("/v1/messages") else error.as_openai()

"""The parts that clouds with Anthropic's models share."""

from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import quote

from attrs import frozen
from twisted.web.iweb import IResponse

from ..client.routes import Route
from ..errors import GatewayError, RouteMissing, RouteUnknown
from ..http.decoding import decoded
from ..http.headers import RawHeaders
from ..identity.credentials import ALLOW, PROVIDER_HEADERS, Credential, choose_credential, strip_scheme
from ..record.records import CENTRALIZED
from ..settings import InvalidSetting
from ..upstream.translation import TranslatedResponse
from ..wire import jsontext
from ..wire.chat.reader import CHAT
from ..wire.messages.errors import ErrorTranslator
from ..wire.messages.reader import MESSAGES
from ..wire.responses.reader import RESPONSES
from .base import Provider

_LONG_CONTEXT = "[1m]"
_POST = (b"POST",)
_PROBE = (b"GET", b"HEAD")
_NATIVE_VERSION = "2026-10-21"
"""The first version of Anthropic's API that clouds know by its own name."""

MESSAGES_ROUTE = Route("/v1/messages", MESSAGES, methods=_POST)
COUNT_ROUTE = Route("/v1/messages/count_tokens", methods=_POST, adapted=MESSAGES)
OPENAI_ROUTES = (
    Route("/v1/chat/completions", CHAT, methods=_POST),
    Route("/v1/responses", RESPONSES, methods=_POST),
)
PROBES = (
    Route("", methods=_PROBE, answered_here=True),
    Route("/api/hello", methods=_PROBE, answered_here=True),
)
"""Claude Code asks for these when it starts, without a credential."""
_API_ROUTES = ("/v1/messages", "/v1/models", "/v1/files", "/v1/chat", "/v1/responses", "/v1/embeddings")
"""The beginnings of routes that Anthropic or OpenAI have."""


@frozen(kw_only=True, slots=False)
class CloudProvider(Provider):
    """A cloud. ``/{name}`` stands for Anthropic's base URL, ``/{name}/v1`` for OpenAI's where it has those routes."""

    client_type: ClassVar[str] = "anthropic"
    learns: ClassVar[bool] = True
    lists_models: ClassVar[bool] = False
    adapts: ClassVar[bool] = True
    overloaded: ClassVar[frozenset[int]] = Provider.overloaded | {529}
    credential_header: ClassVar[bytes] = b"Authorization"
    credential_form: ClassVar[bytes] = b"Bearer %b"

    def route(self, method: bytes, path: str) -> Route:
        """Return the route of a path. Raise RouteMissing for a route of an API that the cloud does not have."""
        try:
            return super().route(method, path)
        except RouteUnknown as error:
            if path.startswith(_API_ROUTES):
                raise RouteMissing(f"{self.name} ({self.type}) does not serve {path[:100]}.") from None
            raise error

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        """Return the URL of a path. OpenAI's routes stand beside Anthropic's base."""
        base = self.base_url
        if any(raw_path.startswith(route.path.encode()) for route in OPENAI_ROUTES):
            base = f"{base.removesuffix('/anthropic')}/openai"
        return b"%b%b%b" % (base.encode(), raw_path, b"?" + query if query else b"")

    def credential(self, client: RawHeaders) -> Credential:
        """Return a client's own credential if it is one of this cloud, or else the configured one.

        SDKs and Claude Code insist on some key, which a cloud could not do anything with.
        """
        looked_up = Credential(CENTRALIZED, ())  # the authorizer adds the credential
        configured = self._configured or (looked_up if self.finds_credentials else None)
        values = (value for name in PROVIDER_HEADERS for value in client.by_name.get(name, ()))
        if self.byok == ALLOW and not any(self.is_own(strip_scheme(value)) for value in values):
            client = client.filter(lambda name: name not in PROVIDER_HEADERS)
        return choose_credential(client, configured, self.name, self.byok)

    def model_name(self, asked: str) -> str:
        """Return the cloud's name for a model. The mark of a long context is the client's own, and no part of it."""
        return super().model_name(asked.removesuffix(_LONG_CONTEXT))

    def is_own(self, secret: bytes) -> bool:
        """Return True if a client's credential, without its scheme, is one of this cloud."""
        raise NotImplementedError

    def error_body(self, error: GatewayError) -> dict[str, Any]:
        """Anthropic's own shape."""
        return error.as_anthropic()

    def error_body_on(self, path: str, error: GatewayError) -> dict[str, Any]:
        """Return an error in the shape of the API that has this path."""
        is_openai = any(path.startswith(route.path) for route in OPENAI_ROUTES)
        return error.as_openai() if is_openai else error.as_anthropic()


def translate_error(response: IResponse) -> IResponse:
    """Return a response whose body, if it is an error, has Anthropic's shape."""
    if response.code < 400 or (unpacked := decoded(response)) is None:
        return response
    response, headers = unpacked, response.headers
    name = (headers.getRawHeaders("x-amzn-errortype") or [""])[0]
    request_id = (headers.getRawHeaders("x-amzn-requestid") or [None])[0]
    headers.setRawHeaders(b"Content-Type", [b"application/json"])
    return TranslatedResponse(response, ErrorTranslator(response.code, name, request_id))


def body_version(headers: RawHeaders, configured: str, usual: str) -> bytes:
    """Return ``anthropic_version`` as JSON: the configured one, a new client's own, or the cloud's usual one."""
    [given] = headers.by_name.get(b"anthropic-version", [b""])[:1]
    version = given.decode("latin-1")
    return jsontext.dump(configured or (version if version >= _NATIVE_VERSION else usual))


def quoted(model: str, safe: str) -> str:
    """Return a model's name as one segment of a path. The slash of an ARN becomes ``%2F``."""
    if model in (".", ".."):
        return model.replace(".", "%2E")
    return quote(model, safe=safe)


def require(module: str, extra: str, kind: str) -> None:
    """Raise InvalidSetting if a package is not installed that this type of provider needs."""
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise InvalidSetting("type", f'{kind} needs a package that is not installed: pip install "aibridge[{extra}]"')

"""Anthropic's models, and OpenAI's, on Microsoft Foundry.

https://learn.microsoft.com/en-us/azure/ai-foundry/foundry-models/how-to/use-foundry-models-claude
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar

from attrs import Factory, frozen
from twisted.internet.interfaces import IReactorTime

from .. import settings
from ..client.routes import Route
from ..clouds.bearer import BearerAuthorizer, find_entra_token
from ..http.headers import RawHeaders
from ..identity.credentials import Credential, hint
from ..interfaces import IAuthorizer
from ..record.records import BYOK, CENTRALIZED
from ..upstream.adaptation import Adaptation
from ..upstream.refusals import Addition
from ..wire.request_body import RequestBody
from .azure import ENTRA, KEY, as_azure_sends, check_azure
from .cloud import COUNT_ROUTE, MESSAGES_ROUTE, OPENAI_ROUTES, PROBES, CloudProvider, translate_error

_SCOPE = "https://ai.azure.com/.default"
_KEY_HEADERS = (b"x-api-key", b"api-key")


@frozen(kw_only=True, slots=False)
class FoundryProvider(CloudProvider):
    """Foundry, with a resource's key or a token of Microsoft Entra."""

    type: ClassVar[str] = "foundry"
    variables: ClassVar[Mapping[str, Sequence[str]]] = {"resource": ("ANTHROPIC_FOUNDRY_RESOURCE",)}
    routes: ClassVar[tuple[Route, ...]] = (MESSAGES_ROUTE, COUNT_ROUTE, *OPENAI_ROUTES, *PROBES)

    resource: str = settings.setting(str, default="")
    """The resource's name: the first part of ``https://{resource}.services.ai.azure.com``."""
    auth: str = settings.choice(KEY, ENTRA, default=KEY)
    base_url: str = settings.base_url(
        default=Factory(lambda self: f"https://{self.resource}.services.ai.azure.com/anthropic", takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        check_azure(self.type, self.resource, self.base_url, self.auth)

    @property
    def finds_credentials(self) -> bool:
        """True if tokens of Entra are sent."""
        return self.auth == ENTRA

    def is_own(self, secret: bytes) -> bool:
        """Return True: keys of Azure can't be told from others."""
        return bool(secret)

    def credential(self, client: RawHeaders) -> Credential:
        """Return a credential in the headers that Foundry reads."""
        chosen = super().credential(client)
        return as_azure_sends(chosen, _KEY_HEADERS) if chosen.kind == BYOK else chosen

    def _make_credential(self, api_key: str) -> Credential:
        key = api_key.encode()
        return Credential(CENTRALIZED, tuple((name, key) for name in _KEY_HEADERS), hint(key))

    def authorizer(self, reactor: IReactorTime) -> IAuthorizer | None:
        """Return the keeper of Entra's tokens."""
        return BearerAuthorizer("azure", partial(find_entra_token, _SCOPE), reactor) if self.auth == ENTRA else None

    def adapt(
        self, path: str, query: bytes, body: RequestBody, headers: RawHeaders, without: Collection[Addition]
    ) -> Adaptation:
        """Return the changes to a request: only those of the tables."""
        adaptation = super().adapt(path, query, body, headers, without)
        if path in (MESSAGES_ROUTE.path, COUNT_ROUTE.path):
            adaptation.translate = translate_error
        return adaptation

"""OpenAI's models on Azure. https://learn.microsoft.com/en-us/azure/ai-foundry/openai/latest"""

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import ClassVar

from attrs import Factory, evolve, frozen
from twisted.internet.interfaces import IReactorTime

from .. import settings
from ..client.routes import Route
from ..clouds.bearer import BearerAuthorizer, find_entra_token
from ..errors import BadRequest
from ..http.headers import RawHeaders
from ..identity.credentials import Credential, choose_credential, strip_scheme
from ..interfaces import IAuthorizer
from ..record.records import BYOK, CENTRALIZED
from ..settings import InvalidSetting
from ..upstream.adaptation import Adaptation
from ..upstream.refusals import Addition
from ..wire import json_splice, jsontext
from ..wire.request_body import RequestBody
from .cloud import quoted, require
from .openai import OpenAIProvider

KEY, ENTRA = "key", "entra"
_SCOPE = "https://cognitiveservices.azure.com/.default"
_RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_IN_DEPLOYMENTS = ("/v1/chat/completions", "/v1/embeddings", "/v1/images/generations")
"""The routes that stand below a deployment, as openai/lib/azure.py lists them."""
_AZURE_PATH = re.compile(r"^(?:/openai)?(?:/v1)?(?:/deployments/[^/]+)?/(?=[a-z])")
"""The beginning of the paths of Azure's own client, which names the deployment."""
_NAMED = re.compile(r"^(?:/openai)?(?:/v1)?/deployments/([^/]+)/")


@frozen
class DeploymentRequest:
    """A request of Azure's own client: the deployment in its path is the model, whatever its body says."""

    deployment: str
    framed: ClassVar[bool] = False

    def restore(self, body: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
        """Return the body with the deployment as its model. Raise BadRequest if it is no JSON object."""
        document = jsontext.load_object(body)
        if document is None:
            raise BadRequest("The request body must be a JSON object.")
        if document.get("model") != self.deployment:
            body = json_splice.change_members(body, {"model": jsontext.dump(self.deployment)})
        return body, {}


def check_azure(kind: str, resource: str, base_url: str, auth: str) -> None:
    """Raise InvalidSetting if these settings of a provider at Azure can't be used."""
    if resource and not _RESOURCE.fullmatch(resource):
        raise InvalidSetting("resource", "must be the name of a resource of Azure, without its domain")
    if not resource and base_url.startswith("https://."):
        raise InvalidSetting("resource", f"missing; {kind} needs it, or a base_url")
    if auth == ENTRA:
        require("azure.identity", "azure", f'{kind} with auth = "entra"')


def as_azure_sends(credential: Credential, key_headers: Collection[bytes]) -> Credential:
    """Return a credential in Azure's headers: a token of Entra, which is a JWT, as a bearer, and a key in these."""
    secret = strip_scheme(credential.headers[0][1])
    if secret.startswith(b"eyJ"):
        return evolve(credential, headers=((b"Authorization", b"Bearer " + secret),))
    return evolve(credential, headers=tuple((name, secret) for name in key_headers))


@frozen(kw_only=True, slots=False)
class AzureProvider(OpenAIProvider):
    """Azure OpenAI, by its ``/openai/v1``, or with an `api_version` by its deployments."""

    type: ClassVar[str] = "azure"
    adapts: ClassVar[bool] = True
    credential_header: ClassVar[bytes] = b"api-key"
    credential_form: ClassVar[bytes] = b"%b"

    resource: str = settings.setting(str, default="")
    """The resource's name: the first part of ``https://{resource}.openai.azure.com``."""
    auth: str = settings.choice(KEY, ENTRA, default=KEY)
    api_version: str = settings.setting(str, default="")
    """The version of the API with deployments; empty for ``/openai/v1``, which has none."""
    deployment: str = settings.setting(str, default="")
    """The deployment of all models; empty for that of the model's own name. Needs `api_version`."""
    base_url: str = settings.base_url(default=Factory(lambda self: self._usual_url(), takes_self=True))

    def __attrs_post_init__(self) -> None:
        check_azure(self.type, self.resource, self.base_url, self.auth)
        if self.deployment and not self.api_version:
            raise InvalidSetting("deployment", "is a part of URLs only with api_version; set that, too")

    def _usual_url(self) -> str:
        return f"https://{self.resource}.openai.azure.com/openai{'' if self.api_version else '/v1'}"

    @property
    def finds_credentials(self) -> bool:
        """True if tokens of Entra are sent."""
        return self.auth == ENTRA

    def route(self, method: bytes, path: str) -> Route:
        """Return the route of a path, which may be one of Azure's own client."""
        route, named = super().route(method, _AZURE_PATH.sub("/v1/", path, count=1)), _NAMED.match(path)
        return route if named is None else evolve(route, cloud=DeploymentRequest(named[1]))

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        """Return the URL of a path, with the version of the API."""
        path = _AZURE_PATH.sub("/", raw_path.decode("latin-1"), count=1)
        if self.api_version and b"api-version=" not in query:
            query = b"&".join(filter(None, (query, b"api-version=" + self.api_version.encode())))
        elif not self.api_version:  # ``/openai/v1`` knows no versions
            query = b"&".join(part for part in query.split(b"&") if not part.startswith(b"api-version="))
        return b"%b%b%b" % (self.base_url.encode(), path.encode("latin-1"), b"?" + query if query else b"")

    def credential(self, client: RawHeaders) -> Credential:
        """Return a credential in the header that Azure reads."""
        looked_up = Credential(CENTRALIZED, ()) if self.finds_credentials else None
        chosen = choose_credential(client, self._configured or looked_up, self.name, self.byok)
        return as_azure_sends(chosen, (b"api-key",)) if chosen.kind == BYOK else chosen

    def authorizer(self, reactor: IReactorTime) -> IAuthorizer | None:
        """Return the keeper of Entra's tokens."""
        return BearerAuthorizer("azure", partial(find_entra_token, _SCOPE), reactor) if self.auth == ENTRA else None

    def model_name(self, asked: str) -> str:
        """Return the deployment of a model; a client may name one itself. Raise BadRequest for any other name."""
        try:
            return super().model_name(asked)
        except BadRequest:
            if asked not in self.models.values():
                raise
            return asked

    def adapt(
        self, path: str, query: bytes, body: RequestBody, headers: RawHeaders, without: Collection[Addition]
    ) -> Adaptation:
        """Return the changes to a request: with `api_version` the deployment stands in the URL."""
        adaptation = super().adapt(path, query, body, headers, without)
        if self.api_version and path in _IN_DEPLOYMENTS and "/deployments/" not in self.base_url:
            deployment = quoted(self.deployment or adaptation.model, "")
            base = self.base_url.encode()
            adaptation.url = adaptation.url.replace(base, b"%b/deployments/%b" % (base, deployment.encode()), 1)
        return adaptation

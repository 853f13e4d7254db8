"""Anthropic's models, and others with OpenAI's APIs, on Google's Vertex AI.

https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from attrs import Factory, evolve, frozen
from twisted.internet.interfaces import IReactorTime

from .. import settings
from ..client.routes import Route
from ..clouds.bearer import BearerAuthorizer, find_google_token
from ..http.headers import RawHeaders
from ..interfaces import IAuthorizer
from ..settings import InvalidSetting
from ..upstream.adaptation import Adaptation
from ..upstream.refusals import Addition
from ..wire.messages.cloud_requests import CloudRequest
from ..wire.request_body import RequestBody
from .cloud import (
    COUNT_ROUTE,
    MESSAGES_ROUTE,
    OPENAI_ROUTES,
    PROBES,
    CloudProvider,
    body_version,
    quoted,
    require,
    translate_error,
)
from .model_names import model_table

_PLACE = re.compile(r"[a-z0-9-]+")
_PROJECT = re.compile(r"[a-z0-9:.-]+")
_RAW_PREDICT = re.compile(
    r"(?:/v1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/([^/:]+):(?:rawPredict|(streamRawPredict))"
)
_OPENAI_BASES = {"/v1/chat/completions": "endpoints/openapi", "/v1/responses": "publishers/openai/v1"}
_DATES = {r"^(claude-.+)-(20\d{6})$": "{1}@{2}", r"^(.+)$": "{1}"}
"""Vertex has dates of models behind an ``@``."""


@frozen(kw_only=True, slots=False)
class VertexProvider(CloudProvider):
    """Vertex AI, with Google's application default credentials."""

    type: ClassVar[str] = "vertex"
    variables: ClassVar[Mapping[str, Sequence[str]]] = {
        "region": ("CLOUD_ML_REGION",),
        "project": ("ANTHROPIC_VERTEX_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"),
    }
    routes: ClassVar[tuple[Route, ...]] = (MESSAGES_ROUTE, COUNT_ROUTE, *OPENAI_ROUTES, *PROBES)
    region: str = settings.word("global")
    """A region such as ``europe-west1``, a multi-region (``us``, ``eu``), or ``global``."""
    project: str = settings.setting(str, default="")
    anthropic_version: str = settings.setting(str, default="")
    """The version in the body; empty for the client's own, if Vertex knows it."""
    models: Mapping[str, str] = model_table(_DATES)
    base_url: str = settings.base_url(default=Factory(lambda self: self._usual_url(), takes_self=True))

    def __attrs_post_init__(self) -> None:
        if not _PLACE.fullmatch(self.region):
            raise InvalidSetting("region", "must be a region of Google Cloud, such as europe-west1, or global")
        if not _PROJECT.fullmatch(self.project):
            raise InvalidSetting("project", "must be the id of a project of Google Cloud")
        require("google.auth", "google", "vertex")
        require("requests", "google", "vertex")

    def route(self, method: bytes, path: str) -> Route:
        """Return the route of a path, which may be one of Google's own clients."""
        found = _RAW_PREDICT.fullmatch(path)
        if found is None:
            return super().route(method, path)
        if found[1] == "count-tokens":
            return evolve(super().route(method, COUNT_ROUTE.path), cloud=CloudRequest())
        return evolve(super().route(method, MESSAGES_ROUTE.path), cloud=CloudRequest(found[1], found[2] is not None))

    def _usual_url(self) -> str:
        # As in Anthropic's SDK, anthropic/lib/vertex/_client.py.
        if self.region in ("us", "eu"):
            return f"https://aiplatform.{self.region}.rep.googleapis.com/v1"
        prefix = "" if self.region == "global" else f"{self.region}-"
        return f"https://{prefix}aiplatform.googleapis.com/v1"

    @property
    def finds_credentials(self) -> bool:
        """True: there are no keys."""
        return True

    def is_own(self, secret: bytes) -> bool:
        """Return True for one of Google's access tokens."""
        return secret.startswith(b"ya29.")

    def authorizer(self, reactor: IReactorTime) -> IAuthorizer | None:
        """Return the keeper of Google's tokens."""
        return BearerAuthorizer("google", find_google_token, reactor)

    def warnings(self) -> list[str]:
        """Return what looks wrong with these settings; the base URL ends in ``/v1`` as it should."""
        return [line for line in super().warnings() if not line.startswith("base_url")]

    def url(self, raw_path: bytes, query: bytes) -> bytes:
        """Return the URL of a path, with OpenAI's routes where Vertex has them."""
        path = raw_path.decode("latin-1")
        base = f"{self.base_url}/projects/{self.project}/locations/{self.region}"
        if path in _OPENAI_BASES:
            path = f"/{_OPENAI_BASES[path]}{path.removeprefix('/v1')}"
        return b"%b%b%b" % (base.encode(), path.encode("latin-1"), b"?" + query if query else b"")

    def adapt(
        self, path: str, query: bytes, body: RequestBody, headers: RawHeaders, without: Collection[Addition]
    ) -> Adaptation:
        """Return the changes to a request: the model stands in the URL, and the version in the body."""
        adaptation = super().adapt(path, query, body, headers, without)
        if path not in (MESSAGES_ROUTE.path, COUNT_ROUTE.path):
            return adaptation
        adaptation.translate = translate_error
        if path == COUNT_ROUTE.path:
            name, action = "count-tokens", "rawPredict"
        else:
            name, action = quoted(adaptation.model, "@:"), "streamRawPredict" if body.streaming else "rawPredict"
            adaptation.members["model"] = None
        adaptation.url = self.url(f"/publishers/anthropic/models/{name}:{action}".encode(), b"")
        if "anthropic_version" not in body.document:
            version = body_version(headers, self.anthropic_version, "vertex-2023-10-16")
            adaptation.members["anthropic_version"] = version
        headers.removeHeader(b"anthropic-version")
        return adaptation

"""Anthropic's models, and OpenAI's, on Amazon Bedrock.

https://docs.aws.amazon.com/bedrock/latest/userguide/inference-messages-api.html
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from attrs import Factory, evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from .. import settings
from ..client.routes import Route
from ..clouds.aws import AwsSettings, SigV4Authorizer
from ..errors import BadRequest
from ..http.decoding import decoded
from ..http.headers import RawHeaders
from ..interfaces import IAuthorizer
from ..settings import InvalidSetting
from ..upstream.adaptation import Adaptation
from ..upstream.refusals import Addition
from ..upstream.translation import TranslatedResponse
from ..wire import jsontext
from ..wire.eventstream import CONTENT_TYPE
from ..wire.messages.bedrock import BedrockStream
from ..wire.messages.cloud_requests import CloudRequest
from ..wire.request_body import RequestBody
from .base import ANTHROPIC_BETA
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

MESSAGES_API, MANTLE, INVOKE = "messages", "mantle", "invoke"
SIGV4, BEARER = "sigv4", "bearer"

_REGION = re.compile(r"[a-z]{2,8}(-[a-z0-9]+)+-\d+")
_REGION_PREFIX = re.compile(r"^[a-z-]+\.(?=anthropic\.)")
_VERSION = re.compile(r"-v\d+(:\d+)?$")
_OWN_KEY = re.compile(rb"ABSK|bedrock-api-key-")
"""The beginnings of Bedrock's long-term and short-term API keys."""
_OWN_NAME = re.compile(r"^arn:aws|(^|\.)anthropic\.")
_INVOKED = re.compile(r"/model/(?P<model>.+)/invoke(?P<stream>-with-response-stream)?")
_USER_PROFILE = b"anthropic-user-profile-id"
_DOMAINS = {"cn-": "amazonaws.com.cn", "eusc-": "amazonaws.eu"}
"""The domains of the partitions of AWS, by the beginnings of their regions."""


@frozen(kw_only=True, slots=False)
class BedrockProvider(CloudProvider):
    """Bedrock, by one of its three doors: `api`."""

    type: ClassVar[str] = "bedrock"
    variables: ClassVar[Mapping[str, Sequence[str]]] = {"region": ("AWS_REGION", "AWS_DEFAULT_REGION")}

    region: str = settings.setting(str, default="")
    """The region of AWS, such as ``eu-central-1``."""
    api: str = settings.choice(MESSAGES_API, MANTLE, INVOKE, default=MESSAGES_API)
    auth: str = settings.choice(SIGV4, BEARER, default=SIGV4)
    """``sigv4`` signs with the credentials that botocore finds, ``bearer`` sends `api_key`, a Bedrock API key."""
    profile: str = settings.setting(str, default="")
    """A profile of AWS's configuration files; empty for the default chain."""
    role_arn: str = settings.setting(str, default="")
    """A role that is assumed with these credentials."""
    external_id: str = settings.setting(str, default="")
    anthropic_version: str = settings.setting(str, default="")
    """For ``invoke``: the version in the body; empty for the client's own, if Bedrock knows it."""
    base_url: str = settings.base_url(default=Factory(lambda self: self._usual_url(), takes_self=True))

    def __attrs_post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise InvalidSetting("region", "must be a region of AWS, such as eu-central-1")
        if self.external_id and not self.role_arn:
            raise InvalidSetting("external_id", "is used for a role only; set role_arn, too")
        if self.auth == SIGV4:
            require("botocore", "aws", 'bedrock with auth = "sigv4"')

    @cached_property
    def routes(self) -> tuple[Route, ...]:  # type: ignore[override]
        """Anthropic's routes that this door has, and OpenAI's."""
        counting = () if self.api == INVOKE else (COUNT_ROUTE,)
        return (MESSAGES_ROUTE, *counting, *OPENAI_ROUTES, *PROBES)

    def route(self, method: bytes, path: str) -> Route:
        """Return the route of a path, which may be one of Amazon's own clients."""
        if found := _INVOKED.fullmatch(path):
            streaming = found["stream"] is not None
            path = MESSAGES_ROUTE.path
            return evolve(super().route(method, path), cloud=CloudRequest(found["model"], streaming, streaming))
        return super().route(method, path)

    def _usual_url(self) -> str:
        domain = next((name for begin, name in _DOMAINS.items() if self.region.startswith(begin)), "amazonaws.com")
        if self.api == MANTLE:
            return f"https://bedrock-mantle.{self.region}.api.aws/anthropic"
        runtime = f"https://bedrock-runtime.{self.region}.{domain}"
        return runtime if self.api == INVOKE else f"{runtime}/anthropic"

    def model_name(self, asked: str) -> str:
        """Return Bedrock's name for a model; mantle has neither regions nor versions in its names.

        A client may use Bedrock's own names, which need not be in the table.
        """
        try:
            name = super().model_name(asked)
        except BadRequest:
            if not _OWN_NAME.search(asked):
                raise
            name = asked
        return _VERSION.sub("", _REGION_PREFIX.sub("", name)) if self.api == MANTLE else name

    @property
    def finds_credentials(self) -> bool:
        """True unless a Bedrock API key is sent."""
        return self.auth == SIGV4

    def is_own(self, secret: bytes) -> bool:
        """Return True for a Bedrock API key."""
        return _OWN_KEY.match(secret) is not None

    def authorizer(self, reactor: IReactorTime) -> IAuthorizer | None:
        """Return the signer of requests."""
        if self.auth == BEARER:
            return None
        service = "bedrock-mantle" if self.api == MANTLE else "bedrock"
        found = {"profile": self.profile, "role_arn": self.role_arn, "external_id": self.external_id}
        return SigV4Authorizer(
            AwsSettings(region=self.region, service=service, **{name: text or None for name, text in found.items()}),
            reactor,
        )

    def adapt(
        self, path: str, query: bytes, body: RequestBody, headers: RawHeaders, without: Collection[Addition]
    ) -> Adaptation:
        """Return the changes to a request: at least the model's name, and for ``invoke`` the place of some members."""
        adaptation = super().adapt(path, query, body, headers, without)
        for name in [name for name in headers.by_name if name.startswith(b"x-amz-")]:
            headers.removeHeader(name)  # of a signature for another request
        if path not in (MESSAGES_ROUTE.path, COUNT_ROUTE.path):
            return adaptation
        adaptation.translate = translate_answer if self.api == INVOKE else translate_error
        if self.api != MESSAGES_API and (profile := headers.by_name.get(_USER_PROFILE)):
            headers.removeHeader(_USER_PROFILE)
            if "user_profile_id" not in body.document:
                adaptation.members["user_profile_id"] = jsontext.dump(profile[0].decode("latin-1"))
        if self.api == INVOKE:
            self._invoke(adaptation, body, headers)
        return adaptation

    def _invoke(self, adaptation: Adaptation, body: RequestBody, headers: RawHeaders) -> None:
        """Put what Anthropic's API has in the body into the URL, and what it has in headers into the body."""
        action = "invoke-with-response-stream" if body.streaming else "invoke"
        # As Anthropic's SDK quotes it: anthropic/lib/bedrock/_client.py
        root, name = self.base_url.removesuffix("/anthropic"), quoted(adaptation.model, ":;")
        adaptation.url = f"{root}/model/{name}/{action}".encode()
        members = adaptation.members
        members |= {"model": None, "stream": None}
        if "anthropic_version" not in body.document:
            members["anthropic_version"] = body_version(headers, self.anthropic_version, "bedrock-2023-05-31")
        if (betas := headers.by_name.get(ANTHROPIC_BETA)) and "anthropic_beta" not in body.document:
            flags = [flag.strip() for value in betas for flag in value.decode("latin-1").split(",")]
            members["anthropic_beta"] = jsontext.dump([flag for flag in flags if flag])
        for moved in (ANTHROPIC_BETA, b"anthropic-version"):
            headers.removeHeader(moved)


def translate_answer(response: IResponse) -> IResponse:
    """Return an answer of ``invoke`` as Anthropic's API gives it: errors in its shape, streams as its events."""
    media_type = (response.headers.getRawHeaders(b"content-type") or [b""])[0]
    if response.code < 300 and media_type.startswith(CONTENT_TYPE) and (unpacked := decoded(response)) is not None:
        response.headers.setRawHeaders(b"Content-Type", [b"text/event-stream; charset=utf-8"])
        return TranslatedResponse(unpacked, BedrockStream())
    return translate_error(response)

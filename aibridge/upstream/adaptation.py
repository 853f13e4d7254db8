"""The difference between a client's request and the request that its provider takes."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from ..errors import GatewayError
from ..http.headers import RawHeaders
from ..interfaces import IAdaptingProvider, IAuthorizer, IExchange, IProvider
from ..record.records import CENTRALIZED
from ..wire import json_splice
from ..wire.json_paths import Path, remove_fields
from ..wire.request_body import RequestBody
from .call import UpstreamCall
from .refusals import Addition
from .refused_parts import SentParts

if TYPE_CHECKING:
    from ..identity.credentials import Credential


_REFUSED = (401, 403)


@define(eq=False, kw_only=True)
class Adaptation:
    """The changes to one request, over all its rounds, and to its answers.

    Only what has to change does: members of the body are set and removed by splicing.
    """

    url: bytes
    model: str
    """The provider's name for the model."""
    members: dict[str, bytes | None] = field(factory=dict)
    """Members of the body that are set, each to a JSON text, or removed if that is None."""
    fields: Sequence[Path] = ()
    """Fields that are removed from the body."""
    sent: SentParts | None = None
    """The parts of the client's own that the provider may still refuse; None if the gateway does not learn that, and
    from the answer's beginning on: they hold the whole request.
    """
    translate: Callable[[IResponse], IResponse] | None = None
    """Return a response in the client's API; None if the provider speaks it."""
    error_body: Callable[[GatewayError], dict[str, object]] = GatewayError.as_either
    """Return the body of an error of the gateway's own, in the client's API."""
    authorizer: IAuthorizer | None = None
    """Signs the request; None if its credential is among its headers."""

    def edit(self, body: bytes) -> bytes:
        """Return a round's body as the provider takes it."""
        if self.fields:
            body = remove_fields(body, self.fields)
        return json_splice.change_members(body, self.members) if self.members else body

    def authorize(self, call: UpstreamCall) -> "Deferred[None] | None":
        """Add the credential to a request that is about to be sent, now or when the Deferred fires."""
        return self.authorizer.authorize(call) if self.authorizer is not None else None

    def answer(self, response: IResponse) -> IResponse:
        """Return a response in the client's API. A refused credential is looked up again for later requests."""
        if response.code in _REFUSED and self.authorizer is not None:
            self.authorizer.doubt()
        return self.translate(response) if self.translate is not None else response


@frozen(eq=False)
class Adapter:
    """Makes the adaptations to one provider."""

    provider: IAdaptingProvider
    authorizer: IAuthorizer | None

    async def find_credential(self, chosen: "Credential", exchange: IExchange) -> "Credential":
        """Return the credential for a request: a client's own as it is, or else the configured one, once it is found.

        Raise NoCredentials if it is not found.
        """
        if self.authorizer is None or not _is_looked_up(chosen):
            return chosen
        return await exchange.wait(self.authorizer.credential())

    def adapt(
        self,
        target: tuple[str, bytes],
        body: RequestBody,
        headers: RawHeaders,
        credential: "Credential",
        without: Collection[Addition] = (),
    ) -> Adaptation:
        """Return the changes to a request, and make those to its headers. `target` is its route and its query."""
        adaptation = self.provider.adapt(*target, body, headers, without)
        adaptation.error_body = partial(self.provider.error_body_on, target[0])
        if _is_looked_up(credential):
            adaptation.authorizer = self.authorizer
        return adaptation

    def authorized(self, url: bytes, credential: "Credential") -> Adaptation | None:
        """Return the adaptation of a request that is only signed; None if it needs no signature."""
        if self.authorizer is None or not _is_looked_up(credential):
            return None
        return Adaptation(url=url, model="", authorizer=self.authorizer)


def _is_looked_up(credential: "Credential") -> bool:
    """Return True for a credential that is neither the client's own nor a configured key."""
    return credential.kind == CENTRALIZED and not credential.headers


def make_adapter(provider: IProvider, reactor: IReactorTime) -> Adapter | None:
    """Return the adapter of a provider; None if it takes all requests as they are."""
    adapting = IAdaptingProvider(provider, None)
    return Adapter(adapting, adapting.authorizer(reactor)) if adapting is not None and adapting.adapts else None

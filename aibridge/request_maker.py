"""The maker of one provider's requests, as those see it who may have a request made anew: its interceptor."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from .interfaces import IExchange, IProvider
from .upstream.refusals import Addition, LearntRefusals
from .wire.formats import WireFormat

if TYPE_CHECKING:
    from .access import Grant, ProviderAccess
    from .client.request import ClientRequest, ModelRequest
    from .interception import Interception
    from .tools.conversation import Conversation
    from .upstream.call import UpstreamCall


class RequestMaker(Protocol):
    """Makes the requests to one provider."""

    @property
    def provider(self) -> IProvider:
        """The provider."""

    @property
    def access(self) -> "ProviderAccess | None":
        """The provider's keys and what it stores for them; None if there is nothing to choose and to guard."""

    @property
    def refusals(self) -> LearntRefusals:
        """The additions that the provider was seen to refuse."""

    def format_of(self, request: "ClientRequest") -> WireFormat | None:
        """Return this provider's form of the API that a request to another one uses; None if it has no such route."""

    async def prepare(
        self,
        request: "ClientRequest",
        parsed: "ModelRequest",
        wire_format: WireFormat,
        exchange: IExchange,
        fallback_from: str | None = None,
    ) -> "Interception":
        """Return an interception that is ready to run. Raises a `GatewayError` if the request can't be passed on."""

    async def take_over(
        self, interception: "Interception", request: "ClientRequest", parsed: "ModelRequest", wire_format: WireFormat
    ) -> "Grant":
        """Let this provider serve an interception whose own provider can't. Raises a `GatewayError` if it can't."""

    async def converse(
        self, request: "ClientRequest", parsed: "ModelRequest", wire_format: WireFormat, without: Collection[Addition]
    ) -> "Conversation":
        """Return the conversation of a request, to which nothing in `without` is added."""

    def call(
        self,
        request: "ClientRequest",
        parsed: "ModelRequest",
        conversation: "Conversation",
        grant: "Grant",
        without: Collection[Addition],
    ) -> "UpstreamCall":
        """Return the request as it goes to the provider first, without these additions."""

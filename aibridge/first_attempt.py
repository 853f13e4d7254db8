"""The first request of an exchange, and its repetition without what the provider refuses of the gateway's additions."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from .round import Round
from .tools.conversation import Conversation
from .upstream.call import UpstreamCall
from .upstream.refusals import Addition, LearntRefusals
from .wire.formats import WireFormat

if TYPE_CHECKING:
    from .client.request import ClientRequest, ModelRequest
    from .identity.credentials import Credential
    from .interception import Interception

_MAX_REPETITIONS = 8
"""Repetitions of one request, each of which leaves out one more of the gateway's additions."""


class RequestMaker(Protocol):
    """The maker of one provider's requests: its interceptor."""

    @property
    def refusals(self) -> LearntRefusals:
        """The additions that the provider was seen to refuse."""

    async def converse(
        self,
        request: "ClientRequest",
        parsed: "ModelRequest",
        wire_format: WireFormat,
        without: Collection[Addition],
    ) -> Conversation:
        """Return the conversation of a request, without these additions."""

    def call(
        self, request: "ClientRequest", parsed: "ModelRequest", conversation: Conversation, credential: "Credential"
    ) -> UpstreamCall:
        """Return the request of a conversation's first round."""


@frozen(eq=False)
class FirstAttempt:
    """The first request, from which another one can be made with less added to it."""

    interceptor: RequestMaker
    request: "ClientRequest"
    parsed: "ModelRequest"
    format: WireFormat
    credential: "Credential"

    async def without(self, refused: Collection[Addition]) -> tuple[Conversation, UpstreamCall]:
        """Return the conversation and the request to which none of these is added, nor what was learnt before."""
        interceptor, parsed = self.interceptor, self.parsed
        left_out = {*refused, *interceptor.refusals.known(parsed.body.model)}
        conversation = await interceptor.converse(self.request, parsed, self.format, left_out)
        return conversation, interceptor.call(self.request, parsed, conversation, self.credential)

    async def repeat(self, interception: "Interception", current: Round) -> Round:
        """Return the round of a request that the provider does not refuse for the gateway's additions.

        That is `current`, whose answer is an error, if it has another reason.
        """
        refused: list[Addition] = []
        for _ in range(_MAX_REPETITIONS):
            body = await current.read_refusal()
            addition = interception.conversation.refused_addition(current.code, body)
            if addition is None:
                break
            current.discard()
            refused.append(addition)
            interception.conversation, interception.call = await self.without(refused)
            current = interception.new_round()
            await current.send(interception.call)
            if current.succeeded:
                self.interceptor.refusals.learn(self.parsed.body.model, refused)
                break
        return current

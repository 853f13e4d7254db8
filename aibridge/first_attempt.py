"""The first request of an exchange: repeated without what the provider refuses, or made to another provider."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from .access import Grant
from .errors import GatewayError, RecordingError, RecordingImpossible, UpstreamFailed, UpstreamTimeout
from .failover import NOT_SERVING, Failover, never_connected
from .round import Round
from .tools.conversation import Conversation
from .upstream.call import UpstreamCall
from .upstream.refusals import Addition
from .wire.formats import WireFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .client.request import ClientRequest, ModelRequest
    from .interception import Interception
    from .interceptor import Interceptor

_MAX_REPETITIONS = 8
"""Repetitions of one request, each of which leaves out more."""


@define(eq=False)
class FirstAttempt:
    """The first request, from which others can be made: with less added to it, or to another provider."""

    interceptor: "Interceptor"
    """The maker of the requests to the provider that serves now."""
    request: "ClientRequest"
    parsed: "ModelRequest"
    format: WireFormat
    grant: Grant
    failover: Failover | None
    _candidates: "Iterator[tuple[Interceptor, WireFormat]] | None" = field(default=None, init=False)
    """The providers that have not been tried; None before the first failure."""

    async def send(self, interception: "Interception") -> Round:
        """Return the round of the first request that a provider serves, or of the one that failed for good.

        Raises a `GatewayError` if the last provider gave no response.
        """
        while True:
            current = interception.new_round()
            try:
                await current.send(interception.call)
            except (UpstreamFailed, UpstreamTimeout) as error:
                if never_connected(error) and await self._move(interception, error.message):
                    continue
                raise
            if current.succeeded:
                self._accept(interception)
                return current
            if current.code not in NOT_SERVING or self.failover is None:
                return await self._repeat(interception, current)
            await current.read_refusal()
            if not await self._move(interception, f"HTTP {current.code}"):
                return current
            current.discard()

    async def _move(self, interception: "Interception", why: str) -> bool:
        """Let the next provider that can serve the request take it over. Return False if there is none."""
        if self.failover is None:
            return False
        if self._candidates is None:
            self._candidates = self.failover.candidates(self.request, self.parsed)
        for interceptor, wire_format in self._candidates:
            try:
                grant = await interceptor.take_over(interception, self.request, self.parsed, wire_format)
            except GatewayError:
                continue  # its circuit is open, or it has no credential
            self.failover.moved(self.request, self.parsed, interceptor, why)
            self.interceptor, self.format, self.grant = interceptor, wire_format, grant
            try:
                await interception.ledger.record_begin(interception.record)
            except RecordingError as error:
                raise RecordingImpossible("The gateway could not record that another provider serves this.") from error
            return True
        return False

    async def _repeat(self, interception: "Interception", current: Round) -> Round:
        """Return the round of a request that the provider does not refuse for what can be left out of it.

        That is `current`, whose answer is an error, if it has another reason.
        """
        refused: list[Addition] = []
        for _ in range(_MAX_REPETITIONS if may_repeat(interception) else 0):
            body = await current.read_refusal()
            more = [each for each in self._refused(interception, current.code, body) if each not in refused]
            if not more:  # the error has another reason, or it names what this request did not have
                break
            current.discard()
            refused += more
            interception.conversation, interception.call = await self._without(refused)
            current = interception.new_round()
            await current.send(interception.call)
            if current.succeeded:
                self.interceptor.refusals.learn(self.parsed.body.model, refused)
                self._accept(interception)
                break
        return current

    def _refused(self, interception: "Interception", status: int, body: bytes) -> Sequence[Addition]:
        """Return what an error refuses: an addition of the gateway's, or else parts of the client's own request."""
        addition = interception.conversation.refused_addition(status, body)
        adaptation = interception.call.adaptation
        if addition is not None or adaptation is None or adaptation.sent is None:
            return [addition] if addition is not None else []
        accepted = self.interceptor.refusals.accepted(self.parsed.body.model)
        return adaptation.sent.refused(status, body, accepted)

    def _accept(self, interception: "Interception") -> None:
        """Remember the client's beta flags that the provider accepted with this request."""
        adaptation = interception.call.adaptation
        if adaptation is not None and adaptation.sent is not None:
            self.interceptor.refusals.accept(self.parsed.body.model, adaptation.sent.betas)
            adaptation.sent = None

    async def _without(self, refused: Collection[Addition]) -> tuple[Conversation, UpstreamCall]:
        """Return the conversation and the request to which none of these is added, nor what was learnt before."""
        interceptor, parsed = self.interceptor, self.parsed
        left_out = {*refused, *interceptor.refusals.known(parsed.body.model)}
        conversation = await interceptor.converse(self.request, parsed, self.format, left_out)
        return conversation, interceptor.call(self.request, parsed, conversation, self.grant, left_out)


def may_repeat(interception: "Interception") -> bool:
    """Return True if the first request can be sent again with less in it."""
    adaptation = interception.call.adaptation
    return interception.conversation.may_repeat or (adaptation is not None and adaptation.sent is not None)

"""The provider's HTTP side with a span for each round of a traced exchange."""

from collections.abc import Callable

from attrs import frozen
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..interfaces import IExchange, IRelay, IUpstream
from ..upstream.call import UpstreamCall
from ..wire.formats import AnswerReader
from ..wire.tap import Tap


@implementer(IUpstream)
@frozen(eq=False)
class TracedUpstream:
    """Sends requests as another one does, and tells the exchange's trace of them, if it has one."""

    upstream: IUpstream

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.upstream.name

    @property
    def tap(self) -> "Callable[[AnswerReader], Tap] | None":
        """Returns the tap on every answer, as `IUpstream` says."""
        return self.upstream.tap

    def relay(self, tap: Tap, exchange: IExchange, reads_on: Callable[[], bool]) -> IRelay:
        """Return the receiver of a response's body."""
        return self.upstream.relay(tap, exchange, reads_on)

    async def request(self, call: UpstreamCall, exchange: IExchange) -> IResponse:
        """Send a request and wait for the head of the response, as `IUpstream` says."""
        trace = exchange.trace
        if trace is None:
            return await self.upstream.request(call, exchange)
        trace.round_began(call)
        try:
            response = await self.upstream.request(call, exchange)
        except Exception as error:
            trace.round_failed(error)
            raise
        trace.round_responded(response.code)
        return response

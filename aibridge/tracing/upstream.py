"""The provider's HTTP side with a span for each round of a traced exchange."""

from attrs import define
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..interfaces import IExchange, IUpstream
from ..upstream.call import UpstreamCall
from ..upstream.wrapped import WrappedUpstream


@implementer(IUpstream)
@define(eq=False)
class TracedUpstream(WrappedUpstream):
    """Sends requests as another one does, and tells the exchange's trace of them, if it has one."""

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

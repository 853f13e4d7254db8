"""A provider's socket in the place of its HTTP side, for the rounds of one exchange."""

from collections.abc import Callable
from functools import partial
from typing import cast

from attrs import frozen
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..errors import UpstreamTimeout
from ..http.deadlines import Deadlines
from ..interfaces import IExchange, IRelay, IUpstream
from ..upstream.call import UpstreamCall
from ..wire.formats import AnswerReader
from ..wire.tap import MessageTap, Tap
from .lane_response import LaneResponse
from .socket_key import SocketKey


@implementer(IUpstream)
@frozen(eq=False, kw_only=True)
class LaneUpstream:
    """Sends requests as messages, each once. Durations are in seconds."""

    http: IUpstream
    """The provider's HTTP side, whose relay carries the answer."""
    deadlines: Deadlines
    first_byte_timeout: float
    ask: Callable[[bytes], LaneResponse]
    """Sends a message, and returns the answer to it."""
    key: SocketKey | None = None
    """The socket's key, if it is one of several."""

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.http.name

    def tap(self, reader: AnswerReader) -> Tap:
        """Return the tap on an answer's messages."""
        return MessageTap(reader)

    async def request(self, call: UpstreamCall, exchange: IExchange) -> IResponse:
        """Send the request's body as a message, and wait for the first event of the answer.

        Raise `UpstreamFailed`, `UpstreamTimeout`, or the reason for which the exchange is cancelled.
        """
        exchange.raise_if_cancelled()
        if self.key is not None:
            self.key.check()
        exchange.upstream_requests += 1
        response = self.ask(call.body)
        too_slow = UpstreamTimeout(f"{self.name} did not begin to respond in {self.first_byte_timeout:g} seconds.")
        deadline = self.deadlines.start(self.first_byte_timeout, partial(exchange.cancel, too_slow))
        try:
            response = await exchange.wait(response.began())
        finally:
            self.deadlines.cancel(deadline)
        if self.key is not None:
            self.key.learn(response)
        return cast(IResponse, response)

    def relay(self, tap: Tap, exchange: IExchange, reads_on: Callable[[], bool]) -> IRelay:
        """Return the receiver of an answer."""
        return self.http.relay(tap, exchange, reads_on)

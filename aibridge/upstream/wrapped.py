"""The common part of upstreams that have another one behind them."""

from collections.abc import Callable

from attrs import define

from ..interfaces import IExchange, IRelay, IUpstream
from ..wire.formats import AnswerReader
from ..wire.tap import Tap


@define(eq=False)
class WrappedUpstream:
    """Leaves everything but requests to the upstream behind it. A subclass has the method for requests."""

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

"""A dialogue of one round: a request without tools of the gateway's."""

from collections.abc import Sequence

from attrs import frozen

from .formats import AnswerReader, WireFormat
from .requests import Asked
from .rounds import CallResult, InjectedCall, Turn


@frozen(eq=False)
class Monologue:
    """The client's request as it came, or nearly; see `rounds.Dialogue`."""

    format: WireFormat
    asked: Asked
    calls: Sequence[InjectedCall] = ()
    goes_on: bool = False
    keep_alive: bytes = b""

    def request(self) -> bytes:
        """The client's bytes, in the coding they came in unless something was changed."""
        amended = self.format.amend(self.asked.plain, self.asked.json)
        return self.asked.raw if amended is self.asked.plain else amended

    def listen(self) -> AnswerReader:
        """The format's reader."""
        return self.format.reader(self.asked.json)

    def add_results(self, results: Sequence[CallResult]) -> None:
        """There are none."""

    def turn(self) -> Turn | None:
        """Nothing was hidden."""
        return None

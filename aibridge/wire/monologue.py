"""A dialogue of one round: a request without tools of the gateway's."""

from collections.abc import Sequence

from .formats import AnswerReader, WireFormat
from .requests import Asked
from .rounds import CallResult, InjectedCall, Turn


class Monologue:
    """The client's request as it came, or nearly; see `rounds.Dialogue`.

    What was read of the request is not kept: it is several times as large as its text.
    """

    calls: Sequence[InjectedCall] = ()
    goes_on = False
    keep_alive = b""

    def __init__(self, wire_format: WireFormat, asked: Asked) -> None:
        amended = wire_format.amend(asked.plain, asked.json)
        # In the coding it came in, unless something was changed.
        self._body = asked.raw if amended is asked.plain else amended
        self._reader = wire_format.reader(asked.json)

    def request(self) -> bytes:
        """The client's bytes. They are handed out once, since they may be large and the answer may take long."""
        body, self._body = self._body, b""
        return body

    def listen(self) -> AnswerReader:
        """The format's reader."""
        return self._reader

    def add_results(self, results: Sequence[CallResult]) -> None:
        """There are none."""

    def turn(self) -> Turn | None:
        """Nothing was hidden."""
        return None

"""An answer of several rounds: what the wire formats share where the gateway runs tools of its own.

To the provider it is a conversation: the model calls, the results follow, the model goes on. To the client it is one
answer, without a trace of those calls. A `Dialogue` stands between the two views of one request; a `Turn` is what must
be remembered of it, so that the provider sees the conversation as it really went when the client comes back.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from .anchors import id_anchor, weight
from .formats import AnswerReader, Json


class Tool(Protocol):
    """A tool that is offered to the model."""

    @property
    def name(self) -> str:
        """Under which the model calls it."""

    @property
    def description(self) -> str:
        """What it does."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of its arguments."""


@frozen
class InjectedCall:
    """A call of one of the gateway's tools. ``arguments`` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str


@frozen
class CallResult:
    """What came of a call. Parts are ``{"type": "text", "text"}`` or ``{"type": "image", "data", "mime_type"}``."""

    call: InjectedCall
    parts: Sequence[Mapping[str, str]]
    is_error: bool = False


@frozen
class ToolRun:
    """A call that was run: its result for the model, and what is recorded of it."""

    result: CallResult
    tool: str
    """The server's own name for it."""
    server: str | None = None
    server_url: str | None = None
    error: str | None = None
    duration_ms: float = 0.0


@frozen
class HiddenRound:
    """A round that the client doesn't know: JSON arrays of what the model said and of the results, as sent."""

    assistant: bytes
    results: bytes
    visible: tuple[tuple[str, ...], ...] = ()
    """For each part of what the model said its anchors at the client; none for one that the client didn't get."""


@frozen
class Turn:
    """What is remembered of one answer. ``anchors`` are what the client will send back of it, by which it is found."""

    anchors: tuple[str, ...]
    rounds: tuple[HiddenRound, ...] = ()
    pending: bool = False
    """Whether the last round also called the client's tools, so that its results wait for theirs."""
    client_id: str | None = None
    """The answer's id as the client knows it."""
    provider_id: str | None = None
    """The id that stands for all of the answer at the provider."""


class Recollection:
    """The turns that were found again, by their anchors."""

    def __init__(self, turns: Iterable[Turn] = ()) -> None:
        self._turns = list(turns)
        self._by_anchor: dict[str, list[int]] = {}
        for position, turn in enumerate(self._turns):
            for anchor in turn.anchors:
                self._by_anchor.setdefault(anchor, []).append(position)

    def find(self, anchors: Iterable[str]) -> Turn | None:
        """The turn that most speaks for, of several alike the last: not every provider's ids are its alone."""
        weights: Counter[int] = Counter()
        for anchor in anchors:
            for position in self._by_anchor.get(anchor, ()):
                weights[position] += weight(anchor)
        return self._turns[max(weights, key=lambda position: (weights[position], position))] if weights else None

    def provider_id(self, client_id: object) -> str | None:
        """The provider's id for one that the client took from a merged answer."""
        turn = self.find(id_anchor(client_id))
        return turn.provider_id if turn else None


class Dialogue(Protocol):
    """One request of a client, with the gateway's tools offered, and its answer over all rounds."""

    @property
    def calls(self) -> Sequence[InjectedCall]:
        """What the last round called of the gateway's tools."""

    @property
    def goes_on(self) -> bool:
        """Whether the provider is to be asked again once these calls have their results."""

    @property
    def keep_alive(self) -> bytes:
        """A frame that means nothing, for the time in which tools run."""

    def request(self) -> bytes:
        """The body of the next round's request."""

    def listen(self) -> AnswerReader:
        """A reader for the next round's answer."""

    def add_results(self, results: Sequence[CallResult]) -> None:
        """The results of the last round's calls, in their order."""

    def turn(self) -> Turn | None:
        """What is to be remembered, once the answer is whole."""


@frozen
class ToolSupport:
    """How a wire format offers tools."""

    may_offer: Callable[[Json], bool]
    """Whether a request leaves room for tools."""
    forbids: Callable[[Json], bool]
    """Whether a request says that no tool may be called."""
    anchors: Callable[[Json], list[str]]
    """What a request's history may be found by."""
    bound: Callable[[Json], bool]
    """Whether the model's thoughts in a request's history hold only with the tools that they were thought with."""
    dialogue: Callable[[bytes, Json, Sequence[Tool], Recollection], Dialogue]
    """The dialogue over a request's body."""

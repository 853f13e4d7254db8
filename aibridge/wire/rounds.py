"""An answer of several rounds: what the wire formats share where the gateway runs tools of its own.

To the provider it is a conversation: the model calls, the results follow, the model goes on. To the client it is one
answer, without a trace of those calls. A `Dialogue` stands between the two views of one request; a `Turn` is what must
be remembered of it, so that the provider sees the conversation as it really went when the client comes back.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import Factory, define, frozen

from . import json_splice, jsontext
from .anchors import id_anchor, weight
from .formats import AnswerReader, Verdict, WireFormat
from .jsontext import JsonObject
from .request_body import RequestBody
from .tool_calls import InjectedCall, InjectedTool, ToolResult


@define
class Numbering:
    """How the client counts the parts of an answer: on over all rounds, without those that it doesn't get."""

    before: int = 0
    hidden: set[int] = Factory(set)

    def place(self, index: int) -> int:
        """The client's number for the provider's."""
        return self.before + index - sum(one < index for one in self.hidden)

    def end_round(self, visible: int) -> None:
        """The client got so many parts of this round."""
        self.before += visible
        self.hidden = set()


def attempt(rewrite: Callable[[], Verdict], otherwise: Verdict) -> Verdict:
    """A verdict on what a provider sent; what isn't as it should be goes on as it came, for the client to judge."""
    try:
        return rewrite()
    except (ValueError, RecursionError):
        return otherwise


def is_housekeeping(request: JsonObject) -> bool:
    """Whether a small model is asked, which clients use for titles and the like."""
    return "haiku" in str(request.get("model"))


def sum_usage(usages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counters of all rounds, added up; what is no counter is the last round's."""
    total: dict[str, Any] = {}
    for usage in usages:
        for name, value in usage.items():
            total[name] = _add(total.get(name), value)
    return total


def _add(before: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return sum_usage([before, value]) if isinstance(before, dict) else value
    if isinstance(value, int) and isinstance(before, int) and not isinstance(value, bool):
        return before + value
    return before if value is None and before is not None else value


def grow_list(body: bytes, key: str, more: Iterable[bytes]) -> bytes:
    """A request with more elements at the end of one of its lists, which may be missing."""
    present = json_splice.member_text(body, key) or b""
    own = json_splice.elements(present) if present.startswith(b"[") else []
    return json_splice.set_member(body, key, json_splice.join([*own, *more]))


def with_raw(fields: Mapping[str, Any], key: str, raw: bytes) -> bytes:
    """A JSON object with one member whose text is given."""
    return json_splice.append_member(jsontext.dump(fields), key, raw)


@frozen
class HiddenRound:
    """A round that the client doesn't know: JSON arrays of what the model said and of the results, as sent."""

    assistant: bytes
    results: bytes
    visible: tuple[tuple[str, ...], ...] = ()
    """For each part of what the model said its anchors at the client; none for one that the client didn't get."""


class RoundReader(AnswerReader, Protocol):
    """Reads one round's answer, and decides what the client gets of it."""

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        """The round as the provider must see it again, with what its calls brought."""

    def anchors(self) -> Iterable[str]:
        """What the client will send back of it."""


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


@define
class ToolDialogue:
    """A `Dialogue` with the gateway's tools, in any of the APIs."""

    body: bytes
    tools: Mapping[str, InjectedTool]
    """The gateway's tools, by the names that the model knows."""
    keep_alive: bytes
    """A frame that means nothing, for the time in which tools run."""
    begin_round: Callable[["ToolDialogue"], RoundReader]
    grow: Callable[[bytes, HiddenRound, str | None], bytes]
    """The next request's body, from the last one's, the round that it brought and the provider's id for that."""
    calls: Sequence[InjectedCall] = ()
    """What the last round called of the gateway's tools."""
    goes_on: bool = False
    """Whether the provider is to be asked again once these calls have their results."""
    client_id: str | None = None
    """The answer's id as the client knows it."""
    _rounds: list[HiddenRound] = Factory(list)
    _usages: list[Mapping[str, Any]] = Factory(list)
    _last: RoundReader | None = None

    def request(self) -> bytes:
        """The body of the next round's request."""
        return self.body

    def listen(self) -> RoundReader:
        """A reader for the next round's answer."""
        self.calls, self.goes_on = (), False
        self._last = self.begin_round(self)
        return self._last

    def end_round(self, calls: Sequence[InjectedCall], only_ours: bool) -> None:
        """The model has spoken: these are the gateway's calls among what it said."""
        self.calls = calls
        self.goes_on = bool(calls) and only_ours

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """The results of the last round's calls, in their order."""
        assert self._last is not None
        hidden = self._last.hidden(results)
        self._rounds.append(hidden)
        self._usages.append(self._last.answer.usage)
        if self.goes_on:
            self.body = self.grow(self.body, hidden, self._last.answer.response_id)

    @property
    def is_later(self) -> bool:
        """Whether a round went before this one, so that the client has got something already."""
        return bool(self._rounds)

    def total_usage(self, usage: Mapping[str, Any]) -> bytes:
        """The usage of all rounds, this one's included."""
        return jsontext.dump(sum_usage([*self._usages, usage]))

    def turn(self) -> Turn | None:
        """What is to be remembered, once the answer is whole."""
        if self._last is None:
            return None
        hidden = [anchor for round_ in self._rounds for part in round_.visible for anchor in part]
        return Turn(
            anchors=tuple(dict.fromkeys([*hidden, *self._last.anchors(), *id_anchor(self.client_id)])),
            rounds=tuple(self._rounds),
            pending=bool(self.calls) and not self.goes_on,
            client_id=self.client_id,
            provider_id=self._last.answer.response_id,
        )


class SingleRound:
    """The client's request as it came, or nearly; see `rounds.Dialogue`.

    What was read of the request is not kept: it is several times as large as its text.
    """

    calls: Sequence[InjectedCall] = ()
    goes_on = False
    keep_alive = b""

    def __init__(self, wire_format: WireFormat, asked: RequestBody) -> None:
        amended = wire_format.amend(asked.decoded, asked.document)
        # In the coding it came in, unless something was changed.
        self._body = asked.encoded if amended is asked.decoded else amended
        self._reader = wire_format.reader(asked.document)

    def request(self) -> bytes:
        """The client's bytes. They are handed out once, since they may be large and the answer may take long."""
        body, self._body = self._body, b""
        return body

    def listen(self) -> AnswerReader:
        """The format's reader."""
        return self._reader

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """There are none."""

    def turn(self) -> Turn | None:
        """Nothing was hidden."""
        return None


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

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """The results of the last round's calls, in their order."""

    def turn(self) -> Turn | None:
        """What is to be remembered, once the answer is whole."""


@frozen
class ToolSupport:
    """How a wire format offers tools."""

    may_offer: Callable[[JsonObject], bool]
    """Whether a request leaves room for tools."""
    forbids: Callable[[JsonObject], bool]
    """Whether a request says that no tool may be called."""
    anchors: Callable[[JsonObject], list[str]]
    """What a request's history may be found by."""
    bound: Callable[[JsonObject], bool]
    """Whether the model's thoughts in a request's history hold only with the tools that they were thought with."""
    dialogue: Callable[[bytes, JsonObject, Sequence[InjectedTool], Recollection], Dialogue]
    """The dialogue over a request's body."""

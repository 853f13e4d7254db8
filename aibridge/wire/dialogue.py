"""A dialogue with the gateway's tools: what is alike in all APIs of running rounds and making one answer of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from attrs import Factory, define

from . import json_splice, jsontext
from .anchors import id_anchor
from .formats import AnswerReader, Json, Verdict
from .rounds import CallResult, HiddenRound, InjectedCall, Turn


class RoundReader(AnswerReader, Protocol):
    """Reads one round's answer, and decides what the client gets of it."""

    def hidden(self, results: Sequence[CallResult]) -> HiddenRound:
        """The round as the provider must see it again, with what its calls brought."""

    def anchors(self) -> Iterable[str]:
        """What the client will send back of it."""


@define
class ToolDialogue:
    """A `Dialogue` with the gateway's tools, in any of the APIs."""

    body: bytes
    names: frozenset[str]
    """The gateway's tools."""
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

    def add_results(self, results: Sequence[CallResult]) -> None:
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


def is_housekeeping(request: Json) -> bool:
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


def parts_as_text(parts: Sequence[Mapping[str, str]]) -> str:
    """Parts for an API that takes text only: what is none is named by its kind."""
    named = (part["text"] if part["type"] == "text" else f"[{part['type']}: {part['mime_type']}]" for part in parts)
    return "\n".join(named)

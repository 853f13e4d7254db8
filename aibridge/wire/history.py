"""Hidden rounds in a conversation: how they are found again, and put back into the client's next request.

The gateway's own tool calls are hidden from the client, so the history that a client sends lacks them. An anchor is a
text by which a part of the history is recognised: the digest of an id, or of the model's words together with what they
answer. It begins with its weight, a digit.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

from attrs import frozen

from . import json_splice
from .jsontext import JsonObject


@frozen
class HiddenRound:
    """A round that the client doesn't know. Both members are JSON arrays, exactly as the provider must see them."""

    assistant: bytes
    """The model's messages, items or content blocks."""
    results: bytes
    """The results of the calls among them."""
    visible: tuple[tuple[str, ...], ...] = ()
    """The anchors of each part that the model made, also of one that can't be sent back and that `assistant` lacks; an
    empty tuple for a part that the client did not get.
    """

    @property
    def parts(self) -> list[bytes]:
        """The JSON texts of all parts, the model's first."""
        return [*json_splice.elements(self.assistant), *json_splice.elements(self.results)]


@frozen
class Turn:
    """The memory of one answer with hidden rounds."""

    anchors: tuple[str, ...]
    """The anchors of the parts that the client will send back."""
    rounds: tuple[HiddenRound, ...] = ()
    pending: bool = False
    """True if the last round also called the client's tools: its results are sent together with the client's."""
    client_id: str | None = None
    """The answer's id as the client knows it."""
    provider_id: str | None = None
    """The provider's id for the whole answer."""
    unstored: bool = False
    """True if reasoning belongs to the answer that nobody keeps, so that the provider can't look its items up."""


class KnownTurns:
    """Turns that may belong to a conversation, found by their anchors."""

    def __init__(self, turns: Iterable[Turn] = (), inputs: "Inputs | None" = None) -> None:
        self.inputs = inputs or NO_INPUTS
        """The inputs from which a request goes on that sends only what is new."""
        self._turns = list(turns)
        self._by_anchor: dict[str, list[int]] = {}
        for position, turn in enumerate(self._turns):
            for anchor in turn.anchors:
                self._by_anchor.setdefault(anchor, []).append(position)

    def find(self, anchors: Iterable[str]) -> Turn | None:
        """Return the turn whose anchors among these weigh most, the last one if several weigh the same, or None.

        A single anchor may lead to several turns: some providers use the same ids in every conversation.
        """
        weights: Counter[int] = Counter()
        for anchor in anchors:
            for position in self._by_anchor.get(anchor, ()):
                weights[position] += int(anchor[0])
        return self._turns[max(weights, key=lambda position: (weights[position], position))] if weights else None

    def provider_id(self, client_id: object) -> str | None:
        """Return the provider's id for an answer's id that the client knows, or None if no turn has it."""
        turn = self.find(id_anchor(client_id))
        return turn.provider_id if turn else None


# Anchors


@frozen
class Context:
    """The input that an answer of the model follows: user messages and tool results. Both members are digests."""

    recent: str = ""
    """All input since the model's last message."""
    whole: str = ""
    """All input from the conversation's beginning."""

    def anchors(self, words: str) -> tuple[str, ...]:
        """Return the anchors of the model's words in this context. The same words elsewhere have other anchors."""
        return ("2:" + _digest(self.whole, words), "1:" + _digest(self.recent, words)) if words else ()


def id_anchor(value: object) -> tuple[str, ...]:
    """Return the anchor of an id that is unique at its provider; an empty tuple if `value` is no id."""
    return ("4:" + _digest(value),) if isinstance(value, str) and value else ()


@frozen
class Inputs:
    """The parts of a conversation so far that contexts depend on."""

    context: Context = Context()
    recent: tuple[str, ...] = ()
    """All input since the model's last message."""
    model_spoke: bool = False
    """True if the model has written what came last."""
    before: str = ""
    """The digest of all input before `recent`."""

    def then(self, given: Sequence[str] | None) -> "Inputs":
        """Return the inputs after one more entry: the texts that the model was given, or None if it wrote the entry."""
        if given is None:
            return Inputs(self.context, model_spoke=True)
        if not given:
            return self
        before = self.context.whole if self.model_spoke else self.before
        recent = tuple(sorted([*self.recent, *given]))  # clients send parallel results in any order
        return Inputs(Context(_digest(*recent), _digest(before, *recent)), recent, before=before)


NO_INPUTS = Inputs()


def contexts(history: Iterable[Sequence[str] | None]) -> Iterator[Context]:
    """Yield the context before each entry of a history, and at the end the context of the next answer.

    Entries are those of `Inputs.then`.
    """
    inputs = NO_INPUTS
    for given in history:
        yield inputs.context
        inputs = inputs.then(given)
    yield inputs.context


def last_context(history: Iterable[Sequence[str] | None]) -> Context:
    """Return the context of the next answer; see `contexts`."""
    return inputs_after(history).context


def inputs_after(history: Iterable[Sequence[str] | None], begun: Inputs = NO_INPUTS) -> Inputs:
    """Return the inputs at the end of a history which goes on from others; see `contexts`."""
    return reduce(Inputs.then, history, begun)


def _digest(*values: str) -> str:
    """Return a digest that differs for every other list of values."""
    text = "".join(f"{len(value)}:{value}" for value in values)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# Restoring


class RestoredTurns:
    """The turns that have been restored so far in one history, and the parts of it that they replace.

    A client sends the visible parts of a turn in their order, perhaps with some left out.
    """

    def __init__(self) -> None:
        self._next_parts: dict[Turn, int] = {}

    def begin(self, turn: Turn) -> bool:
        """Return True for the first part of a turn: its hidden rounds belong here."""
        is_new = turn not in self._next_parts
        self._next_parts.setdefault(turn, 0)
        return is_new

    def replaces(self, turn: Turn, anchors: Iterable[str]) -> bool:
        """Return True if the rounds of a turn that has begun bring back the part with these anchors."""
        visible = [part for hidden in turn.rounds for part in hidden.visible if part]
        known = set(anchors)
        for position in range(self._next_parts[turn], len(visible)):
            if known.intersection(visible[position]):
                self._next_parts[turn] = position + 1
                return True
        return False


def rewrite_list(
    body: bytes, request: JsonObject, key: str, rewrite: Callable[[list[bytes], list[JsonObject]], Iterable[bytes]]
) -> bytes:
    """Return a request's body with one of its lists rewritten, or `body` itself if nothing changes.

    `rewrite` gets the JSON texts of the list's objects and the parsed objects; it returns the new texts.
    """
    entries = request.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return body
    texts = json_splice.elements(json_splice.member_text(body, key) or b"[]")
    rewritten = list(rewrite(texts, entries))
    return body if rewritten == texts else json_splice.set_member(body, key, json_splice.join(rewritten))

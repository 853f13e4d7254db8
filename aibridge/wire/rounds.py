"""Answers of several rounds, in which the gateway runs tools of its own. The parts that all wire formats share.

The provider sees a conversation: the model calls tools, their results follow, the model goes on. The client gets one
answer, without any trace of those calls. A `Dialogue` translates between both for one request, and gives a `Turn`, the
memory of the hidden rounds, from which the client's next request is completed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from attrs import Factory, define, frozen

from ..errors import UpstreamFailed
from . import json_splice, jsontext
from .formats import AnswerReader, WireFormat
from .history import HiddenRound, KnownTurns, Turn, id_anchor
from .jsontext import JsonObject, nonempty_str, objects
from .request_body import RequestBody
from .tool_calls import INJECTED_PREFIX, InjectedCall, InjectedTool, ToolResult
from .tool_schemas import unwrap_call
from .usage import sum_usage

REWRITE_ERRORS = (ValueError, RecursionError)
"""Raised while an answer is rewritten that is not as its API says. Such an event or body passes unchanged."""


class Dialogue(Protocol):
    """A client's request and its answer, over all rounds."""

    @property
    def calls(self) -> Sequence[InjectedCall]:
        """The calls of the gateway's tools in the last round."""

    @property
    def client_id(self) -> str | None:
        """The answer's id as the client knows it; None if nothing of the answer can be hidden."""

    @property
    def continues(self) -> bool:
        """True if another round follows as soon as these calls have their results."""

    @property
    def keep_alive(self) -> Callable[[], bytes]:
        """Return the next piece of a stream without meaning, to be sent to the client while tools run."""

    def request(self) -> bytes:
        """Return the body of the next round's request."""

    def new_reader(self) -> AnswerReader:
        """Begin the next round: return the reader of its answer."""

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """Take the results of the last round's calls, in the order of the calls."""

    def turn(self) -> Turn | None:
        """Return the memory of the whole answer; None if there is nothing to remember."""

    def forget(self) -> None:
        """Let go of what only the garbage collector would free otherwise. The dialogue is over."""


class SingleRound:
    """The `Dialogue` of a request without the gateway's tools. The client's bytes are sent as they are, if possible.

    The parsed request is not kept, because it takes several times the memory of its text.
    """

    calls: Sequence[InjectedCall] = ()
    continues = False
    client_id: str | None = None

    def __init__(self, wire_format: WireFormat, body: RequestBody, amended: bytes) -> None:
        self._body = body.encoded if amended is body.decoded else amended
        self._reader = wire_format.reader(body.document)

    def request(self) -> bytes:
        """Return the body, once: it may be large and the answer may take long, so it is not kept."""
        body, self._body = self._body, b""
        return body

    def new_reader(self) -> AnswerReader:
        """Return the format's reader."""
        return self._reader

    def keep_alive(self) -> bytes:
        """Return nothing: no tools run."""
        return b""

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """Do nothing: there are no calls."""

    def turn(self) -> Turn | None:
        """Return None: nothing is hidden."""
        return None

    def forget(self) -> None:
        """Do nothing: nothing leads back here."""


class RoundReader(AnswerReader, Protocol):
    """Reads the answer of one round, and decides which parts of it the client gets."""

    def hidden(self, results: Sequence[ToolResult]) -> HiddenRound:
        """Return the round as the provider must see it again, with the results of its calls."""

    def anchors(self) -> Iterable[str]:
        """Return the anchors of the parts that the client will send back."""


@define
class ToolDialogue:
    """The `Dialogue` of a request with the gateway's tools, in any of the APIs."""

    body: bytes
    tools: Mapping[str, InjectedTool]
    """The gateway's tools, by the names that the model knows."""
    client_names: Set[str]
    """The names of the client's own tools."""
    keep_alive: Callable[[], bytes]
    begin_round: Callable[["ToolDialogue"], RoundReader]
    extend_body: Callable[[bytes, HiddenRound, str | None], bytes]
    """Return the next request's body, from the last one's, its hidden round and the provider's id for its answer."""
    calls: Sequence[InjectedCall] = ()
    continues: bool = False
    client_id: str | None = None
    """The answer's id as the client knows it."""
    unstored: bool = False
    """True once an item of the answer came of reasoning that nobody keeps; see `Turn.unstored`."""
    _rounds: list[HiddenRound] = Factory(list)
    _usages: list[JsonObject] = Factory(list)
    _last: RoundReader | None = None

    def request(self) -> bytes:
        """Return the body of the next round's request."""
        return self.body

    def new_reader(self) -> RoundReader:
        """Begin the next round: return the reader of its answer."""
        self.calls, self.continues = (), False
        self._last = self.begin_round(self)
        return self._last

    def end_round(self, calls: Sequence[InjectedCall], only_ours: bool) -> None:
        """Set the round's calls of the gateway's tools. `only_ours` is True if the client's tools were not called."""
        self.calls = [unwrap_call(call) for call in calls]
        self.continues = bool(calls) and only_ours

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """Take the results of the last round's calls, in the order of the calls.

        Raise UpstreamFailed if the model's message can't be sent back: it may be nested so deeply that only the fastest
        parser reads it.
        """
        assert self._last is not None
        answer = self._last.answer
        try:
            hidden = self._last.hidden(results)
            if self.continues:
                self.body = self.extend_body(self.body, hidden, answer.response_id)
        except REWRITE_ERRORS as error:
            raise UpstreamFailed("The provider's answer is nested too deeply to be continued.") from error
        self._rounds.append(hidden)
        self._usages.append(answer.usage)

    def forget(self) -> None:
        """Let go of the last reader, which leads back here, and of the request's body, which may be large."""
        self._last, self.body = None, b""

    def injected(self, name: object) -> InjectedTool | None:
        """Return the gateway's tool of that name, also if it offers none such; None for a tool of the client's."""
        if not isinstance(name, str):
            return None
        tool = self.tools.get(name)
        if tool is None and name.startswith(INJECTED_PREFIX) and name not in self.client_names:
            return InjectedTool.unknown(name)
        return tool

    @property
    def is_later(self) -> bool:
        """True if this is not the first round, so that the client already has a part of the answer."""
        return bool(self._rounds)

    @property
    def rounds_before(self) -> int:
        """The number of rounds before this one."""
        return len(self._rounds)

    def total_usage(self, usage: JsonObject) -> bytes:
        """Return the usage of all rounds, with `usage` as the current round's."""
        return jsontext.dump(sum_usage([*self._usages, usage]))

    def turn(self) -> Turn | None:
        """Return the memory of the whole answer; None if no round has begun."""
        if self._last is None:
            return None
        hidden = [anchor for round_ in self._rounds for part in round_.visible for anchor in part]
        return Turn(
            anchors=tuple(dict.fromkeys([*hidden, *self._last.anchors(), *id_anchor(self.client_id)])),
            rounds=tuple(self._rounds),
            pending=bool(self.calls) and not self.continues,
            client_id=self.client_id,
            provider_id=self._last.answer.response_id,
            unstored=self.unstored,
        )


@frozen
class ToolSupport:
    """A wire format's way to offer tools."""

    may_offer: Callable[[JsonObject], bool]
    """True if a request leaves room for the gateway's tools."""
    forbids: Callable[[JsonObject], bool]
    """True if a request forbids all tool calls."""
    anchors: Callable[[JsonObject], list[str]]
    """Return the anchors by which a request's hidden rounds are found."""
    bound: Callable[[JsonObject], bool]
    """True if a request holds thoughts of the model that are valid only with the tools of that time."""
    dialogue: Callable[[bytes, JsonObject, Sequence[InjectedTool], KnownTurns], Dialogue]
    """Return the dialogue of a request's body."""


@define
class Numbering:
    """The numbers of an answer's parts at the client, over all rounds and without the hidden parts."""

    before: int = 0
    """The number of parts that the client got in earlier rounds."""
    hidden: set[int] = Factory(set)
    """The provider's numbers of the hidden parts of this round."""

    def client_number(self, number: int) -> int:
        """Return the client's number for one of the provider's."""
        hidden_before = sum(hidden < number for hidden in self.hidden) if self.hidden else 0
        return self.before + number - hidden_before

    def end_round(self, visible: int) -> None:
        """Begin a new round, after the client got that many parts of this one."""
        self.before += visible
        self.hidden = set()


@frozen
class ClientTools:
    """The tools that a client's request offers."""

    names: frozenset[str]
    in_order: Sequence[str]
    """The name of each, empty for a tool without one. Those that are defined within the history come last."""

    @property
    def count(self) -> int:
        return len(self.in_order)


def client_tools(request: JsonObject) -> ClientTools:
    """Return the tools that a request of any API offers."""
    tools = [*objects(request.get("tools")), *_inline_tools(request)]
    in_order = [nonempty_str(tool.get("name")) or _function_name(tool.get("function")) for tool in tools]
    return ClientTools(frozenset(filter(None, in_order)), in_order)


def _function_name(function: object) -> str:
    """Return the name of a function of Chat Completions, which the tool's definition holds."""
    return nonempty_str(function.get("name")) or "" if isinstance(function, Mapping) else ""


def _inline_tools(request: JsonObject) -> Iterator[JsonObject]:
    """Yield the tools that a client defines within its history, in Messages and in Responses."""
    for message in objects(request.get("messages")):
        blocks = objects(message.get("content")) if message.get("role") == "system" else ()
        for block in blocks:
            tool = block.get("tool")
            if isinstance(tool, dict) and isinstance(definition := tool.get("definition"), dict):
                yield definition
    for item in objects(request.get("input")):
        if item.get("type") == "additional_tools":
            yield from objects(item.get("tools"))


def needs_no_tools(request: JsonObject) -> bool:
    """Return True for a request to a small model, which clients use for titles and the like.

    Also for a request whose own ``tools`` are no list: the provider refuses it, and the client should learn why.
    """
    return "haiku" in str(request.get("model")).lower() or not isinstance(request.get("tools"), list | None)


def extend_list(body: bytes, key: str, more: Iterable[bytes]) -> bytes:
    """Return a request's body with more elements at the end of one of its lists, which may be missing."""
    present = json_splice.member_text(body, key) or b""
    own = json_splice.elements(present) if present.startswith(b"[") else []
    return json_splice.set_member(body, key, json_splice.join([*own, *more]))

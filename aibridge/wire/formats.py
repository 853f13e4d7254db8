"""The shape of a wire format: plain functions of an API's requests, and a reader of its answers."""

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import Factory, define, frozen

from ..errors import GatewayError
from . import jsontext
from .jsontext import JsonObject, nonempty_str
from .prompts import LastTurn
from .usage import TokenCounts


@frozen
class ToolCall:
    """A tool call by the model."""

    id: str | None
    name: str
    input: object
    """A JSON value; a string for tools that take free text."""
    metadata: Mapping[str, str] = Factory(dict)


@frozen
class Thought:
    """A part of the model's reasoning that the provider shows."""

    content: str
    source: str
    """The kind of reasoning: ``thinking``, ``reasoning_summary`` or ``commentary``."""


@define
class Answer:
    """The facts read from a provider's answer so far."""

    response_id: str | None = None
    served_model: str | None = None
    """The model that answered, by the answer's own words; not always the one that was asked for."""
    service_tier: str | None = None
    """The tier in which it was served, if the provider names it outside the ``usage`` object."""
    usage: dict[str, object] = Factory(dict)
    """The provider's ``usage`` object."""
    counters: dict[str, int] = Factory(dict)
    """Counts of what is charged and not in the ``usage`` object, by the name of the counter."""
    tool_calls: list[ToolCall] = Factory(list)
    thoughts: list[Thought] = Factory(list)
    finished: bool = False
    """True once the answer's last event, or all of its JSON body, has been read."""
    ending: bool = False
    """True once only the token counts are missing. Clients may disconnect from here on."""
    deferred: bool = False
    """True if the provider works in the background; the client fetches the answer later."""
    error: str | None = None
    """The type or code of the error that the provider reported."""


@frozen
class Verdict:
    """The decision on a frame or a body. `PASS`, `DROP`, `HOLD`, `LAST` and `DROP_LAST` are the usual ones."""

    passes: bool = True
    """False if the client does not get it."""
    last: bool = False
    """True if the answer ends with it. It is held until all that was read is recorded."""
    holds: bool = False
    """True for an error in a stream, after which only figures may come. It and they are held."""
    data: bytes | None = None
    """The bytes that replace its data; None to keep them."""
    at_release: Callable[[bytes], bytes] | None = None
    """Return the data of a last event, as it is when the client gets it; None if it is the same then."""


PASS = Verdict()
DROP = Verdict(passes=False)
HOLD = Verdict(holds=True)
LAST = Verdict(last=True)
DROP_LAST = Verdict(passes=False, last=True)
"""The round ends here, but the client's answer goes on with another round."""


class AnswerReader(Protocol):
    """Reads one answer as it passes, streamed or whole. Nothing that a provider sends makes a reader raise."""

    answer: Answer

    @property
    def next_number(self) -> int:
        """The number of an event that the client would get next, in an API that numbers them."""

    def skips(self, frame: bytes) -> bool:
        """Return True if the frame's first bytes show that it needs no reading. Called for every frame: be quick."""

    def read_event(self, data: bytes) -> Verdict:
        """Read one event of a streamed answer."""

    def end(self, whole: bool) -> Verdict:
        """Take note that a stream is over without its last event. Return a last verdict if nothing of it is missing.

        `whole` is False if its body ended with its connection, which may have been cut.
        """

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """Read the whole of an unstreamed answer: the parsed object and its bytes."""


@frozen(kw_only=True)
class WireFormat:
    """An API, as plain functions of its requests and answers."""

    name: str
    last_turn: Callable[[JsonObject], LastTurn]
    """Read the prompt and the newest tool result's id from a request."""
    amend: Callable[[bytes, JsonObject], bytes] = lambda body, request: body
    """Return a request's bytes with the members that the gateway adds. The same object if nothing changes."""
    reader: Callable[[JsonObject], AnswerReader]
    """Return a new reader of the answer to a request."""
    count_tokens: Callable[[JsonObject], TokenCounts]
    """Return the token counts of a ``usage`` object, which may have the answer's further `counters` in it."""
    error_frame: Callable[[GatewayError, int], bytes]
    """Return the event that reports an error in the middle of a stream, from the error and the event's number."""


def parse_arguments(arguments: str) -> object:
    """Return a tool call's arguments as a JSON value, or as the text that the model wrote if that is no JSON."""
    try:
        return jsontext.load_exactly(arguments.encode())
    except ValueError:
        return arguments


def error_name(error: object) -> str:
    """Return the type or code of a provider's error object. Free text of a provider is never recorded."""
    fields = error if isinstance(error, dict) else {}
    return nonempty_str(fields.get("type")) or nonempty_str(fields.get("code")) or "error"

"""What the three wire formats have in common: the shape of a format, and what one reads from requests and answers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from attrs import Factory, define, frozen

from ..errors import GatewayError
from . import jsontext
from .usage import TokenFigures

Json = Mapping[str, Any]


@frozen
class ToolCall:
    """A call that the model made. ``input`` is a JSON value, or text where the tool takes text."""

    id: str | None
    name: str
    input: Any
    metadata: Mapping[str, Any] = Factory(dict)


@frozen
class Thought:
    """A thought that the model let be seen; ``source`` is the form in which it came."""

    content: str
    source: str


@define
class Answer:
    """What a provider's answer has said, as far as it has been read."""

    response_id: str | None = None
    usage: dict[str, Any] = Factory(dict)
    """The provider's own counters, as they stand."""
    tool_calls: list[ToolCall] = Factory(list)
    thoughts: list[Thought] = Factory(list)
    finished: bool = False
    """Its proper last event has been seen, or its JSON body was whole."""
    ending: bool = False
    """All text is there and only figures are still to come: clients may hang up from here on."""
    deferred: bool = False
    """The provider works on it in the background; it is there to be fetched later."""
    error: str | None = None
    """What the provider itself said went wrong, by its type or code."""


@frozen
class Verdict:
    """What becomes of a frame, or of a body: `PASS`, `DROP` and `LAST` are the usual ones."""

    passes: bool = True
    last: bool = False
    """The answer ends with it: it waits until all that was read is recorded."""
    data: bytes | None = None
    """What stands in the place of its data; None where that stays as it is."""


PASS = Verdict()
DROP = Verdict(passes=False)
LAST = Verdict(last=True)
DROP_LAST = Verdict(passes=False, last=True)
"""The round ends with it, but not the client's answer."""


class AnswerReader(Protocol):
    """Reads along with one answer, streamed or whole."""

    answer: Answer

    def skips(self, frame: bytes) -> bool:
        """Whether its first bytes show that this frame holds nothing of interest. Asked for each: it must be quick."""

    def read_event(self, data: bytes) -> Verdict:
        """One event of a streamed answer."""

    def read_body(self, body: Json, raw: bytes) -> Verdict:
        """The whole of an unstreamed answer, parsed and as it came."""


def _as_it_is(body: bytes, request: Json) -> bytes:
    return body


@frozen(kw_only=True)
class WireFormat:
    """One API, as plain functions of its bodies."""

    name: str
    prompt: Callable[[Json], str | None]
    """The user's words of this turn, from a request."""
    last_tool_result: Callable[[Json], str | None]
    """The id of the call that the last tool result in a request answers."""
    amend: Callable[[bytes, Json], bytes] = _as_it_is
    """A request's bytes, with what the gateway must ask of the provider beside what the client asked."""
    reader: Callable[[Json], AnswerReader]
    """A fresh reader of the answer to a request."""
    figures: Callable[[Json], TokenFigures]
    error_frame: Callable[[GatewayError], bytes]
    """The event that tells the client in mid-stream what went wrong."""


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects of a list; nothing where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def backwards(value: object) -> Iterator[dict[str, Any]]:
    """The objects of a list, the last one first: in a long conversation what is looked for is near its end."""
    if isinstance(value, list):
        for item in reversed(value):
            if isinstance(item, dict):
                yield item


def text(value: object) -> str | None:
    """A string that isn't empty, or None."""
    return value if isinstance(value, str) and value else None


def index(value: object) -> int | None:
    """The place of a part among its like, or None: providers leave it out, and what they send must not be believed."""
    return value if isinstance(value, int) else None


def parse_arguments(arguments: str) -> Any:
    """A call's arguments as the JSON value that they are, or as the text that came where they are none."""
    try:
        return jsontext.load(arguments.encode())
    except ValueError:
        return arguments


def error_name(error: object) -> str:
    """The type or code of an error object: for records, which keep no provider's free text."""
    fields = error if isinstance(error, dict) else {}
    return text(fields.get("type")) or text(fields.get("code")) or "error"

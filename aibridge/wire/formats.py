"""What the three wire formats have in common: the shape of a format, and what one reads from requests and answers."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeGuard

from attrs import Factory, define, frozen

from ..errors import GatewayError
from . import jsontext
from .jsontext import JsonObject, nonempty_str
from .prompts import LastTurn

_LARGEST = 2**63 - 1
_ANTHROPIC = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@define
class TokenFigures:
    """Tokens of one answer. ``input`` is without those read from the cache; Anthropic's without those written, too."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    others: Mapping[str, int] = Factory(dict)
    """Every other counter, under the provider's own name."""


def anthropic_figures(usage: Mapping[str, Any]) -> TokenFigures:
    """Figures of a `usage` object, whose ``input_tokens`` excludes the cached ones already.

    https://docs.claude.com/en/api/messages#response-usage
    """
    input, output, cache_read, cache_write = [_count(usage.get(name)) for name in _ANTHROPIC]  # noqa: A001
    return TokenFigures(input, output, cache_read, cache_write, _other_counters(usage, _ANTHROPIC))


def openai_figures(usage: Mapping[str, Any]) -> TokenFigures:
    """Figures of a `usage` object of either API; its input includes the cached tokens, which are taken out.

    https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
    https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage
    """
    cached = _count(_details(usage, "prompt_tokens_details", "input_tokens_details").get("cached_tokens"))
    total_input = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    main = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
    cached_paths = ("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens")
    return TokenFigures(
        input=max(0, total_input - cached),
        output=_count(usage.get("completion_tokens", usage.get("output_tokens"))),
        cache_read=cached,
        others=_other_counters(usage, main + cached_paths),
    )


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found = next((usage[name] for name in names if name in usage), None)
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if _is_count(value) else 0


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _LARGEST  # a bool is an int, but not of that type


def _other_counters(usage: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, int]:
    """All further counters by name; where two share a name (audio of input and of output), by their whole path."""
    by_name: dict[str, dict[str, int]] = {}
    groups = [("", usage)]
    for prefix, group in groups:  # which grows meanwhile: counters stand at any depth
        for name, value in group.items():
            if isinstance(value, dict):
                groups.append((f"{prefix}{name}.", value))
            elif (path := prefix + name) not in known and _is_count(value):
                by_name.setdefault(name, {})[path] = value
    others: dict[str, int] = {}
    for name, paths in by_name.items():
        others |= paths if len(paths) > 1 else {name: next(iter(paths.values()))}
    return others


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
        """Whether its first bytes show that this frame holds nothing of interest. Called for each: it must be quick."""

    def read_event(self, data: bytes) -> Verdict:
        """One event of a streamed answer."""

    def read_body(self, body: JsonObject, raw: bytes) -> Verdict:
        """The whole of an unstreamed answer, parsed and as it came."""


def _as_it_is(body: bytes, request: JsonObject) -> bytes:
    return body


@frozen(kw_only=True)
class WireFormat:
    """One API, as plain functions of its bodies."""

    name: str
    last_turn: Callable[[JsonObject], LastTurn]
    """Read the prompt and the newest tool result's id from a request."""
    amend: Callable[[bytes, JsonObject], bytes] = _as_it_is
    """A request's bytes, with what the gateway must ask of the provider beside what the client asked."""
    reader: Callable[[JsonObject], AnswerReader]
    """A fresh reader of the answer to a request."""
    figures: Callable[[JsonObject], TokenFigures]
    error_frame: Callable[[GatewayError], bytes]
    """The event that tells the client in mid-stream what went wrong."""


def parse_arguments(arguments: str) -> Any:
    """A call's arguments as the JSON value that they are, or as the text that came where they are none."""
    try:
        return jsontext.load(arguments.encode())
    except ValueError:
        return arguments


def error_name(error: object) -> str:
    """The type or code of an error object: for records, which keep no provider's free text."""
    fields = error if isinstance(error, dict) else {}
    return nonempty_str(fields.get("type")) or nonempty_str(fields.get("code")) or "error"

"""What is asked of a `FakeProvider` and what it answers, as values that belong to no wire format."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

Json = dict[str, Any]


class Ending(Enum):
    """How an answer stops."""

    COMPLETE = "complete"
    """HTTP ends it properly."""
    CUT = "cut"
    """The connection is closed in the midst of the answer."""
    STALL = "stall"
    """Nothing more comes, and the connection stays open."""
    ERROR = "error"
    """The API's own error frame, after which HTTP ends properly. For a `Reply` that streams; else it is `COMPLETE`."""


@frozen(kw_only=True)
class Usage:
    """Token figures as the records have them: ``input`` is without ``cache_read``, in all APIs."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    """Apart from ``input`` in the messages API; a part of it in OpenAI's, which call it ``cache_write_tokens``."""
    reasoning: int = 0
    """Part of ``output``."""
    extra: Mapping[str, Any] = Factory(dict)
    """Further members of the API's usage object, as they are."""


@frozen
class ToolCall:
    """A call that the model makes. Arguments that are a string are those of OpenAI's tools that take free text."""

    name: str
    arguments: Mapping[str, Any] | str = Factory(dict)
    id: str | None = field(default=None, kw_only=True)
    """None: the provider makes one up."""
    namespace: str | None = field(default=None, kw_only=True)
    """Of the responses API."""


@frozen(kw_only=True)
class Reply:
    """What the model says. ``None`` for an id or for usage lets the provider make them up from what it was asked."""

    text: str = ""
    thinking: str = ""
    """A thinking block, or a reasoning summary; chat completions have nothing of the kind."""
    commentary: str = ""
    """A message before the real one; only the responses API has it."""
    tool_calls: Sequence[ToolCall] = ()
    usage: Usage | None = None
    id: str | None = None
    stop_after: int | None = None
    """So many frames (of a JSON body: kilobytes) go out, then comes the ending; None: all of them."""
    ending: Ending = Ending.COMPLETE


@frozen(kw_only=True)
class RawReply:
    """Any answer of HTTP, or with ``status`` None any bytes at all, written to the bare connection."""

    status: int | None = 200
    headers: Mapping[str, str] = Factory(dict)
    chunks: Iterable[bytes] = ()
    """One write each, taken only while the client reads: it may be without end."""
    ending: Ending = Ending.COMPLETE


@frozen
class Tool:
    """A function of the client that the model may call."""

    name: str
    parameters: Mapping[str, Any] = Factory(dict)
    """JSON Schema of its arguments."""


@frozen(kw_only=True, eq=False)
class ReceivedRequest:
    """A request as it arrived: ``uri`` with its query, ``body`` still compressed if it was."""

    method: str
    uri: bytes
    headers: Headers
    body: bytes
    over: "Deferred[bool]" = Factory(Deferred)
    """Fires when all is over: True where the answer went out whole, False where the connection closed before."""


@frozen(kw_only=True, eq=False)
class Question:
    """A request to the model, understood."""

    request: ReceivedRequest
    document: Json
    """The body."""
    streaming: bool
    prompt: str
    """The user's last text."""
    tool_result: str | None = None
    """The text of the last tool result, where the conversation ends with one."""
    tools: Sequence[Tool] = ()
    """Functions that the model may call; not the provider's own tools, those deferred or those in a namespace."""
    output_schema: Json | None = None
    """JSON Schema that the answer's text must fit."""

    @property
    def model(self) -> str:
        return str(self.document.get("model", ""))


Script = Callable[[Question], "Reply | RawReply | Deferred[Reply] | Deferred[RawReply]"]


@frozen(kw_only=True)
class Format:
    """One wire format, as plain functions. Frames are made from the body, so the two can't differ."""

    id_prefix: str
    call_id_prefix: str
    read: Callable[[Json, ReceivedRequest], Question]
    body: Callable[[Reply, Question], Json]
    """The whole answer to a request that does not stream, for a reply with ids and usage."""
    frames: Callable[[Json, Question], Iterator[bytes]]
    """The same answer as a stream."""
    error_frame: Callable[[int], bytes]
    """Says that the provider is overloaded, after so many frames."""

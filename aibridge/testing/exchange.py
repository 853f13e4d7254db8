"""The requests that a `FakeProvider` receives and the replies that it sends, as values of no particular wire format."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

Json = dict[str, Any]


class Ending(Enum):
    """The end of a response."""

    COMPLETE = "complete"
    """Whole, with the proper end of its HTTP framing."""
    CUT = "cut"
    """Broken off: the connection is closed in the middle of the response."""
    STALL = "stall"
    """Stalled: nothing more is sent, and the connection stays open."""
    ERROR = "error"
    """An error event of the API, then the proper end. Only for a `Reply` that streams; otherwise like `COMPLETE`."""


@frozen(kw_only=True)
class Usage:
    """Token figures as in the records: in all APIs ``input`` includes neither ``cache_read`` nor ``cache_write``."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    """Included in ``output``."""
    extra: Mapping[str, Any] = Factory(dict)
    """Further members of the API's usage object."""


@frozen
class ToolCall:
    """A tool call of the model. Arguments that are a string are those of OpenAI's custom tools."""

    name: str
    arguments: Mapping[str, Any] | str = Factory(dict)
    id: str | None = field(default=None, kw_only=True)
    """None: the provider generates an id."""
    namespace: str | None = field(default=None, kw_only=True)
    """Only in the responses API."""


@frozen(kw_only=True)
class Reply:
    """A response of the model. If an id or the usage is None, the provider generates it from the request."""

    text: str = ""
    thinking: str = ""
    """A thinking block or a reasoning summary. Left out in chat completions."""
    commentary: str = ""
    """A message before the final one. Only in the responses API."""
    tool_calls: Sequence[ToolCall] = ()
    usage: Usage | None = None
    id: str | None = None
    stop_after: int | None = None
    """Events of a stream, or KiB of a JSON body, that are sent before the ending; None: all."""
    ending: Ending = Ending.COMPLETE


@frozen(kw_only=True)
class RawReply:
    """Any HTTP response; with ``status`` None any bytes at all, written to the connection."""

    status: int | None = 200
    headers: Mapping[str, str] = Factory(dict)
    chunks: Iterable[bytes] = ()
    """Written one by one, only while the client reads. The iterable may be endless."""
    ending: Ending = Ending.COMPLETE


@frozen
class Tool:
    """A function of the client that the model may call."""

    name: str
    parameters: Mapping[str, Any] = Factory(dict)
    """The JSON schema of its arguments."""


@frozen(kw_only=True, eq=False)
class ReceivedRequest:
    """A request as it arrived. ``uri`` includes the query; ``body`` is not decompressed."""

    method: str
    uri: bytes
    headers: Headers
    body: bytes
    over: "Deferred[bool]" = Factory(Deferred)
    """Fires at the end of the exchange: True if the whole response was sent, False if the connection closed before."""


@frozen(kw_only=True, eq=False)
class Question:
    """A parsed request to the model."""

    request: ReceivedRequest
    document: Json
    """The JSON body."""
    streaming: bool
    prompt: str
    """The last text of the user."""
    tool_result: str | None = None
    """The text of the last tool result, if the conversation ends with one."""
    tools: Sequence[Tool] = ()
    """The functions that the model may call. The provider's own, deferred and namespaced tools are not included."""
    output_schema: Json | None = None
    """The JSON schema that the response's text must fit."""

    @property
    def model(self) -> str:
        return str(self.document.get("model", ""))


Script = Callable[[Question], "Reply | RawReply | Deferred[Reply] | Deferred[RawReply]"]


class Format(Protocol):
    """A wire format of the fake provider. A stream is made from the whole body, so that both have the same content."""

    id_prefix: str
    call_id_prefix: str

    def read(self, document: Json, request: ReceivedRequest) -> Question:
        """Parse a request's body."""

    def body(self, reply: Reply, question: Question) -> Json:
        """Return the body of a response that does not stream. The reply has its ids and its usage."""

    def frames(self, body: Json, question: Question) -> Iterator[bytes]:
        """Yield the same response as the events of a stream."""

    def error_frame(self, sent: int) -> bytes:
        """Return the event that says, after so many others, that the provider is overloaded."""

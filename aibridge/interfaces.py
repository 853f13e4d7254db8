"""The map of the code: the seams between its parts, and the ones that a host program may fill itself."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.iweb import IRequest, IResponse
from zope.interface import Attribute, Interface

from .record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    OpenAnswer,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)

if TYPE_CHECKING:
    from .tools.memory import Remembered
    from .tools.toolset import Toolset
    from .wire.tool_calls import InjectedCall, ToolResult


class IRecorder(Interface):
    """Where records are kept.

    Each method takes one record and returns a Deferred that fires once the record is durable, or fails if it can't be
    made so. The gateway waits for them: before it calls a provider, and before it hands over an answer's last byte.
    A record whose id was recorded before replaces that one. Calls of one exchange come in order, but are not waited for
    one by one.
    """

    def record_interception(record: InterceptionRecord) -> "Deferred[None]":
        """A request was accepted."""

    def record_interception_ended(record: InterceptionRecordEnded) -> "Deferred[None]":
        """That request is over."""

    def record_token_usage(record: TokenUsageRecord) -> "Deferred[None]":
        """Tokens of one answer, so far or finally."""

    def record_prompt_usage(record: PromptUsageRecord) -> "Deferred[None]":
        """What the user asked."""

    def record_tool_usage(record: ToolUsageRecord) -> "Deferred[None]":
        """A tool that the model called."""

    def record_model_thought(record: ModelThoughtRecord) -> "Deferred[None]":
        """A thought of the model."""


class IBatchRecorder(Interface):
    """What a recorder provides beside `IRecorder` that takes the records of one step at once, which is cheaper."""

    def record_all(records: "Sequence[Record]") -> "Deferred[None]":
        """Each as by its own method. Fires once all are durable; fails with RecordingError if one can't be made so, and
        the others are all the same.
        """


class IAnswerIndex(Interface):
    """What a recorder that can be asked provides beside `IRecorder`."""

    def find_open_answer(provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """The answer of that id, if its recorded figures are not final; None where there is none such."""


class IAuthenticator(Interface):
    """Says who is asking."""

    def authenticate(request: IRequest) -> Any:
        """An `aibridge.Actor`, or None for nobody; as a value or as a Deferred of one. A GatewayError, where that can't
        be found out now, is what the client is answered.

        It may read the request's head only. What it took as the gateway's own credential it removes from
        ``request.requestHeaders``, so that it never reaches a provider.
        """


class IProvider(Interface):
    """One configured provider: its routes, its credential, its headers. Made once, shared by all requests."""

    name = Attribute("The first segment of its routes, and its name in metrics and records.")
    type = Attribute("The kind of API: ``anthropic``, ``openai``, …")
    base_url = Attribute("Where its upstream is, without a trailing slash.")

    def route(method: bytes, path: str) -> Any:
        """The `Route` of a decoded path below the provider's name; RouteUnknown or MethodNotAllowed without one."""

    def url(raw_path: bytes, query: bytes) -> bytes:
        """Where the provider has what the client asked for."""

    def credential(client: Any) -> Any:
        """The `Credential` for a request with these headers. MissingCredential where there is none."""

    def complete(headers: Any, credential: Any, actor: Any) -> None:
        """Adds to a request's headers what only the gateway may say."""

    def error_body(error: Any) -> dict[str, Any]:
        """A `GatewayError` in the shape of this provider's API."""


class Ending(Enum):
    """How the reading of an answer came to its end."""

    WHOLE = "whole"
    """Its last event was read, or its body ended in order."""
    UNBOUNDED = "unbounded"
    """Its body ended with its connection, which may have been cut: only what it said can tell."""
    BROKEN = "broken"
    TIMED_OUT = "timed out"
    CLIENT_GONE = "client gone"
    CLIENT_STALLED = "client stalled"


class IRelay(IPushProducer):
    """Carries one provider's answer to one client, each at the other's pace."""

    ended = Attribute("A Deferred of the `Ending`: all that will be read has been, and its last piece is still held.")
    is_drained = Attribute("Whether nothing more will come from the provider.")
    drained = Attribute("A Deferred that fires when that is so.")
    client_left = Attribute("Whether the client went before the answer's end.")

    def release() -> None:
        """All is recorded: what was held goes out, and what still follows it."""


class IReply(Interface):
    """The client's side of an exchange. Nothing done here fails for want of a client."""

    gone = Attribute("Whether the client left before its answer's end.")
    code = Attribute("The status that was set, or None.")
    begun = Attribute("Whether a first byte has gone out, so that the status stands.")

    def set_header(name: bytes, value: bytes) -> None:
        """A header of the gateway's own."""

    def write(data: bytes) -> None:
        """Sends a piece, and the head before the first one."""

    def head(code: int, reason: bytes, headers: Any) -> None:
        """The provider's status and headers; they go out with the first write."""

    def when_left(call: Callable[[], object]) -> None:
        """What to call when the client leaves before the end; at once, if it has."""

    def send_from(producer: IPushProducer) -> None:
        """Lets the client pause and resume that producer, and stops it when the client leaves."""

    def finish() -> None:
        """The answer is whole."""

    def refuse(error: Any, body: dict[str, Any]) -> None:
        """Answers with an error instead, as long as nothing has gone out."""

    def cut(last_words: bytes) -> None:
        """Ends an answer that has begun without its proper end."""


class IUpstream(Interface):
    """A provider's HTTP side, as an interception needs it."""

    name = Attribute("The provider's name.")
    idle_timeout = Attribute("How many seconds may pass between two pieces of an answer.")

    def ask(call: Any) -> "Deferred[IResponse]":
        """Fires with the answer to an `UpstreamCall`; UpstreamFailed or UpstreamTimeout where there is none.

        Cancelling it ends the request.
        """

    def relay(tap: Any, client: IReply, reads_on: Callable[[], bool]) -> IRelay:
        """A receiver for the answer's body, which `tap` listens to, on its way to `client`."""

    def leave() -> None:
        """The exchange is over: nothing more is asked for it."""


class IToolRunner(Interface):
    """The gateway's tools, as one conversation has them."""

    def run(calls: "Sequence[InjectedCall]") -> "Deferred[list[ToolResult]]":
        """Run these calls at once. Fires with their results, in the order of the calls; never fails.

        Cancelling the Deferred ends the calls that are still running, whose results then say "cancelled".
        """


class IMemory(Interface):
    """What is remembered of conversations, for each actor and provider."""

    def recall(actor_id: str, provider: str, anchors: "Sequence[str]") -> "Deferred[list[Remembered]]":
        """Return the remembered responses that any of these anchors belongs to, the oldest first."""

    def remember(remembered: "Remembered") -> "Deferred[None]":
        """Keep one response. Fires when that is durable."""


class IToolbox(Interface):
    """The tools that are injected into conversations, and called for the model."""

    def toolset() -> "Toolset":
        """Return the tools for a conversation that begins now. The value never changes."""

    def call(call: "InjectedCall") -> "Deferred[ToolResult]":
        """Call a tool for the model. Fires with the result; never fails, except with CancelledError if it is cancelled.

        Everything that goes wrong is a result with an error, which the model reads. Calls run at the same time.
        Cancelling the Deferred cancels the call at its server.
        """

    def status() -> list[dict[str, Any]]:
        """Return the state of each server as JSON values, for operators."""

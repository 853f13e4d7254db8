"""The map of the code: the seams between its parts, and the ones that a host program may fill itself."""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from attrs import Factory, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from twisted.web.server import Request
from zope.interface import Attribute, Interface

from .record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    OpenAnswer,
    Owner,
    PromptUsageRecord,
    Record,
    StoredObjectRecord,
    TokenUsageRecord,
    ToolUsageRecord,
)

if TYPE_CHECKING:
    from .client.routes import Route
    from .errors import GatewayError
    from .http.headers import RawHeaders
    from .identity.credentials import Credential
    from .record.batches import RecordAll
    from .record.budgets.caps import Standing
    from .record.budgets.estimates import Estimate
    from .record.ledger import RoundResult
    from .tools.toolset import Remembered, Toolset
    from .upstream.adaptation import Adaptation
    from .upstream.call import Ending, UpstreamCall
    from .upstream.circuit_breaker import BreakerSettings
    from .upstream.refusals import Addition
    from .wire.formats import AnswerReader
    from .wire.request_body import RequestBody
    from .wire.tap import Tap
    from .wire.tool_calls import InjectedCall, ToolResult


T = TypeVar("T")


@frozen
class Actor:
    """The person or program on whose behalf a request is made."""

    id: str
    metadata: Mapping[str, Any] = Factory(dict)
    """Further facts, by name, for records and headers."""


class IRecorder(Interface):
    """A store for records.

    Each method takes one record and returns a Deferred that fires once the record is durable, or fails if it can't be
    made so. The gateway waits for it before it calls a provider, and before it sends the last byte of an answer.
    A record whose id was recorded before replaces that one. The records of one exchange come in order, but the gateway
    does not wait for one before it hands over the next.
    """

    def record_interception(record: InterceptionRecord) -> "Deferred[None]":
        """Record a request that was accepted.

        The record comes again, with another `upstream_requests`, while a long answer is under way.
        """

    def record_interception_ended(record: InterceptionRecordEnded) -> "Deferred[None]":
        """Record the end of that request."""

    def record_token_usage(record: TokenUsageRecord) -> "Deferred[None]":
        """Record the tokens of one answer, so far or finally."""

    def record_prompt_usage(record: PromptUsageRecord) -> "Deferred[None]":
        """Record the user's prompt."""

    def record_tool_usage(record: ToolUsageRecord) -> "Deferred[None]":
        """Record a tool that the model called."""

    def record_model_thought(record: ModelThoughtRecord) -> "Deferred[None]":
        """Record a thought of the model."""


class IBatchRecorder(Interface):
    """Provided beside `IRecorder` by a recorder that takes the records of one step together, which is cheaper.

    The gateway then calls this method only.
    """

    def record_all(records: "Sequence[Record]") -> "Deferred[None]":
        """Record each of them as its own method would.

        Fires once all are durable. Fails with RecordingError if one can't be made so; the others are all the same.
        """


class IAnswerIndex(Interface):
    """Provided beside `IRecorder` by a recorder that finds answers again."""

    def find_open_answer(provider_response_id: str) -> "Deferred[OpenAnswer | None]":
        """Find the answer with that id if its recorded figures are not final; fires with None if there is none."""


class IObjectIndex(Interface):
    """Provided beside `IRecorder` by a recorder that knows who made what a provider stores.

    With it, actors who share the configured credential are kept from each other's stored responses and files.
    """

    def record_object(record: StoredObjectRecord) -> "Deferred[None]":
        """Record an object that was made on a passed route. Fires once that is durable."""

    def find_owner(provider_name: str, object_id: str) -> "Deferred[Owner | None]":
        """Find who made an object, or the response with that id; fires with None if no record tells."""


class IBudgets(Interface):
    """Provided beside `IRecorder` by a recorder that holds caps on money.

    The gateway then records the beginning of an interception by `begin`. What it costs comes with its records of tokens
    (``cost_nanousd``), and what it reserved is free again at its end.
    """

    is_active: bool = Attribute("True if there are caps: only then is it estimated what a request may cost.")

    def begin(record: InterceptionRecord, estimate: "Estimate | None") -> "Deferred[int | None]":
        """Record an interception as `IRecorder.record_interception` does, if every cap has room for it.

        Fires with the nanodollars that are left under the tightest cap, None without a cap. Otherwise record the
        interception with the status ``refused`` and fail with `BudgetSpent`: nothing is sent to the provider.
        """

    def standing(actor: Actor) -> "Deferred[Standing]":
        """Return where the actor's tightest cap stands; without a cap what the actor has spent this month."""


class IOnDemandRecorder(Interface):
    """Provided beside `IRecorder` by a recorder that starts with its first record if the host didn't start it."""

    def release() -> "Deferred[None]":
        """End what the first record started; the next record starts it again.

        Fires when everything that was recorded is durable and everything is closed; at once, without doing anything,
        if the host has started the recorder. A bridge calls this when it stops.
        """


class IAuthenticator(Interface):
    """Finds out who sends a request."""

    def authenticate(
        request: Request,
    ) -> "Actor | Deferred[Actor] | Deferred[Actor | None] | Coroutine[Any, Any, Actor | None] | None":
        """Return the request's actor, or None if it has none; as a value, a Deferred or a coroutine.

        Raise a `GatewayError` to refuse the request in other words. Only the request's head may be read. A credential
        of the gateway's own must be removed from ``request.requestHeaders``, so that it never reaches a provider.
        """


class IRevocable(Interface):
    """Provided beside `IAuthenticator` by one whose actors can lose their access while a WebSocket is open.

    It is then called again every second, with the headers and the address of the handshake. The socket is closed if
    that raises `Unauthorized`, or fails with it.
    """


ABORT = "abort"
DRAIN = "drain"


class IProvider(Interface):
    """A configured provider: its routes, its credential, its headers. Made once, shared by all requests.

    Durations are in seconds.
    """

    name: str = Attribute("The first segment of its routes, and its name in metrics and records.")
    type: str = Attribute("The kind of API: ``anthropic``, ``openai``, …")
    base_url: str = Attribute("The URL of its upstream, without a trailing slash.")
    proxy: str | None = Attribute("The URL of its HTTP proxy, or ``off``; None: as the environment's variables say.")
    ca_file: str | None = Attribute("A PEM file with the authorities to trust; None: the platform's.")
    client_cert: str | None = Attribute("A PEM file with the key and certificate to show; None: no certificate.")
    connect_timeout: float = Attribute("For a new connection, up to the end of the TLS handshake.")
    first_byte_timeout: float = Attribute("From a request to the head of its response.")
    idle_timeout: float = Attribute("Between two pieces of a response.")
    on_disconnect: str = Attribute("`ABORT` or `DRAIN`: end an answer whose client has left, or read it on.")
    overloaded: frozenset[int] = Attribute("Statuses by which the provider says that it is overloaded.")
    circuit_breaker: "BreakerSettings | None" = Attribute("The circuit breaker's settings; None for no breaker.")

    def route(method: bytes, path: str) -> "Route":
        """Return the route of a decoded path below the provider's name. Raise `RouteUnknown` or `MethodNotAllowed`."""

    def url(raw_path: bytes, query: bytes) -> bytes:
        """Return the provider's URL for a path below its name; path and query travel byte for byte."""

    def credential(client: "RawHeaders") -> "Credential":
        """Return the credential for a request with these headers.

        Raise `MissingCredential` without any, or another `Unauthorized` for one that is not accepted.
        """

    def add_headers(headers: "RawHeaders", credential: "Credential", actor: "Actor") -> None:
        """Add the headers that only the gateway may set: credential, configured headers, the actor's."""

    def error_body(error: "GatewayError") -> dict[str, Any]:
        """Return an error's body in the shape of the provider's API."""


class IToolLimits(Interface):
    """The interface, beside `IProvider`, of a provider to which not all of the gateway's tools are offered."""

    tools: bool = Attribute("False if none is ever offered to its models.")
    max_tools: int | None = Attribute("The most tools of one request, the client's among them; None for no bound.")


class IProviderPolicy(Interface):
    """The interface, beside `IProvider`, of a provider with several keys or fallbacks, or with a storage to guard."""

    pooled_credentials: "Sequence[Credential]" = Attribute("The configured credentials, if there are several.")
    fallback: Sequence[str] = Attribute("The names of the providers that take over while this one can't serve.")
    fallback_mid_conversation: bool = Attribute("True if they take over conversations that have begun, too.")
    shared_storage: bool = Attribute("True if each actor may use what the provider stores for another one.")


class IAdaptingProvider(Interface):
    """The interface, beside `IProvider`, of a provider that may take requests otherwise than clients send them."""

    adapts: bool = Attribute("False if it takes all requests as they are.")

    def adapt(
        path: str, query: bytes, body: "RequestBody", headers: "RawHeaders", without: "Collection[Addition]"
    ) -> "Adaptation":
        """Return the changes to a request on this route, and make those to its `headers`.

        Nothing in `without` is sent. Raise `BadRequest` for a model that the provider does not have.
        """

    def error_body_on(path: str, error: "GatewayError") -> dict[str, Any]:
        """Return an error's body in the shape of the API that has this path below the provider's name."""

    def authorizer(reactor: IReactorTime) -> "IAuthorizer | None":
        """Return a new authorizer of the configured credential; None if that is a header that never changes."""


class IAuthorizer(Interface):
    """Finds the credential for a cloud, off the reactor's thread, keeps it while it is valid, and signs with it."""

    problem: str | None = Attribute("Why there is no credential; None if there is one, or none was looked for yet.")

    def start() -> None:
        """Begin to look for the credential, so that the first request need not wait for it."""

    def credential() -> "Deferred[Credential]":
        """Fires with the credential as records have it. Fails with `NoCredentials` if there is none."""

    def doubt() -> None:
        """Look for another credential, in the background of the next request: the cloud refused this one."""

    def authorize(call: "UpstreamCall") -> "Deferred[None] | None":
        """Add credential or signature to the headers of a request, whose bytes are final.

        Return a Deferred that fires when that is done; None if it was done at once.
        """


class IDumpPolicy(Interface):
    """The interface, beside `IProvider`, of a provider whose exchanges can be dumped."""

    dump_dir: str = Attribute("The folder; empty for no dumps.")
    dump_max_bytes: int = Attribute("The most bytes of all dumps in the folder.")
    dump_days: int = Attribute("The days for which dumps are kept; 0 for no bound.")


class ITracer(Interface):
    """Traces interceptions. It decides for each at its beginning, by the client's ``traceparent`` first."""

    def begin(headers: "RawHeaders", record: InterceptionRecord, route: str, prompt: str | None) -> "ITrace | None":
        """Return the trace of an interception that begins with these headers; None if it is not traced."""

    def flush() -> "Deferred[None]":
        """Fires when everything that was traced until now is exported, or could not be in two seconds."""


class ITrace(Interface):
    """The trace of one interception. Its methods take note; none waits or fails."""

    trace_id: str = Attribute("The id of the whole trace, as 32 hexadecimal digits.")

    def move(record: InterceptionRecord) -> None:
        """Another provider serves, as the record says now."""

    def watch_commits(record_all: "RecordAll") -> "RecordAll":
        """Return a function that does the same, and takes note of slow commits."""

    def round_began(call: "UpstreamCall") -> None:
        """A request goes to the provider. Its headers get the trace's ``traceparent``."""

    def round_responded(code: int) -> None:
        """The head of the response is here."""

    def round_failed(error: Exception) -> None:
        """There was no response."""

    def round_ended(result: "RoundResult") -> None:
        """A round's answer has been read to its end."""

    def tools_ended(results: "Sequence[ToolResult]") -> None:
        """The injected tools of a round have run."""

    def end(ended: InterceptionRecordEnded, cost_usd: float | None, error_class: str | None) -> None:
        """The interception is over and recorded."""


class IRelay(IPushProducer):
    """Carries one provider's answer to one client, each at its own pace."""

    ended: "Deferred[Ending]" = Attribute(
        "Fires once the answer was read to its end; its last piece is still held. Cancelling ends the answer."
    )
    is_drained: bool = Attribute("True once nothing more comes from the provider.")
    drained: "Deferred[None]" = Attribute("Fires when nothing more comes from the provider.")

    def use_tap(tap: "Tap") -> None:
        """Use another tap in place of the one so far, which has nothing of the answer yet."""

    def release() -> None:
        """Send the piece that was held, now that all is recorded, and what still follows it."""


class IReply(Interface):
    """The client's side of an exchange. Every method may be called at any time, also when the client has left."""

    gone: bool = Attribute("True once the client has left before its answer's end.")
    code: int | None = Attribute("The status that was set; None before.")
    begun: bool = Attribute("True once a first byte has gone out: the status can't be changed any more.")
    on_left: Callable[[], object] | None = Attribute("Called when the client leaves before its answer's end.")
    write: Callable[[bytes], object] = Attribute("Sends a piece of the body; the head goes out before the first one.")

    def set_head(code: int, reason: bytes, headers: Headers) -> None:
        """Set the provider's status and headers; they go out with the first write."""

    def set_header(name: bytes, value: bytes) -> None:
        """Set a header of the gateway's own."""

    def set_producer(producer: IPushProducer) -> None:
        """Let the client's connection pause and resume that producer, instead of an earlier one."""

    def finish() -> None:
        """Complete the response."""

    def refuse(error: "GatewayError", body: dict[str, Any]) -> None:
        """Respond with an error, in place of any head that was set. Nothing may have gone out before."""

    def send_json(body: dict[str, Any]) -> None:
        """Respond with a small JSON object of the gateway's own."""

    def abort(last_words: bytes = b"") -> None:
        """End a response that has begun without its proper end, after these last words."""


class IExchange(Interface):
    """A client's request, from its arrival to the end of its answer. It can be cancelled at any moment."""

    reply: IReply = Attribute("The client's side.")
    reason: Exception | None = Attribute("Why the exchange was cancelled; None while it was not.")
    relay: IRelay | None = Attribute("The relay of an answer that the client is getting.")
    trace: "ITrace | None" = Attribute("The interception's trace; None if it is not traced.")
    interception_id: UUID | None = Attribute("The interception's id; None before there is one, or if there is none.")
    upstream_requests: int = Attribute("The number of requests that the provider was sent.")
    is_stream: bool | None = Attribute("True if the answer is a stream, False if it is JSON; None until it is known.")

    def wait(step: "Deferred[T]") -> "Deferred[T]":
        """Return the step. It fails with the reason if the exchange is cancelled, before or meanwhile."""

    def cancel(reason: Exception) -> None:
        """Call the exchange off. The first reason stands."""

    def raise_if_cancelled() -> None:
        """Raise the reason if the exchange was cancelled."""


class IUpstream(Interface):
    """A provider's HTTP side."""

    name: str = Attribute("The provider's name.")
    tap: "Callable[[AnswerReader], Tap] | None" = Attribute(
        "Returns the tap on every answer; None if each answer's first byte tells which it needs."
    )

    async def request(call: "UpstreamCall", exchange: "IExchange") -> IResponse:
        """Send a request and wait for the head of the response.

        Raise `UpstreamFailed` or `UpstreamTimeout` without one, or the reason for which the exchange is cancelled.
        """

    def relay(tap: "Tap", exchange: "IExchange", reads_on: Callable[[], bool]) -> IRelay:
        """Return the receiver of a response's body, which `tap` listens to on its way to the client.

        `reads_on` is called when the client leaves: True reads the answer to its end all the same.
        """


class IToolRunner(Interface):
    """The gateway's tools, as one conversation has them."""

    def run(calls: "Sequence[InjectedCall]") -> "Deferred[list[ToolResult]]":
        """Run these calls at once. Fires with their results, in the order of the calls; never fails.

        Cancelling the Deferred ends the calls that are still running, whose results then say "cancelled".
        """


class IMemory(Interface):
    """The gateway's memory of conversations, for each actor and provider."""

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


class IToolFilter(Interface):
    """The interface, beside `IToolbox`, of a toolbox some of whose servers are not there for everyone."""

    def serves(server: str, provider: str, model: str) -> bool:
        """Return True if a server's tools are offered to the models of that name at the provider of that name."""

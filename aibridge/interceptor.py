"""Makes an interception of a client's request, for one provider."""

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from .client.crossing import INTERCEPTION_ID, to_provider
from .client.request import ClientRequest
from .http.deadlines import Deadlines
from .identity.clients import client_of, session_of
from .identity.credentials import Credential
from .in_flight import InFlight
from .interception import Interception
from .interception_metrics import InterceptionMetrics
from .interfaces import IReply, IUpstream
from .metrics import Metrics
from .providers.base import DRAIN, Provider
from .record.batches import RecordAll
from .record.ledger import Ledger, utc_now
from .record.records import BYOK, InterceptionRecord
from .record.values import new_id, text_of
from .tools.conversation import Conversation, Conversations
from .upstream.circuit_breaker import Circuits, GuardedUpstream
from .upstream.client import Upstream, UpstreamCall
from .wire.formats import WireFormat
from .wire.request_body import RequestBody, read_request
from .wire.rounds import Dialogue, SingleRound


@frozen(eq=False)
class Interceptor:
    """Makes the interceptions of one provider."""

    provider: Provider
    upstream: Upstream
    record_all: RecordAll
    metrics: Metrics
    watchdog: Deadlines
    underway: InFlight
    clock: IReactorTime
    conversations: Conversations | None = None
    """The gateway's tools and its memory, where it has any."""
    circuits: Circuits | None = None
    """What keeps requests away from a provider that fails, where that is wanted."""

    async def intercept(self, ask: ClientRequest, wire_format: WireFormat, reply: IReply) -> Interception:
        """An interception that is ready to run. A GatewayError where the request can't be passed on."""
        asked = read_request(ask.read_body(), ask.header("content-encoding") or "", ask.limit)
        credential = self.provider.credential(ask.headers)
        last_turn = wire_format.last_turn(asked.document)
        record = self._record(ask, asked, credential, last_turn.tool_result_id)
        conversation = await self._conversation(ask, asked, wire_format)
        call = self._call(ask, asked, conversation.dialogue, credential)
        upstream = self._way(ask, asked, credential, reply)
        reply.set_header(INTERCEPTION_ID, text_of(record.id).encode())
        return Interception(
            format=wire_format,
            provider=self.provider,
            conversation=conversation,
            call=call,
            reads_on=self.provider.on_disconnect == DRAIN,
            upstream=upstream,
            reply=reply,
            record=record,
            ledger=Ledger(self.record_all, record.id, last_turn.prompt),
            tally=InterceptionMetrics(self.metrics, self.clock, record, ask.route.path),
            watchdog=self.watchdog,
            underway=self.underway,
        )

    def _way(self, ask: ClientRequest, asked: RequestBody, credential: Credential, reply: IReply) -> IUpstream:
        """The way to the provider. CircuitOpen, while it is closed to such requests."""
        if self.circuits is None:
            return self.upstream
        overloaded = self.provider.overloaded
        return GuardedUpstream(
            upstream=self.upstream,
            passage=self.circuits.enter(ask.route.path, asked.model),
            reply=reply,
            watchdog=self.watchdog,
            # One who came with a key of their own may have used that up: this is nobody else's business.
            failing=overloaded - {429} if credential.kind == BYOK else overloaded,
        )

    async def _conversation(self, ask: ClientRequest, asked: RequestBody, wire_format: WireFormat) -> Conversation:
        if self.conversations is None or not ask.route.offers_tools:
            return Conversation(SingleRound(wire_format, asked))
        return await self.conversations.join(ask.actor.id, self.provider.name, wire_format, asked)

    def _record(
        self, ask: ClientRequest, asked: RequestBody, credential: Credential, tool_result_id: str | None
    ) -> InterceptionRecord:
        headers = ask.headers
        client = client_of(headers)
        return InterceptionRecord(
            id=new_id(),
            initiator_id=ask.actor.id,
            provider=self.provider.type,
            provider_name=self.provider.name,
            model=asked.model,
            client=client,
            started_at=utc_now(),
            streaming=asked.streaming,
            credential_kind=credential.kind,
            credential_hint=credential.hint,
            client_session_id=session_of(client, headers, asked.document),
            user_agent=ask.header("user-agent"),
            correlating_tool_call_id=tool_result_id,
            metadata=ask.actor.metadata,
        )

    def _call(self, ask: ClientRequest, asked: RequestBody, dialogue: Dialogue, credential: Credential) -> UpstreamCall:
        body = dialogue.request()
        headers = to_provider(ask.headers, uncoded=True)
        if body is not asked.encoded:
            headers.removeHeader(b"content-encoding")
        self.provider.complete(headers, credential, ask.actor)
        # A message thread can be continued once from each of its messages: another try would find it gone on.
        return UpstreamCall(b"POST", self._url(ask), headers, body, once="thread" in asked.document)

    def _url(self, ask: ClientRequest) -> bytes:
        return self.provider.url(ask.route.path.encode(), ask.path.query)

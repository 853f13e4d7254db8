"""The making of interceptions, from what the client asks and how its provider is configured."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime

from .access import Grant, ProviderAccess
from .client.crossing import INTERCEPTION_ID, REQUEST_ID, read_request_id, to_provider
from .client.routes import find_route
from .costs.calculator import Prices, Pricing
from .failover import FALLBACK_FROM
from .first_attempt import FirstAttempt
from .http.deadlines import Deadlines
from .http.headers import RawHeaders
from .interception import Interception
from .interception_metrics import InterceptionMetrics
from .interfaces import IBudgets, IExchange, IProvider, ITracer, IUpstream
from .metrics import Metrics
from .record.batches import RecordAll
from .record.budgets.estimates import Estimate
from .record.ledger import Ledger
from .record.records import BYOK, InterceptionRecord
from .record.values import new_id, text_of, text_of_int, utc_now
from .retries import RETRY_OF, FailedTurns
from .tools.conversation import Conversation, Conversations, plain_conversation
from .upstream.adaptation import Adapter
from .upstream.call import UpstreamCall
from .upstream.refusals import Addition, LearntRefusals
from .wire.formats import WireFormat
from .wire.responses.reader import RESPONSES

if TYPE_CHECKING:
    from .client.paths import RequestPath
    from .client.request import ClientRequest, ModelRequest
    from .client.routes import Route
    from .failover import Failover
    from .http.agent import UpstreamAgent
    from .identity.credentials import Credential
    from .upstream.circuit_breaker import Circuits, Passage


_NO_HEADERS = RawHeaders()
"""The headers by which a provider is asked for its configured credential."""
_NOTHING: Collection[Addition] = frozenset()
"""The additions that are left out of a request to a provider which has refused none."""


@define(eq=False, kw_only=True)
class Interceptor:
    """Makes the interceptions of one provider."""

    provider: IProvider
    upstream: IUpstream
    record_all: RecordAll
    metrics: Metrics
    deadlines: Deadlines
    clock: IReactorTime
    refusals: LearntRefusals
    observe: Callable[[IUpstream], IUpstream] = lambda upstream: upstream
    """Returns another HTTP side of the provider with what is observed of it: the upstream has that already."""
    tracer: ITracer | None = None
    conversations: Conversations | None = None
    """The injected tools and what is remembered of their use, if the gateway has any."""
    circuits: "Circuits | None" = None
    failed_turns: FailedTurns = field(factory=FailedTurns)
    prices: Prices | None = None
    agent: "UpstreamAgent | None" = None
    """The client over which a WebSocket can be opened; None where a host's own client is used."""
    failover: "Failover | None" = None
    access: ProviderAccess | None = None
    """The provider's keys, if it has several, and what it stores for them; None if there is nothing to choose."""
    budgets: IBudgets | None = None
    adapter: Adapter | None = None
    """None if the provider takes all requests as they are."""

    async def prepare(
        self,
        request: "ClientRequest",
        parsed: "ModelRequest",
        wire_format: WireFormat,
        exchange: IExchange,
        fallback_from: str | None = None,
    ) -> Interception:
        """Return an interception that is ready to run. Raises a `GatewayError` if the request can't be passed on.

        `fallback_from` is the name of the provider in whose place this one serves.
        """
        grant = await self._admit(request, parsed, exchange, is_fallback=fallback_from is not None)
        record = self._record(request, parsed, grant.credential, fallback_from)
        without = _NOTHING if self.refusals.is_empty else self.refusals.known(parsed.body.model)
        conversation = await self.converse(request, parsed, wire_format, without)
        call = self.call(request, parsed, conversation, grant, without)
        passage = None if self.circuits is None else self._passage(self.circuits, request, parsed, grant.credential)
        adaptation, pricing = call.adaptation, self._pricing(record, grant.credential, call)
        failover = self.failover if fallback_from is None else None
        attempt = None
        if failover is not None or conversation.may_repeat or (adaptation is not None and adaptation.sent is not None):
            attempt = FirstAttempt(self, request, parsed, wire_format, grant, failover)
        metrics, record_all = self._observe(request, parsed, record, exchange)
        exchange.reply.set_header(INTERCEPTION_ID, text_of_int(record.id.int).encode())
        return Interception(
            exchange=exchange,
            provider=self.provider,
            upstream=self.upstream,
            passage=passage,
            format=wire_format,
            conversation=conversation,
            call=call,
            record=record,
            ledger=Ledger(record_all, record.id, parsed.prompt),
            metrics=metrics,
            deadlines=self.deadlines,
            failed_turns=self.failed_turns,
            error_body=self.provider.error_body if adaptation is None else adaptation.error_body,
            attempt=attempt,
            pricing=pricing,
            budgets=self.budgets,
            estimate=_estimate(parsed, conversation, pricing) if self.budgets and self.budgets.is_active else None,
        )

    async def take_over(
        self, interception: Interception, request: "ClientRequest", parsed: "ModelRequest", wire_format: WireFormat
    ) -> Grant:
        """Let this provider serve an interception whose own provider can't. Nothing of an answer may have gone out.

        Raises a `GatewayError` if this provider can't serve it either; then nothing has changed.
        """
        before = interception.record
        grant = await self._admit(request, parsed, interception.exchange, is_fallback=True)
        without = self.refusals.known(parsed.body.model)
        conversation = await self.converse(request, parsed, wire_format, without)
        call = self.call(request, parsed, conversation, grant, without)
        passage = None if self.circuits is None else self._passage(self.circuits, request, parsed, grant.credential)
        if interception.passage is not None:
            interception.passage.leave()
        interception.provider, interception.upstream, interception.passage = self.provider, self.upstream, passage
        interception.format, interception.conversation, interception.call = wire_format, conversation, call
        interception.record = evolve(
            before,
            provider=self.provider.type,
            provider_name=self.provider.name,
            credential_hint=grant.credential.hint,
            upstream_requests=interception.exchange.upstream_requests,  # it is a record of an earlier one
            metadata={**before.metadata, FALLBACK_FROM: before.metadata.get(FALLBACK_FROM, before.provider_name)},
        )
        adaptation = call.adaptation
        interception.error_body = self.provider.error_body if adaptation is None else adaptation.error_body
        interception.pricing = self._pricing(interception.record, grant.credential, call)
        interception.metrics.move(interception.record)
        return grant

    def format_of(self, request: "ClientRequest") -> WireFormat | None:
        """Return this provider's form of the API that a request to another one uses; None if it has no such route."""
        route, wanted = find_route(self.provider, b"POST", request.path.decoded), request.route.format
        own = route.format if route is not None else None
        return own if own is not None and wanted is not None and own.name == wanted.name else None

    def socket_route(self, path: "RequestPath") -> "Route | None":
        """Return the route of a path if its messages can be relayed over a WebSocket; None for any other path.

        That is the route of responses.
        """
        if not getattr(self.provider, "websocket", False) or self.agent is None:
            return None
        route = find_route(self.provider, b"POST", path.decoded)
        if route is None or route.format is None or route.format.name != RESPONSES.name:
            return None
        return route if route.offers_tools else None  # the compaction of responses offers none

    async def _admit(
        self, request: "ClientRequest", parsed: "ModelRequest", exchange: IExchange, *, is_fallback: bool
    ) -> Grant:
        """Return the credential for a request: in another provider's place, the configured one."""
        credential = self.provider.credential(_NO_HEADERS if is_fallback else request.headers)
        if self.adapter is not None:
            credential = await self.adapter.find_credential(credential, exchange)
        if self.access is None:
            return Grant(credential)
        return await self.access.to_model(request, parsed, credential)

    def _pricing(self, record: InterceptionRecord, credential: "Credential", call: UpstreamCall) -> Pricing | None:
        """Return the prices that are in force as the request begins; None where prices are off."""
        if self.prices is None:
            return None
        subscribed = credential.is_subscription
        pricing = Pricing(self.prices, record.provider_name, record.model, record.started_at, subscribed)
        if call.adaptation is not None:
            pricing.invoked = call.adaptation.model
        return pricing

    def _observe(
        self, request: "ClientRequest", parsed: "ModelRequest", record: InterceptionRecord, exchange: IExchange
    ) -> tuple[InterceptionMetrics, RecordAll]:
        """Begin to count an interception, and to trace it. Return the function that its records go through, too."""
        exchange.interception_id = record.id
        route, record_all, trace = request.route.label or request.route.path, self.record_all, None
        if self.tracer is not None:
            trace = exchange.trace = self.tracer.begin(request.headers, record, route, parsed.prompt)
            record_all = trace.watch_commits(record_all) if trace is not None else record_all
        ids = request.headers.by_name.get(REQUEST_ID)
        request_id = read_request_id(ids[0]) if ids else None
        return InterceptionMetrics(self.metrics, self.clock, record, route, request_id, trace), record_all

    def _record(
        self, request: "ClientRequest", parsed: "ModelRequest", credential: "Credential", fallback_from: str | None
    ) -> InterceptionRecord:
        metadata = request.actor.metadata
        if fallback_from is not None:
            metadata = {**metadata, FALLBACK_FROM: fallback_from}
        if parsed.facts is not None:
            metadata = {**metadata, **parsed.facts}
        if self.failed_turns.sessions:
            session = (request.actor.id, parsed.client, parsed.session)
            retried = self.failed_turns.retried(session, parsed.prompt, parsed.tool_result_id)
            if retried is not None:
                metadata = {**metadata, RETRY_OF: text_of(retried)}
        return InterceptionRecord(
            id=new_id(),
            initiator_id=request.actor.id,
            provider=self.provider.type,
            provider_name=self.provider.name,
            model=parsed.body.model,
            client=parsed.client,
            started_at=utc_now(),
            streaming=parsed.body.streaming,
            credential_kind=credential.kind,
            credential_hint=credential.hint,
            client_session_id=parsed.session,
            user_agent=parsed.user_agent,
            correlating_tool_call_id=parsed.tool_result_id,
            metadata=metadata,
        )

    async def converse(
        self, request: "ClientRequest", parsed: "ModelRequest", wire_format: WireFormat, without: Collection[Addition]
    ) -> Conversation:
        """Return the conversation of a request, to which nothing in `without` is added."""
        if self.conversations is None or not request.route.offers_tools:
            return plain_conversation(wire_format, parsed.body, without)
        return await self.conversations.join(request.actor.id, self.provider, wire_format, parsed.body, without)

    def call(
        self,
        request: "ClientRequest",
        parsed: "ModelRequest",
        conversation: Conversation,
        grant: Grant,
        without: Collection[Addition],
    ) -> UpstreamCall:
        """Return the request as it goes to the provider first, without these additions."""
        body = conversation.dialogue.request()
        headers = to_provider(request.headers, readable=True)
        adaptation = None
        if self.adapter is not None:
            target = (request.route.path, request.path.query)
            adaptation = self.adapter.adapt(target, parsed.body, headers, grant.credential, without)
            body = adaptation.edit(parsed.body.decoded if body is parsed.body.encoded else body)
            url = adaptation.url
        else:
            url = self.provider.url(request.route.path.encode(), request.path.query)
        if body is not parsed.body.encoded:
            headers.removeHeader(b"content-encoding")
        self.provider.add_headers(headers, grant.credential, request.actor)
        # A message thread can be continued once from each of its messages: a second try would find it gone on.
        call = UpstreamCall(b"POST", url, headers, body, once="thread" in parsed.body.document)
        call.adaptation = adaptation
        if grant.conversation is not None:
            grant.apply(call)
        return call

    def _passage(
        self, circuits: "Circuits", request: "ClientRequest", parsed: "ModelRequest", credential: "Credential"
    ) -> "Passage":
        """Return the circuit breaker's leave to go on. Raises `CircuitOpen` while it refuses such requests."""
        failing = self.provider.overloaded
        if credential.kind == BYOK:
            failing -= {429}  # earned by the client's own credential, and no other client's business
        return circuits.enter(request.route.path, parsed.body.model, failing)


def _estimate(parsed: "ModelRequest", conversation: Conversation, pricing: Pricing | None) -> Estimate:
    """Return the bounds of a request's cost. A token is at least a byte; injected tools bring further rounds."""
    body = parsed.body
    if pricing is None:
        return Estimate(None, is_priced=False)
    if pricing.is_subscription:
        return Estimate(0, is_priced=True)
    most = pricing.most(len(body.decoded), body.max_output_tokens or 0)
    is_bounded = body.max_output_tokens is not None and body.is_whole and conversation.tools is None
    return Estimate(most if is_bounded else None, is_priced=most is not None)

"""The story of an intercepted request: from the client's request to the answer's last byte and the last row."""

from collections.abc import Collection, Container
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from .client.crossing import INTERCEPTION_ID, to_provider
from .costs.calculator import Prices, Pricing
from .errors import ClientLeft, GatewayError, RecordingError, RecordingImpossible, TooManyRounds
from .first_attempt import FirstAttempt
from .http.deadlines import Deadlines
from .interception_metrics import InterceptionMetrics
from .interfaces import DRAIN, IExchange, IProvider, IUpstream
from .metrics import Metrics
from .record.batches import RecordAll, gather_writes
from .record.ledger import Ledger, RoundResult
from .record.records import BYOK, CANCELLED, COMPLETED, FAILED, InterceptionRecord, InterceptionRecordEnded
from .record.values import new_id, text_of, text_of_int, utc_now
from .retries import FailedTurns
from .round import Round
from .tools.conversation import Conversation, Conversations, plain_conversation
from .upstream.call import UpstreamCall
from .upstream.refusals import Addition, LearntRefusals
from .wire.formats import WireFormat

if TYPE_CHECKING:
    from .client.request import ClientRequest, ModelRequest
    from .identity.credentials import Credential
    from .upstream.circuit_breaker import Circuits, Passage

_log = Logger()
_KEEP_ALIVE_PERIOD = 10.0
RETRY_OF = "retry_of"
"""The key, in an interception's metadata, of the failed interception whose turn a client repeats."""


@define(eq=False, kw_only=True)
class Interception:
    """One intercepted exchange, with everything that takes part in it."""

    exchange: IExchange
    provider: IProvider
    upstream: IUpstream
    passage: "Passage | None"
    format: WireFormat
    conversation: Conversation
    """The client's request and its answer, over all rounds, and the conversation that they belong to."""
    call: UpstreamCall
    """The first round's request; later rounds differ in their bodies."""
    record: InterceptionRecord
    ledger: Ledger
    metrics: InterceptionMetrics
    deadlines: Deadlines
    failed_turns: FailedTurns
    attempt: "FirstAttempt | None"
    """The first request, while the provider may still refuse what the gateway added to it; None if it added nothing."""
    pricing: Pricing | None = None
    _round: Round | None = field(default=None, init=False)
    _rounds: int = field(default=0, init=False)
    _writes: "list[Deferred[None]]" = field(factory=list, init=False)
    """Rows of rounds that are over; the answer's end waits for them too."""

    async def run(self) -> None:
        """Serve the request. Never fails: the client is answered or cut off, and the rows say how it went."""
        try:
            await self._begin()
            await self._converse()
        except RecordingImpossible as error:
            self._send_error(error)
        except ClientLeft as error:
            await self._end_early(CANCELLED, error)
        except GatewayError as error:
            await self._end_early(FAILED, error)
        except Exception as error:
            _log.failure("interception {id} failed", id=text_of(self.record.id))
            await self._end_early(FAILED, GatewayError(f"The gateway failed: {type(error).__name__}; see its log."))
        finally:
            if self._round is not None:
                self._round.forget()
                self._round = None  # it leads back to this exchange
            if self.passage is not None:
                self.passage.leave()

    async def _begin(self) -> None:
        """Record the interception: nothing is spent at the provider before that is durable."""
        try:
            await self.ledger.record_begin(self.record)
        except RecordingError as error:
            self.metrics.end(self._end_record(FAILED, "the request could not be recorded", None))
            raise RecordingImpossible(
                "This request can't be recorded now, so it was not sent. Try again in a moment."
            ) from error

    async def _converse(self) -> None:
        """Run rounds until an answer calls no injected tool. The last answer's end waits for all rows."""
        current = await self._next_round()
        dialogue = self.conversation.dialogue
        while current.succeeded and dialogue.calls:
            await self._run_tools(current)
            if not dialogue.continues:
                break
            self._writes.append(self.ledger.record_round(self._result(current), self._record_so_far()))
            current = await self._next_round()
        await self._record_whole(current)
        current.release()
        await current.drain()
        self.exchange.reply.finish()

    async def _next_round(self) -> Round:
        if self._rounds:
            self.call.body = self.conversation.dialogue.request()
        self._rounds += 1
        current = self.new_round()
        await current.send(self.call)
        attempt, self.attempt = self.attempt, None  # it keeps the request, which may be large
        if attempt is not None and not current.succeeded:
            current = await attempt.repeat(self, current)
        self.call.body = b""  # sent, and it may be large
        await current.relay()
        return current

    def new_round(self) -> Round:
        """Begin a round. Raise the reason if the exchange was cancelled."""
        if self._round is not None:
            self._round.forget()
        if self.exchange.reason is not None:
            raise self.exchange.reason
        reader = self.conversation.dialogue.new_reader()
        self._round = current = Round(
            exchange=self.exchange,
            upstream=self.upstream,
            passage=self.passage,
            metrics=self.metrics,
            deadlines=self.deadlines,
            reader=reader,
            answer=reader.answer,
            streaming=self.record.streaming,
            drains=self.provider.on_disconnect == DRAIN,
            on_checkpoint=self._record_progress,
        )
        return current

    async def _run_tools(self, current: Round) -> None:
        """Run the injected tools that an answer calls, all at once. A client that leaves meanwhile ends them."""
        exchange, dialogue, tools = self.exchange, self.conversation.dialogue, self.conversation.tools
        assert tools is not None
        if exchange.reply.gone:
            raise ClientLeft("the client left before its answer's end")  # the answer was read on for its figures only
        if self._rounds >= self.conversation.max_rounds:
            raise TooManyRounds(f"The model called tools in {self._rounds} rounds without coming to an end.")
        if dialogue.continues:
            current.release()
        exchange.relay = None
        pulse = self.deadlines.repeat(_KEEP_ALIVE_PERIOD, lambda: self._keep_alive(current))
        try:
            results = await exchange.wait(tools.run(dialogue.calls))
        finally:
            self.deadlines.cancel(pulse)
        self._writes.append(self.ledger.record_tool_results(current.answer, results))
        self.metrics.count_tool_results(results)
        exchange.raise_if_cancelled()
        dialogue.add_results(results)

    def _keep_alive(self, current: Round) -> None:
        reply = self.exchange.reply
        if reply.begun and current.between_frames:
            reply.write(self.conversation.dialogue.keep_alive())

    # Rows

    def _record_progress(self, current: Round) -> None:
        """Record the figures so far of an answer that takes long, so that a crash does not lose them."""
        if current.succeeded:
            result = self._read(current)
            self.ledger.record_progress(self._record_so_far(), result).addErrback(
                lambda failure: _log.failure("the figures of a running answer were not recorded", failure)
            )

    def _record_so_far(self) -> InterceptionRecord:
        """Return the interception's record with what the provider was asked until now."""
        return evolve(self.record, upstream_requests=self.exchange.upstream_requests)

    def _result(self, current: Round) -> RoundResult:
        """Return a round's result, and count it: call this once a round."""
        calls = self.conversation.dialogue.calls
        result = self._read(current, {call.id for call in calls} if calls else ())
        self.metrics.count(result)
        return result

    def _read(self, current: Round, injected: Container[str | None] = ()) -> RoundResult:
        """Return the tokens and costs of a round's answer, as far as it has come."""
        answer = current.answer
        tokens = self.format.count_tokens(answer.usage)
        bill = self.pricing.bill(answer, tokens) if self.pricing is not None else None
        return RoundResult(answer, tokens, injected, bill)

    async def _record_whole(self, current: Round) -> None:
        """Record an answer that came to its end."""
        if (turn := self.conversation.dialogue.turn()) is not None:
            self._writes.append(self.conversation.remember(turn))
        try:
            await self._record_end(*self._outcome(current), current.code)
        except RecordingError as reason:
            raise RecordingImpossible("The gateway could not record this answer.") from reason

    async def _record_end(self, status: str, error: str | None, http_status: int | None) -> None:
        ended = self._end_record(status, error, http_status)
        current = self._round
        last = self.ledger.record_end(
            ended, self._result(current) if current is not None and current.succeeded else None
        )
        try:
            await (gather_writes([*self._writes, last]) if self._writes else last)
        except RecordingError:
            ended = evolve(ended, status=FAILED, error="the end could not be recorded")
            raise
        finally:
            is_new = self.ledger.prompt is not None and RETRY_OF not in self.record.metadata
            self.metrics.end(ended, prompted=is_new)
            if ended.status == FAILED or self.failed_turns.sessions:
                self.failed_turns.ended(self.record, self.ledger.prompt, ended.status)

    def _outcome(self, current: Round) -> tuple[str, str | None]:
        """Return the status and the error of an exchange whose answer came to its end."""
        answer = current.answer
        if not current.succeeded:
            return FAILED, f"{answer.error or 'error'} (HTTP {current.code})"
        if answer.error:
            return FAILED, answer.error
        if current.left_early:
            return CANCELLED, None
        if answer.finished or answer.deferred:
            return COMPLETED, None
        return FAILED, "the answer ended before its last event"

    def _end_record(self, status: str, error: str | None, http_status: int | None) -> InterceptionRecordEnded:
        return InterceptionRecordEnded(
            id=self.record.id,
            ended_at=utc_now(),
            status=status,
            http_status=http_status,
            error=error,
            upstream_requests=self.exchange.upstream_requests,
        )

    # Ends before the end

    async def _end_early(self, status: str, reason: GatewayError | ClientLeft) -> None:
        """Record an exchange that was broken off, then tell the client if it is still there."""
        error = reason if isinstance(reason, GatewayError) else None
        reply = self.exchange.reply
        http_status = reply.code if reply.begun else error.status if error is not None else None
        why = error.message if error is not None else None
        if self._round is not None and self._round.answer.error is not None:
            status, why = FAILED, self._round.answer.error  # what went wrong first
        try:
            await self._record_end(status, why, http_status)
        except RecordingError:
            _log.failure("the end of interception {id} was not recorded", id=text_of(self.record.id))
        self._send_error(error)

    def _send_error(self, error: GatewayError | None) -> None:
        """Send the error in the API's own form, or cut off an answer that can't take it."""
        reply = self.exchange.reply
        if error is not None and not reply.begun:
            reply.refuse(error, self.provider.error_body(error))
        elif error is not None and self._round is not None and self._round.between_frames:
            reply.abort(self.format.error_frame(error, self._round.reader.next_number))
        else:
            reply.abort()


@frozen(eq=False, kw_only=True)
class Interceptor:
    """Makes the interceptions of one provider."""

    provider: IProvider
    upstream: IUpstream
    record_all: RecordAll
    metrics: Metrics
    deadlines: Deadlines
    clock: IReactorTime
    refusals: LearntRefusals
    conversations: Conversations | None = None
    """The injected tools and what is remembered of their use, if the gateway has any."""
    circuits: "Circuits | None" = None
    failed_turns: FailedTurns = field(factory=FailedTurns)
    prices: Prices | None = None

    async def prepare(self, request: "ClientRequest", wire_format: WireFormat, exchange: IExchange) -> Interception:
        """Return an interception that is ready to run. Raises a `GatewayError` if the request can't be passed on."""
        parsed = request.parse(wire_format)
        credential = self.provider.credential(request.headers)
        record = self._record(request, parsed, credential)
        without = self.refusals.known(parsed.body.model)
        conversation = await self.converse(request, parsed, wire_format, without)
        call = self.call(request, parsed, conversation, credential)
        passage = self._passage(request, parsed, credential)
        pricing = None
        if self.prices is not None:
            subscribed = credential.is_subscription
            pricing = Pricing(self.prices, record.provider_name, record.model, record.started_at, subscribed)
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
            ledger=Ledger(self.record_all, record.id, parsed.prompt),
            metrics=InterceptionMetrics(self.metrics, self.clock, record, request.route.path),
            deadlines=self.deadlines,
            failed_turns=self.failed_turns,
            attempt=FirstAttempt(self, request, parsed, wire_format, credential) if conversation.may_repeat else None,
            pricing=pricing,
        )

    def _record(self, request: "ClientRequest", parsed: "ModelRequest", credential: "Credential") -> InterceptionRecord:
        metadata = request.actor.metadata
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
        self, request: "ClientRequest", parsed: "ModelRequest", conversation: Conversation, credential: "Credential"
    ) -> UpstreamCall:
        """Return the request as it goes to the provider first."""
        body = conversation.dialogue.request()
        headers = to_provider(request.headers, readable=True)
        if body is not parsed.body.encoded:
            headers.removeHeader(b"content-encoding")
        self.provider.add_headers(headers, credential, request.actor)
        url = self.provider.url(request.route.path.encode(), request.path.query)
        # A message thread can be continued once from each of its messages: a second try would find it gone on.
        return UpstreamCall(b"POST", url, headers, body, once="thread" in parsed.body.document)

    def _passage(self, request: "ClientRequest", parsed: "ModelRequest", credential: "Credential") -> "Passage | None":
        """Return the circuit breaker's leave to go on. Raises `CircuitOpen` while it refuses such requests."""
        if self.circuits is None:
            return None
        failing = self.provider.overloaded
        if credential.kind == BYOK:
            failing -= {429}  # earned by the client's own credential, and no other client's business
        return self.circuits.enter(request.route.path, parsed.body.model, failing)

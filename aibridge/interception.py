"""The story of an intercepted request: from the client's request to the answer's last byte and the last row."""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .client.crossing import BUDGET_REMAINING, COST
from .costs.calculator import Pricing
from .costs.prices import dollars
from .errors import (
    BudgetSpent,
    ClientLeft,
    ClientStalled,
    GatewayError,
    Interrupted,
    RecordingError,
    RecordingImpossible,
    TooManyRounds,
)
from .http.deadlines import Deadlines
from .http.headers import RawHeaders
from .interception_metrics import PROVIDER_ERROR, InterceptionMetrics
from .interfaces import DRAIN, IBudgets, IExchange, IProvider, IUpstream
from .record.batches import gather_writes
from .record.ledger import Ledger, RoundResult
from .record.records import (
    CANCELLED,
    COMPLETED,
    FAILED,
    INTERRUPTED,
    REFUSED,
    InterceptionRecord,
    InterceptionRecordEnded,
)
from .record.values import text_of, utc_now
from .retries import RETRY_OF, FailedTurns
from .round import Round
from .tools.conversation import Conversation
from .upstream.call import UpstreamCall
from .wire.formats import WireFormat

if TYPE_CHECKING:
    from .identity.credentials import Credential
    from .record.budgets.estimates import Estimate
    from .upstream.circuit_breaker import Passage

ErrorBody = Callable[[GatewayError], dict[str, object]]

_log = Logger()
_KEEP_ALIVE_PERIOD = 10.0
_SENT = RawHeaders()
"""Takes the place of a request's headers, which may be large, once they are not sent again."""


class Attempt(Protocol):
    """The first request of an exchange, which can be repeated in another form, or be made to another provider."""

    async def send(self, interception: "Interception") -> Round:
        """Return the round of the first request that a provider serves, or of the one that failed for good."""


@define(eq=False, kw_only=True)
class Interception:
    """An intercepted exchange, with everything that takes part in it."""

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
    error_body: ErrorBody
    """Return an error's body in the shape of the client's API."""
    attempt: "Attempt | None"
    """The first request, if it can be sent in another form or to another provider; None otherwise."""
    pricing: Pricing | None = None
    budgets: IBudgets | None = None
    """The caps on money, if the recorder holds any."""
    estimate: "Estimate | None" = None
    """The most that the request can cost, if there are caps."""
    _round: Round | None = field(default=None, init=False)
    _rounds: int = field(default=0, init=False)
    _writes: "list[Deferred[None]]" = field(factory=list, init=False)
    """Rows of rounds that are over; the answer's end waits for them too."""

    async def run(self) -> None:
        """Serve the request. Never fails: the client is answered or cut off, and the rows say how it went."""
        try:
            await self._begin()
            await self._converse()
        except (RecordingImpossible, BudgetSpent) as error:
            self._send_error(error)
        except ClientLeft as error:
            await self._end_early(CANCELLED, error)
        except GatewayError as error:
            await self._end_early(INTERRUPTED if isinstance(error, Interrupted) else FAILED, error)
        except Exception as error:
            _log.failure("interception {id} failed", id=text_of(self.record.id))
            await self._end_early(FAILED, GatewayError(f"The gateway failed: {type(error).__name__}; see its log."))
        finally:
            if self._round is not None:
                self._round.forget()
                self._round = None  # it leads back to this exchange
            if self.conversation.tools is not None:
                self.conversation.dialogue.forget()
            if self.passage is not None:
                self.passage.leave()

    async def _begin(self) -> None:
        """Record the interception: nothing is spent at the provider before that is durable, and caps have room."""
        try:
            if self.budgets is None:
                await self.ledger.record_begin(self.record)
            elif (left := await self.budgets.begin(self.record, self.estimate)) is not None:
                self.exchange.reply.set_header(BUDGET_REMAINING, dollars(left).encode())
        except BudgetSpent as error:
            self.metrics.error_class = BudgetSpent.__name__
            self.metrics.end(self._end_record(REFUSED, error.message, error.status))
            raise
        except RecordingError as error:
            self.metrics.error_class = RecordingError.__name__
            self.metrics.end(self._end_record(FAILED, "the request could not be recorded", RecordingImpossible.status))
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
        if self.pricing is not None and self.pricing.prices.header:
            self._tell_cost()
        current.release()
        await current.drain()
        self.exchange.reply.finish()

    def _tell_cost(self) -> None:
        """Set the header with the answer's cost, unless the head has gone out: that of a stream always has."""
        cost = self.metrics.cost
        if cost is not None and not self.exchange.reply.begun:
            self.exchange.reply.set_header(COST, dollars(cost).encode())

    async def _next_round(self) -> Round:
        if self._rounds:
            self.call.renew(self.conversation.dialogue.request())
        self._rounds += 1
        if self.attempt is not None:
            current = await self.attempt.send(self)
            self.attempt = None  # it keeps the request, which may be large
        else:
            current = self.new_round()
            await current.send(self.call)
        if self.call.credential is not None:
            self._record_credential(self.call.credential)
        self.call.body = b""  # sent, and it may be large
        if self.conversation.tools is None:  # no other round follows
            self.call.headers = _SENT
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
        checkpoint = self.deadlines.start(0.0, lambda: self._record_progress(current))  # for tools that take a while
        try:
            results = await exchange.wait(tools.run(dialogue.calls))
        finally:
            self.deadlines.cancel(pulse)
            self.deadlines.cancel(checkpoint)
        self._writes.append(self.ledger.record_tool_results(current.answer, results))
        self.metrics.count_tool_results(results)
        exchange.raise_if_cancelled()
        dialogue.add_results(results)

    def _keep_alive(self, current: Round) -> None:
        reply = self.exchange.reply
        if reply.begun and current.between_frames:
            reply.write(self.conversation.dialogue.keep_alive())

    # Rows

    def _record_credential(self, credential: "Credential") -> None:
        """Record the key that served, if it is another one than the request began with."""
        if credential.hint != self.record.credential_hint:
            self.record = evolve(self.record, credential_hint=credential.hint)
            self._writes.append(self.ledger.record_begin(self._record_so_far()))

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
        tokens = self.format.count_tokens({**answer.counters, **answer.usage})
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
            self.metrics.error_class = RecordingError.__name__
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
            first_byte_ms=self.metrics.first_byte_ms,
        )

    # Ends before the end

    async def _end_early(self, status: str, reason: GatewayError | ClientLeft) -> None:
        """Record an exchange that was broken off, then tell the client if it is still there."""
        self.metrics.error_class = type(reason).__name__
        error = reason if isinstance(reason, GatewayError) else None
        reply = self.exchange.reply
        http_status = reply.code if reply.begun else error.status if error is not None else None
        why = str(reason) if isinstance(reason, (GatewayError, ClientStalled)) else None
        if self._round is not None and self._round.answer.error is not None:
            status, why = FAILED, self._round.answer.error  # what went wrong first
            self.metrics.error_class = PROVIDER_ERROR
        try:
            await self._record_end(status, why, http_status)
        except RecordingError:
            _log.failure("the end of interception {id} was not recorded", id=text_of(self.record.id))
        self._send_error(error)

    def _send_error(self, error: GatewayError | None) -> None:
        """Send the error in the API's own form, or cut off an answer that can't take it."""
        reply = self.exchange.reply
        if error is not None and not reply.begun:
            reply.refuse(error, self.error_body(error))
        elif error is not None and self._round is not None and self._round.between_frames:
            reply.abort(self.format.error_frame(error, self._round.reader.next_number))
        else:
            reply.abort()

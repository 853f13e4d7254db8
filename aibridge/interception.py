"""One exchange: from the client's request to its last byte and its last row."""

from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from .errors import GatewayError, RecordingError, RecordingImpossible, TooManyRounds
from .http.deadlines import Deadlines
from .in_flight import InFlight
from .interception_metrics import InterceptionMetrics
from .interfaces import IProvider, IReply, IUpstream
from .record.batches import gather_writes
from .record.ledger import Ledger, RoundResult, utc_now
from .record.records import CANCELLED, COMPLETED, FAILED, InterceptionRecord, InterceptionRecordEnded
from .round import Round
from .tools.conversation import Conversation
from .wire.formats import WireFormat

_log = Logger()
_KEEP_ALIVE_AFTER = 10.0


@define(eq=False, kw_only=True)
class Interception:
    """One exchange with all that take part in it; each of them does its own work."""

    format: WireFormat
    provider: IProvider
    conversation: Conversation
    """The client's request and its answer, over all rounds, and what else belongs to its conversation."""
    call: Any
    """The `UpstreamCall` of the first round; the next ones differ in their bodies."""
    reads_on: bool
    """Whether an answer is read to its end for its figures although its client has left."""
    upstream: IUpstream
    reply: IReply
    record: InterceptionRecord
    ledger: Ledger
    tally: InterceptionMetrics
    watchdog: Deadlines
    underway: InFlight
    _round: Round | None = field(default=None, init=False)
    _rounds: int = field(default=0, init=False)
    _writes: "list[Deferred[None]]" = field(factory=list, init=False)
    """Rows of rounds that are over; the answer's end waits for them too."""

    async def run(self) -> None:
        """Never fails: in the end the client is answered or cut off, and the rows say how it went."""
        try:
            await self._begin()
            await self._converse()
        except RecordingImpossible as error:
            self._tell(error)
        except CancelledError:
            await self._give_up(CANCELLED)
        except GatewayError as error:
            await self._give_up(FAILED, error)
        except Exception:
            _log.failure("interception {id} failed", id=str(self.ledger.interception_id))
            await self._give_up(FAILED, GatewayError("The gateway failed; its log says why."))
        finally:
            self._part()
            self.upstream.leave()

    async def _begin(self) -> None:
        try:
            await self.ledger.begin(self.record)
        except RecordingError as error:
            self.tally.end(self._ended(FAILED, "the request could not be recorded", None))
            raise RecordingImpossible("The gateway can't record this request now, so it was not passed on.") from error

    async def _converse(self) -> None:
        """Rounds, until an answer calls none of the gateway's tools. The last one's end waits for all rows."""
        current = await self._next_round()
        while current.succeeded and self.conversation.dialogue.calls:
            await self._run_tools(current)
            if not self.conversation.dialogue.goes_on:
                break
            self._writes.append(self.ledger.answered(self._said(current)))
            current = await self._next_round()
        await self._record_whole(current)
        current.release()
        await current.drain()
        self.reply.finish()

    async def _next_round(self) -> Round:
        self._part()
        current = self._round = self._new_round()
        if self._rounds:
            self.call.body = self.conversation.dialogue.request()
        self._rounds += 1
        await current.ask(self.call)
        self.call.body = b""  # sent, and it may be large
        current.check()
        await current.hand_over()
        return current

    def _new_round(self) -> Round:
        return Round(
            upstream=self.upstream,
            reply=self.reply,
            tally=self.tally,
            watchdog=self.watchdog,
            reader=self.conversation.dialogue.listen(),
            streaming=self.record.streaming,
            reads_on=self.reads_on,
            on_checkpoint=self._record_progress,
        )

    async def _run_tools(self, current: Round) -> None:
        """The gateway's tools, all at once; a client that leaves meanwhile ends them."""
        tools = self.conversation.tools
        assert tools is not None
        if self.reply.gone:
            raise CancelledError  # its answer was read to the end for the figures only
        if self._rounds >= self.conversation.max_rounds:
            raise TooManyRounds(f"The model called tools in {self._rounds} rounds without coming to an end.")
        if self.conversation.dialogue.goes_on:
            current.release()
        running = self.underway.track(tools.run(self.conversation.dialogue.calls))
        self.reply.when_left(running.cancel)
        pulse = self.watchdog.repeat(_KEEP_ALIVE_AFTER, lambda: self._keep_alive(current))
        try:
            results = await running
        finally:
            self.watchdog.cancel(pulse)
        self._writes.append(self.ledger.called(current.answer, results))
        self.tally.count_tool_results(results)
        if self.reply.gone:
            raise CancelledError
        self.conversation.dialogue.add_results(results)

    def _keep_alive(self, current: Round) -> None:
        if self.reply.begun and current.between_frames:
            self.reply.write(self.conversation.dialogue.keep_alive)

    def _part(self) -> None:
        """Lets go of a round that is over: it knows this exchange, and they would keep each other alive."""
        if self._round is not None:
            self._round.forget()
            self._round = None

    # What is recorded

    def _record_progress(self, current: Round) -> None:
        if current.succeeded:
            figures = self.format.count_tokens(current.answer.usage)
            self.ledger.progress(RoundResult(current.answer, figures)).addErrback(
                lambda failure: _log.failure("a running answer's figures were not recorded", failure)
            )

    def _said(self, current: Round) -> RoundResult:
        """What that round said. It is counted with this, so it is asked for once."""
        ours = {call.id for call in self.conversation.dialogue.calls}
        said = RoundResult(current.answer, self.format.count_tokens(current.answer.usage), ours)
        self.tally.count(said)
        return said

    async def _record_whole(self, current: Round) -> None:
        if (turn := self.conversation.dialogue.turn()) is not None:
            self._writes.append(self.conversation.remember(turn))
        try:
            await self._record_end(*self._outcome(current), current.code)
        except RecordingError as reason:
            raise RecordingImpossible("The gateway could not record this answer.") from reason

    async def _record_end(self, status: str, error: str | None, http_status: int | None) -> None:
        ended = self._ended(status, error, http_status)
        current = self._round
        last = self.ledger.end(ended, self._said(current) if current is not None and current.succeeded else None)
        try:
            await (gather_writes([*self._writes, last]) if self._writes else last)
        except RecordingError:
            ended = evolve(ended, status=FAILED, error="the end could not be recorded")
            raise
        finally:
            self.tally.end(ended, prompted=self.ledger.prompt is not None)

    def _outcome(self, current: Round) -> tuple[str, str | None]:
        """Status and error of an exchange whose answer came to its end."""
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

    def _ended(self, status: str, error: str | None, http_status: int | None) -> InterceptionRecordEnded:
        return InterceptionRecordEnded(
            id=self.ledger.interception_id,
            ended_at=utc_now(),
            status=status,
            http_status=http_status,
            error=error,
            upstream_requests=self._rounds,
        )

    # Other endings

    async def _give_up(self, status: str, error: GatewayError | None = None) -> None:
        refused_with = error.status if error is not None else None
        http_status = self.reply.code if self.reply.begun else refused_with
        try:
            await self._record_end(status, error.message if error is not None else None, http_status)
        except RecordingError:
            _log.failure("the end of interception {id} was not recorded", id=str(self.ledger.interception_id))
        self._tell(error)

    def _tell(self, error: GatewayError | None) -> None:
        """Says it in the API's own form, where the client can still be told anything."""
        if error is not None and not self.reply.begun:
            self.reply.refuse(error, self.provider.error_body(error))
        elif error is not None and self._round is not None and self._round.between_frames:
            self.reply.cut(self.format.error_frame(error))
        else:
            self.reply.cut(b"")

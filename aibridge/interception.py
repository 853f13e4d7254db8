"""One exchange: from the client's request to its last byte and its last row."""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web.iweb import IResponse

from .errors import GatewayError, RecordingError, RecordingImpossible, UpstreamBroke, UpstreamTimeout
from .interfaces import Ending, IRelay, IReply, IUpstream
from .record.ledger import Ledger, utc_now
from .record.records import CANCELLED, COMPLETED, FAILED, InterceptionRecordEnded
from .tally import Tally
from .upstream.watchdog import Watchdog
from .wire.formats import Answer, WireFormat
from .wire.requests import Asked
from .wire.tap import StreamTap, Tap, tap_for

_log = Logger()
_CHECKPOINT_AFTER = 2.0


@define(eq=False, kw_only=True)
class Interception:
    """One exchange with all that take part in it; each of them does its own work."""

    asked: Asked
    format: WireFormat
    call: Any
    """The `UpstreamCall` that goes to the provider."""
    upstream: IUpstream
    reply: IReply
    ledger: Ledger
    tally: Tally
    watchdog: Watchdog
    error_body: Callable[[GatewayError], dict[str, Any]]
    reads_on: bool
    """Whether an answer is read to its end for its figures although its client has left."""
    _tap: Tap | None = field(default=None, init=False)
    _succeeded: bool = field(default=False, init=False)
    """Whether the provider let the model answer, by its status."""
    _left_early: bool = field(default=False, init=False)
    """Whether the client left before it had all of the answer's text."""
    _rounds: int = field(default=0, init=False)

    async def run(self) -> None:
        """Never fails: in the end the client is answered or cut off, and the rows say how it went."""
        try:
            await self._begin()
            response = await self._ask()
            await self._hand_over(response)
        except RecordingImpossible as error:
            self._tell(error)
        except CancelledError:
            await self._give_up(CANCELLED)
        except GatewayError as error:
            await self._give_up(FAILED, error)
        except Exception:
            _log.failure("interception {id} failed", id=str(self.ledger.interception.id))
            await self._give_up(FAILED, GatewayError("The gateway failed; its log says why."))

    async def _begin(self) -> None:
        try:
            await self.ledger.begin()
        except RecordingError as error:
            self._count(self._ended(FAILED, "the request could not be recorded", None))
            raise RecordingImpossible("The gateway can't record this request now, so it was not passed on.") from error

    async def _ask(self) -> IResponse:
        if self.reply.gone:
            raise CancelledError
        asking = Deferred.fromCoroutine(self.upstream.ask(self.call))
        self.reply.when_left(asking.cancel)
        self._rounds += 1
        self.tally.asked()
        try:
            response = await asking
        except GatewayError:
            if self.reply.gone:
                raise CancelledError from None  # agents differ in what they make of being cancelled
            raise
        finally:
            self.tally.answered()
        self.tally.began_to_answer()
        return response

    async def _hand_over(self, response: IResponse) -> None:
        """Brings the answer to the client, all but its last piece: that one follows when the rows are durable."""
        self._succeeded = response.code < 400
        self._tap = tap = self._listen(response)
        relay = self.upstream.relay(tap, self.reply, self._reads_on)
        if isinstance(tap, StreamTap):
            response.headers.removeHeader(b"content-length")  # a frame may be dropped, or one of the gateway's added
        self.reply.head(response.code, response.phrase, response.headers)
        if isinstance(tap, StreamTap):
            self.reply.write(b"")
        self.reply.send_from(relay)
        response.deliverBody(relay)
        ending = await self._end_of(relay)
        self.tally.answered()
        if ending is not Ending.WHOLE:
            raise self._problem(ending)
        await self._record_whole(response.code)
        relay.release()
        await relay.drained
        self.reply.finish()

    def _listen(self, response: IResponse) -> Tap:
        content_type = response.headers.getRawHeaders(b"content-type", [b""])[0]
        return tap_for(content_type, self.asked.streaming and self._succeeded, self.format.reader(self.asked.json))

    def _reads_on(self) -> bool:
        """Whether an answer whose client has left is read to its end: where only its figures are missing, always."""
        assert self._tap is not None
        nearly_over = self._tap.answer.ending
        self._left_early = not nearly_over
        return nearly_over or self.reads_on

    async def _end_of(self, relay: IRelay) -> Ending:
        checkpoint = self.watchdog.watch(_CHECKPOINT_AFTER, self._record_progress)
        try:
            ending: Ending = await relay.ended
            return ending
        finally:
            self.watchdog.call_off(checkpoint)

    def _problem(self, ending: Ending) -> Exception:
        if ending is Ending.BROKEN:
            return UpstreamBroke(f"{self.upstream.name} broke off its answer.")
        if ending is Ending.TIMED_OUT:
            return UpstreamTimeout(
                f"{self.upstream.name} said nothing more for {self.upstream.idle_timeout:g} seconds."
            )
        return CancelledError()

    # What is recorded

    def _record_progress(self) -> None:
        if self._answer is not None:
            self.ledger.progress(self._answer).addErrback(
                lambda failure: _log.failure("a running answer's figures were not recorded", failure)
            )

    async def _record_whole(self, code: int) -> None:
        status, error = self._outcome(code)
        try:
            await self._record_end(self._ended(status, error, code))
        except RecordingError as reason:
            raise RecordingImpossible("The gateway could not record this answer.") from reason

    async def _record_end(self, ended: InterceptionRecordEnded) -> None:
        self._count(ended)
        await self.ledger.end(self._answer, ended)

    def _outcome(self, code: int) -> tuple[str, str | None]:
        """Status and error of an exchange whose answer came to its end."""
        assert self._tap is not None
        answer = self._tap.answer
        if not self._succeeded:
            return FAILED, f"{answer.error or 'error'} (HTTP {code})"
        if answer.error:
            return FAILED, answer.error
        if self._left_early:
            return CANCELLED, None
        if answer.finished or answer.deferred:
            return COMPLETED, None
        return FAILED, "the answer ended before its last event"

    def _ended(self, status: str, error: str | None, http_status: int | None) -> InterceptionRecordEnded:
        return InterceptionRecordEnded(
            id=self.ledger.interception.id,
            ended_at=utc_now(),
            status=status,
            http_status=http_status,
            error=error,
            upstream_requests=self._rounds,
        )

    def _count(self, ended: InterceptionRecordEnded) -> None:
        usage = self._answer.usage if self._answer else {}
        self.tally.end(ended, self._answer, self.format.figures(usage), self.ledger.prompt is not None)

    @property
    def _answer(self) -> Answer | None:
        """What the model has said so far, if the provider let it answer at all."""
        return self._tap.answer if self._tap is not None and self._succeeded else None

    # Other endings

    async def _give_up(self, status: str, error: GatewayError | None = None) -> None:
        refused_with = error.status if error is not None else None
        http_status = self.reply.code if self.reply.begun else refused_with
        try:
            await self._record_end(self._ended(status, error.message if error is not None else None, http_status))
        except RecordingError:
            _log.failure("the end of interception {id} was not recorded", id=str(self.ledger.interception.id))
        self._tell(error)

    def _tell(self, error: GatewayError | None) -> None:
        """Says it in the API's own form, where the client can still be told anything."""
        if error is not None and not self.reply.begun:
            self.reply.refuse(error, self.error_body(error))
        elif error is not None and self._tap is not None and self._tap.between_frames:
            self.reply.cut(self.format.error_frame(error))
        else:
            self.reply.cut(b"")

"""One round: a request to the provider, and its answer on the way to the client."""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.web.client import GzipDecoder
from twisted.web.iweb import IResponse

from .client.crossing import content_type
from .errors import GatewayError, UpstreamBroke, UpstreamFailed, UpstreamTimeout
from .http.deadlines import Deadlines
from .interception_metrics import InterceptionMetrics
from .interfaces import Ending, IRelay, IReply, IUpstream
from .upstream.relay import Unwanted
from .wire.formats import Answer, AnswerReader
from .wire.tap import StreamTap, Tap, tap_for

_CHECKPOINT_AFTER = 2.0


@define(eq=False, kw_only=True)
class Round:
    """What one request to the provider brings. Most exchanges have one; each run of the gateway's tools adds one."""

    upstream: IUpstream
    reply: IReply
    tally: InterceptionMetrics
    watchdog: Deadlines
    reader: AnswerReader
    streaming: bool
    """Whether the client asked for a stream."""
    reads_on: bool
    """Whether the answer is read to its end for its figures although its client has left."""
    on_checkpoint: Callable[["Round"], None]
    """Told once of an answer that is still under way after two seconds."""
    left_early: bool = field(default=False, init=False)
    """Whether the client left before it had all of the answer's text."""
    code: int = field(default=0, init=False)
    """The provider's status; 0 until it is known."""
    succeeded: bool = field(default=False, init=False)
    """Whether the provider let the model answer, by its status."""
    answer: Answer = field(init=False)
    """What has been read so far."""
    _response: IResponse | None = field(default=None, init=False)
    _tap: Tap | None = field(default=None, init=False)
    _relay: IRelay | None = field(default=None, init=False)

    @answer.default
    def _answer_of_reader(self) -> Answer:
        return self.reader.answer

    @property
    def between_frames(self) -> bool:
        """Whether an event of the gateway's own could go out now: before a later round answers it always can."""
        return self._tap is None or self._tap.between_frames

    async def ask(self, call: Any) -> None:
        """Sends the `UpstreamCall`, and waits for the head of its answer."""
        if self.reply.gone:
            raise CancelledError
        asking = self.upstream.ask(call)
        self.reply.when_left(asking.cancel)
        self.tally.asked()
        try:
            self._response = _unpacked(await asking)
            self.code = self._response.code
            self.succeeded = self.code < 400
        except GatewayError:
            if self.reply.gone:
                raise CancelledError from None  # agents differ in what they make of being cancelled
            raise
        finally:
            self.tally.answered()
        self.tally.began_to_answer()

    def check(self) -> None:
        """What the client has begun to get as a stream can only go on as one."""
        response = self._response
        if response is None or not self.reply.begun:
            return
        if not (self.succeeded and isinstance(self._listen(response), StreamTap)):
            response.deliverBody(Unwanted())
            raise UpstreamFailed(f"{self.upstream.name} answered {self.code} in the midst of the answer.")

    async def hand_over(self) -> None:
        """Brings the answer to the client, all but its last piece. An error where it did not come whole."""
        relay = self._connect()
        ending = await self._end_of(relay)
        self.tally.answered()
        if not (ending is Ending.WHOLE or (ending is Ending.UNBOUNDED and self._said_its_end)):
            raise self._problem(ending)

    def _connect(self) -> IRelay:
        """Lets the answer flow. Its head is not kept: a stream may go on for long."""
        response, self._response = self._response, None
        assert response is not None
        self._tap = tap = self._listen(response)
        self._relay = relay = self.upstream.relay(tap, self.reply, self._reads_on)
        if not self.reply.begun:
            self._open(response)
        self.reply.send_from(relay)
        response.deliverBody(relay)
        return relay

    def release(self) -> None:
        """All is recorded: the last piece goes out, and what follows it; the provider's connection is free again."""
        assert self._relay is not None and self._tap is not None
        if self._tap.rewritten_length is not None:
            self.reply.set_header(b"Content-Length", b"%d" % self._tap.rewritten_length)
        self._relay.release()

    async def drain(self) -> None:
        """Waits until nothing more will come of this answer."""
        assert self._relay is not None
        if not self._relay.is_drained:
            await self._relay.drained

    def forget(self) -> None:
        """It is over: breaks the circle of answer, relay and round."""
        self._relay = self._tap = self._response = None

    def _listen(self, response: IResponse) -> Tap:
        return tap_for(content_type(response.headers), self.streaming and self.succeeded, self.reader)

    def _open(self, response: IResponse) -> None:
        stream = isinstance(self._tap, StreamTap)
        if stream:
            response.headers.removeHeader(b"content-length")  # a frame may be dropped, or one of the gateway's added
        self.reply.head(response.code, response.phrase, response.headers)
        if stream:
            self.reply.write(b"")

    def _reads_on(self) -> bool:
        """Where only figures are missing, an answer is always read to its end."""
        self.left_early = not self.answer.ending
        return self.answer.ending or self.reads_on

    async def _end_of(self, relay: IRelay) -> Ending:
        if relay.ended.called:
            return await relay.ended  # type: ignore[no-any-return]
        checkpoint = self.watchdog.start(_CHECKPOINT_AFTER, lambda: self.on_checkpoint(self))
        try:
            return await relay.ended  # type: ignore[no-any-return]
        finally:
            self.watchdog.cancel(checkpoint)

    @property
    def _said_its_end(self) -> bool:
        """Whether what was read shows that nothing is missing; of an error's body nobody can tell."""
        answer = self.answer
        return not self.succeeded or answer.finished or answer.ending or answer.deferred or answer.error is not None

    def _problem(self, ending: Ending) -> Exception:
        name = self.upstream.name
        if ending in (Ending.BROKEN, Ending.UNBOUNDED):
            return UpstreamBroke(f"{name} broke off its answer.")
        if ending is Ending.TIMED_OUT:
            return UpstreamTimeout(f"{name} said nothing more for {self.upstream.idle_timeout:g} seconds.")
        return CancelledError()


def _unpacked(response: IResponse) -> IResponse:
    """The answer without a coding that nobody asked for: what can't be read can't be recorded."""
    codings = response.headers.getRawHeaders(b"content-encoding")
    if not codings or [coding.strip().lower() for coding in codings] not in ([b"gzip"], [b"x-gzip"]):
        return response
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"content-length")
    return GzipDecoder(response)

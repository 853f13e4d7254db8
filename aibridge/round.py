"""A round: a request to the provider, and its answer on the way to the client."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from .client.crossing import content_type
from .errors import ClientLeft, GatewayError, UpstreamBroke, UpstreamFailed, UpstreamTimeout
from .http.deadlines import Deadlines
from .http.decoding import decoded
from .interfaces import IExchange, IRelay, IUpstream
from .upstream.call import Ending, UpstreamCall
from .upstream.refusals import PeekedResponse
from .wire.formats import Answer, AnswerReader
from .wire.provider_errors import ErrorTap
from .wire.sniffing import SniffedTap
from .wire.tap import MAX_KEPT, BodyTap, StreamTap, Tap, says_stream

if TYPE_CHECKING:
    from .interception_metrics import InterceptionMetrics
    from .upstream.circuit_breaker import Passage

_CHECKPOINT_AFTER = 2.0


@define(eq=False, kw_only=True)
class Round:
    """A request to the provider, and its answer. Most exchanges have one round; each run of injected tools adds one."""

    exchange: IExchange
    upstream: IUpstream
    passage: "Passage | None"
    """The circuit breaker's, if the provider has one."""
    metrics: "InterceptionMetrics"
    deadlines: Deadlines
    reader: AnswerReader
    answer: Answer
    """The answer as far as the reader has read it."""
    streaming: bool
    """True if the client asked for a stream."""
    drains: bool
    """True if the answer is read to its end for its figures although its client has left."""
    on_checkpoint: Callable[["Round"], None]
    """Called once, with this round, if its answer is still under way after two seconds."""
    left_early: bool = field(default=False, init=False)
    """True if the client left before it had all of the answer's text."""
    code: int = field(default=0, init=False)
    """The provider's status; 0 until it is known."""
    succeeded: bool = field(default=False, init=False)
    """True if the provider let the model answer, by its status."""
    _unreadable: str | None = field(default=None, init=False)
    """Why the answer can't be read, if it has a content coding that can't be unpacked."""
    _response: IResponse | None = field(default=None, init=False)
    _tap: Tap | None = field(default=None, init=False)
    _relay: IRelay | None = field(default=None, init=False)

    @property
    def between_frames(self) -> bool:
        """True if an event of the gateway's own could go out now: before a later round of a stream it always can."""
        return bool(self.exchange.is_stream) if self._tap is None else self._tap.between_frames

    async def send(self, call: UpstreamCall) -> None:
        """Send the request, and wait for the head of its answer."""
        self.metrics.request_sent()
        try:
            response = await self.upstream.request(call, self.exchange)
        except (UpstreamFailed, UpstreamTimeout):
            if self.passage is not None:
                self.passage.failed()
            raise
        finally:
            self.metrics.received()
        if response.length is UNKNOWN_LENGTH:
            response.headers.removeHeader(b"content-length")  # a host's client has unpacked the body
        if response.headers.hasHeader(b"content-encoding"):
            response = self._decode(response)
        self._response = response
        self.code = response.code
        self.succeeded = response.code < 300
        if self.passage is not None:
            self.passage.responded(response.code)
        self.metrics.response_began()

    async def read_refusal(self) -> bytes:
        """Return the beginning of an error's body. The body can be relayed all the same, or be discarded."""
        assert self._response is not None
        self._response = response = PeekedResponse(self._response)
        try:
            return await response.read_beginning(self.exchange, self.deadlines)
        finally:
            self.metrics.received()

    def discard(self) -> None:
        """End the response: another one is asked for in its place."""
        response, self._response = self._response, None
        if isinstance(response, PeekedResponse):
            response.discard()

    async def relay(self) -> None:
        """Bring the answer to the client, all but its last piece. Raises if the answer did not come whole."""
        relay = self._connect()
        ended = relay.ended
        checkpoint = None if ended.called else self.deadlines.start(_CHECKPOINT_AFTER, self._checkpoint)
        try:
            ending = await self.exchange.wait(ended)
        except UpstreamTimeout:
            if self.succeeded and self.passage is not None:
                self.passage.failed()
            raise
        finally:
            self.metrics.received()
            if checkpoint is not None:
                self.deadlines.cancel(checkpoint)
        if self.exchange.reason is not None:
            raise self.exchange.reason
        if self.succeeded and self.passage is not None:
            self.passage.ended(ending, self.answer)
        # After an error that the provider sent, it does not matter how the rest of the answer ended.
        is_end = ending is Ending.WHOLE or (ending is Ending.UNBOUNDED and self._is_complete)
        if not is_end and (self.answer.error is None or not self.succeeded):
            raise UpstreamBroke(f"{self.upstream.name} broke off its answer.")
        self.answer.error = self.answer.error or self._unreadable

    def _connect(self) -> IRelay:
        """Let the answer flow. Its head is not kept: a stream may go on for long."""
        response, self._response = self._response, None
        assert response is not None
        self._tap = tap = self._listen(response)
        self._relay = self.exchange.relay = relay = self.upstream.relay(tap, self.exchange, self._reads_on)
        if isinstance(tap, SniffedTap):
            tap.on_choice = relay.use_tap
        self.exchange.reply.set_producer(relay)
        response.deliverBody(relay)
        return relay

    def _listen(self, response: IResponse) -> Tap:
        """Return the tap on the answer. The head of a stream goes to the client at once."""
        exchange = self.exchange
        if exchange.reply.begun and not (self.succeeded and self._unreadable is None):
            return ErrorTap(self.upstream.name, self.code, self.answer, bool(exchange.is_stream))
        if self.upstream.tap is not None:  # a WebSocket's
            exchange.reply.set_head(response.code, response.phrase, response.headers)
            return self.upstream.tap(self.reader)
        if self._unreadable is not None:
            exchange.reply.set_head(response.code, response.phrase, response.headers)
            return BodyTap(self.reader, 0)
        told = says_stream(content_type(response.headers), self.streaming and self.succeeded)
        if told and not exchange.reply.begun:
            self._set_head(response, is_stream=True)
        return SniffedTap(
            self.answer,
            partial(self._choose_tap, response, told),
            between_frames=exchange.is_stream is not False,
        )

    def _choose_tap(self, response: IResponse, told: bool, sniffed: bool | None) -> Tap:
        """Return the tap for a stream or for a body: as its first byte tells (`sniffed`), or else its Content-Type.

        What began as a stream can only go on as one.
        """
        exchange, is_stream = self.exchange, told if sniffed is None else sniffed
        if self.succeeded and exchange.is_stream not in (None, is_stream):
            return ErrorTap(self.upstream.name, self.code, self.answer, exchange.is_stream is True)
        exchange.is_stream = is_stream
        if not exchange.reply.begun:
            self._set_head(response, is_stream)
        if is_stream:
            return StreamTap(self.reader, MAX_KEPT)
        tap = BodyTap(self.reader, MAX_KEPT)
        # Behind blanks the status can't be changed any more, and a length that was told can't be either.
        tap.passes_blanks = self.succeeded and not self.streaming and response.length is UNKNOWN_LENGTH
        return tap

    def _set_head(self, response: IResponse, is_stream: bool) -> None:
        reply = self.exchange.reply
        if is_stream:
            response.headers.removeHeader(b"content-length")  # frames may be dropped or added
        reply.set_head(response.code, response.phrase, response.headers)
        if is_stream:
            reply.write(b"")

    def _decode(self, response: IResponse) -> IResponse:
        """Return the response without content codings. What can't be unpacked passes as it is, and the row says so."""
        unpacked = decoded(response)
        if unpacked is not None:
            return unpacked
        codings = b", ".join(response.headers.getRawHeaders(b"content-encoding", ())).decode("latin-1")
        self._unreadable = f"the answer can't be read: its content coding is {codings[:64]!r}"
        return response

    def _checkpoint(self) -> None:
        if self.passage is not None and self.succeeded:
            self.passage.under_way(self.answer)
        self.on_checkpoint(self)

    def _reads_on(self) -> bool:
        """Called as the client leaves. An answer of which only figures are missing is always read to its end."""
        self.left_early = not self.answer.ending
        return self.answer.ending or self.drains

    @property
    def _is_complete(self) -> bool:
        """True if the answer itself says that nothing is missing, or can't say so: errors and what can't be read."""
        answer = self.answer
        return (
            not self.succeeded
            or self._unreadable is not None
            or answer.finished
            or answer.ending
            or answer.deferred
            or answer.error is not None
        )

    def release(self) -> None:
        """Send the last piece and what follows it, now that all is recorded."""
        assert self._relay is not None and self._tap is not None
        if self._tap.rewritten_length is not None and not self.exchange.reply.begun:
            self.exchange.reply.set_header(b"Content-Length", b"%d" % self._tap.rewritten_length)
        self._relay.release()

    async def drain(self) -> None:
        """Wait until nothing more comes of this answer. All of it is recorded, so that nothing can fail any more."""
        assert self._relay is not None
        if not self._relay.is_drained:
            with suppress(ClientLeft, GatewayError):
                await self.exchange.wait(self._relay.drained)

    def forget(self) -> None:
        """Break the circle of exchange, relay and round once the round is over."""
        self.exchange.relay = None
        if isinstance(self._tap, SniffedTap) and self._tap.on_choice is not None:
            self._tap.forget()
        self._relay = self._tap = self._response = None

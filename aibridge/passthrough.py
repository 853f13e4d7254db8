"""Requests that go to the provider and back as they are. Nothing of them is read, but for answers fetched later."""

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.web.iweb import IResponse

from .client.crossing import add_forwarded, content_type, to_provider
from .client.reply import Reply
from .client.request import ClientRequest
from .errors import RecordingError
from .interfaces import Ending, IAnswerIndex, IRecorder
from .metrics import Metrics
from .providers.base import DRAIN, Provider
from .record.batches import batch_writer
from .record.ledger import Ledger, RoundResult
from .upstream.client import Upstream, UpstreamCall
from .wire.formats import Answer, WireFormat
from .wire.tap import BareTap, BodyTap, Tap, tap_for

_log = Logger()


async def record_fetched_response(recorder: IRecorder, wire_format: WireFormat, answer: Answer) -> None:
    """Adds to its interception what a fetched answer says. A recorder that can't be asked is told nothing."""
    index: Any = IAnswerIndex(recorder, None)
    if index is None or not (answer.finished and answer.response_id):
        return
    found = await index.find_open_answer(answer.response_id)
    if found is None:
        return
    ledger = Ledger(batch_writer(recorder), found.interception_id, None, usage_id=found.usage_id)
    try:
        await ledger.answered(RoundResult(answer, wire_format.count_tokens(answer.usage)))
    except RecordingError:
        _log.failure("the answer {id}, fetched later, was not recorded", id=answer.response_id)


_READ_TYPES = (b"application/json", b"text/event-stream")


async def pass_through(
    ask: ClientRequest, reply: Reply, provider: Provider, upstream: Upstream, recorder: IRecorder, metrics: Metrics
) -> None:
    """Answers with what the provider answers. A GatewayError where it didn't begin to."""
    fetched = ask.route.fetched if ask.method == b"GET" else None
    call = _call(ask, provider, uncoded=fetched is not None)
    method = metrics.method(ask.method.decode("ascii", "replace"))
    metrics.passthrough.labels(provider.name, ask.route.path, method).inc()
    asking = upstream.ask(call)
    reply.when_left(asking.cancel)
    try:
        response = await asking
    except CancelledError:
        return
    tap = _listen(response, fetched)
    relay = upstream.relay(tap, reply, lambda: provider.on_disconnect == DRAIN)
    reply.head(response.code, response.phrase, response.headers)
    if not isinstance(tap, BodyTap):
        reply.write(b"")
    reply.send_from(relay)
    response.deliverBody(relay)
    if await relay.ended in (Ending.WHOLE, Ending.UNBOUNDED):
        if fetched is not None:
            await record_fetched_response(recorder, fetched, tap.answer)
        relay.release()
        await relay.drained
        reply.finish()
    else:
        reply.cut()


def _listen(response: IResponse, fetched: WireFormat | None) -> Tap:
    media_type = content_type(response.headers)
    if fetched is None or response.code >= 400 or not media_type.startswith(_READ_TYPES):
        return BareTap()
    return tap_for(media_type, False, fetched.reader({}))


def _call(ask: ClientRequest, provider: Provider, uncoded: bool) -> UpstreamCall:
    body = ask.read_body()
    credential = provider.credential(ask.headers)
    headers = to_provider(ask.headers, uncoded=uncoded)
    add_forwarded(headers, ask.request)
    provider.complete(headers, credential, ask.actor)
    return UpstreamCall(ask.method, provider.url(ask.path.raw, ask.path.query), headers, body)

"""Requests that go to the provider and back as they are. Nothing of them is read, but for responses fetched later."""

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from .client.crossing import add_forwarded, content_type, to_provider
from .costs.calculator import Prices, Pricing
from .errors import RecordingError
from .http.decoding import decoded
from .interfaces import DRAIN, IAnswerIndex, IExchange, IProvider, IRecorder, IUpstream
from .record.batches import batch_writer
from .record.ledger import Ledger, RoundResult
from .record.values import utc_now
from .upstream.call import Ending, UpstreamCall
from .wire.formats import Answer, WireFormat
from .wire.tap import BareTap, BodyTap, Tap, tap_for

if TYPE_CHECKING:
    from .client.request import ClientRequest

_log = Logger()
_READ_TYPES = (b"application/json", b"text/event-stream")


async def pass_through(
    request: "ClientRequest",
    exchange: IExchange,
    provider: IProvider,
    upstream: IUpstream,
    recorder: IRecorder,
    prices: Prices | None = None,
) -> None:
    """Respond with what the provider responds. Raises a `GatewayError` if the provider did not begin to.

    A fetched response is charged as its exchange was; its price is the present one.
    """
    fetched = request.route.fetched if request.request.method == b"GET" else None
    response = await upstream.request(_call(request, provider, readable=fetched is not None), exchange)
    response, tap = _listen(response, fetched)
    reply = exchange.reply
    reply.set_head(response.code, response.phrase, response.headers)
    if isinstance(tap, BodyTap):
        tap.passes_blanks = response.length is UNKNOWN_LENGTH
    else:
        reply.write(b"")
    exchange.relay = relay = upstream.relay(tap, exchange, lambda: provider.on_disconnect == DRAIN)
    reply.set_producer(relay)
    response.deliverBody(relay)
    ending = await exchange.wait(relay.ended)
    exchange.raise_if_cancelled()
    if ending is Ending.BROKEN:
        reply.abort()
        return
    if fetched is not None:
        pricing = None
        if prices is not None:
            subscribed = provider.credential(request.headers).is_subscription
            pricing = Pricing(prices, provider.name, "", utc_now(), subscribed)
        await record_fetched_response(recorder, fetched, tap.answer, pricing)
    relay.release()
    await exchange.wait(relay.drained)
    reply.finish()


def _listen(response: IResponse, fetched: WireFormat | None) -> tuple[IResponse, Tap]:
    """Return the tap on a response, and the response as the tap can read it. What is not read passes as it came."""
    media_type = content_type(response.headers)
    if fetched is None or response.code >= 400 or not media_type.startswith(_READ_TYPES):
        return response, BareTap()
    readable = decoded(response)
    if readable is None:
        return response, BareTap()
    return readable, tap_for(media_type, False, fetched.reader({}))


def _call(request: "ClientRequest", provider: IProvider, readable: bool) -> UpstreamCall:
    body = request.read_body()
    credential = provider.credential(request.headers)
    headers = to_provider(request.headers, readable=readable)
    add_forwarded(headers, request.request)
    provider.add_headers(headers, credential, request.actor)
    return UpstreamCall(request.request.method, provider.url(request.path.raw, request.path.query), headers, body)


async def record_fetched_response(
    recorder: IRecorder, wire_format: WireFormat, answer: Answer, pricing: Pricing | None = None
) -> None:
    """Add the figures of a response that is fetched after its exchange to the rows of that exchange.

    A response may end after its exchange: in the background, or because its stream broke off. Only a recorder that
    provides `IAnswerIndex` can be asked for the rows.
    """
    index: Any = IAnswerIndex(recorder, None)
    if index is None or not (answer.finished and answer.response_id):
        return
    found = await index.find_open_answer(answer.response_id)
    if found is None:
        return
    ledger = Ledger(batch_writer(recorder), found.interception_id, None, usage_id=found.usage_id)
    tokens = wire_format.count_tokens({**answer.counters, **answer.usage})
    bill = pricing.bill(answer, tokens) if pricing is not None else None
    try:
        await ledger.record_round(RoundResult(answer, tokens, bill=bill))
    except RecordingError:
        _log.failure("the fetched response {id} was not recorded", id=answer.response_id)

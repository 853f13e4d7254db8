"""Requests that go to the provider and back as they are. Nothing of them is read, but for responses fetched later."""

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.logger import Logger
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from .access import Grant, named_ids
from .client.crossing import add_forwarded, content_type, to_provider
from .client.routes import find_route
from .costs.calculator import Pricing
from .errors import RecordingError, RecordingImpossible
from .http.decoding import decoded
from .identity.credentials import PROVIDER_HEADERS
from .interfaces import DRAIN, IAnswerIndex, IExchange, IRecorder, IRelay
from .record.batches import batch_writer
from .record.ledger import Ledger, RoundResult
from .record.records import CENTRALIZED, Owner
from .record.values import utc_now
from .stored_objects import ObjectReader, StoragePath, StoredObjects
from .upstream.call import Ending, UpstreamCall
from .wire.formats import Answer, AnswerReader, WireFormat
from .wire.tap import BareTap, BodyTap, Tap, tap_for

if TYPE_CHECKING:
    from .client.request import ClientRequest
    from .failover import Failover
    from .interceptor import Interceptor

_log = Logger()
_READ_TYPES = (b"application/json", b"text/event-stream")


async def pass_through(
    request: "ClientRequest", exchange: IExchange, interceptor: "Interceptor", recorder: IRecorder
) -> None:
    """Respond with what the provider responds. Raises a `GatewayError` if the provider did not begin to.

    The interceptor is that of the request's provider.
    """
    if interceptor.failover is not None:
        request, interceptor = await _find_keeper(interceptor.failover, request, interceptor)
    grant = Grant(interceptor.provider.credential(request.headers))
    if interceptor.adapter is not None:
        grant = Grant(await interceptor.adapter.find_credential(grant.credential, exchange))
    objects = None
    if interceptor.access is not None:
        grant = await interceptor.access.to_path(request, grant.credential)
        objects = interceptor.access.objects
    reads = _Reads.of(request, objects if grant.credential.kind == CENTRALIZED else None)
    is_adapted = interceptor.adapter is not None and request.route.adapted is not None
    is_read = reads.reader is not None or is_adapted  # an error of an adapted request may be translated
    call = _call(request, interceptor, grant, readable=is_read)
    response = await interceptor.upstream.request(call, exchange)
    relay, answer = _begin_relay(response, reads.reader, exchange, interceptor)
    ending = await exchange.wait(relay.ended)
    exchange.raise_if_cancelled()
    if ending is Ending.BROKEN:
        exchange.reply.abort()
        return
    await _record(request, interceptor, recorder, reads, grant, answer)
    relay.release()
    await exchange.wait(relay.drained)
    exchange.reply.finish()


async def _find_keeper(
    failover: "Failover", request: "ClientRequest", interceptor: "Interceptor"
) -> tuple["ClientRequest", "Interceptor"]:
    """Return the interceptor of the provider that stores what a request is about, and the request as that gets it.

    It is another one than the request's if a fallback made the object in its place.
    """
    path, fields = StoragePath.read(request.path.decoded), request.headers
    if path is None or interceptor.provider.credential(fields).kind != CENTRALIZED:
        return request, interceptor
    keeper = await failover.keeper_of_objects(
        [path.object_id] if path.object_id else named_ids(request, path, has_uploads=False)
    )
    route = find_route(keeper.provider, request.request.method, request.path.decoded) if keeper is not None else None
    if keeper is None or route is None:
        return request, interceptor
    return evolve(request, route=route, headers=fields.filter(lambda name: name not in PROVIDER_HEADERS)), keeper


@frozen
class _Reads:
    """The parts of a passed request's response that are read and recorded."""

    fetched: WireFormat | None = None
    """The API of a response to a model that is fetched after its exchange."""
    objects: ObjectReader | None = None
    """The reader of the objects in the provider's storage that the request makes, or that its batch has made."""

    @classmethod
    def of(cls, request: "ClientRequest", objects: StoredObjects | None) -> "_Reads":
        """Return what is read of the response to a request. `objects` is the storage that is to be guarded."""
        method = request.request.method
        # Cancelling a response of the background is answered with the response, too, and it may be the last that is
        # heard of it.
        is_cancel = method == b"POST" and request.path.decoded.rstrip("/").endswith("/cancel")
        if request.route.fetched is not None and (method == b"GET" or is_cancel):
            return cls(fetched=request.route.fetched)
        path = StoragePath.read(request.path.decoded) if objects is not None else None
        if objects is None or path is None or path.is_action:
            return cls()
        if method == b"POST" and path.object_id is None:
            return cls(objects=ObjectReader(objects))
        if method == b"GET" and path.collection == "batches" and path.object_id is not None:
            return cls(objects=ObjectReader(objects, path.object_id))
        return cls()

    @property
    def reader(self) -> AnswerReader | None:
        """A reader of the response; None if nothing of it is read."""
        if self.fetched is not None:
            return self.fetched.reader({})
        return self.objects


def _begin_relay(
    response: IResponse, reader: AnswerReader | None, exchange: IExchange, interceptor: "Interceptor"
) -> tuple[IRelay, Answer]:
    """Send the head of a response, and let its body flow. Return its relay, and what is read of it."""
    response, tap = _listen(response, reader)
    reply, provider = exchange.reply, interceptor.provider
    reply.set_head(response.code, response.phrase, response.headers)
    if isinstance(tap, BodyTap):
        tap.passes_blanks = response.length is UNKNOWN_LENGTH
    else:
        reply.write(b"")
    exchange.relay = relay = interceptor.upstream.relay(tap, exchange, lambda: provider.on_disconnect == DRAIN)
    reply.set_producer(relay)
    response.deliverBody(relay)
    return relay, tap.answer


def _listen(response: IResponse, reader: AnswerReader | None) -> tuple[IResponse, Tap]:
    """Return the tap on a response, and the response as the tap can read it. What is not read passes as it came."""
    media_type = content_type(response.headers)
    if reader is None or response.code >= 400 or not media_type.startswith(_READ_TYPES):
        return response, BareTap()
    readable = decoded(response)
    if readable is None:
        return response, BareTap()
    return readable, tap_for(media_type, False, reader)


def _call(request: "ClientRequest", interceptor: "Interceptor", grant: Grant, readable: bool) -> UpstreamCall:
    provider, adapter = interceptor.provider, interceptor.adapter
    headers = to_provider(request.headers, readable=readable)
    add_forwarded(headers, request.request)
    adaptation = None
    if adapter is not None and request.route.adapted is not None:
        asked = request.parse(request.route.adapted).body
        target = (request.route.path, request.path.query)
        adaptation = adapter.adapt(target, asked, headers, grant.credential, interceptor.refusals.known(asked.model))
        headers.removeHeader(b"content-encoding")
        url, body = adaptation.url, adaptation.edit(asked.decoded)
    else:
        url, body = provider.url(request.path.raw, request.path.query), request.read_body()
        adaptation = adapter.authorized(url, grant.credential) if adapter is not None else None
    provider.add_headers(headers, grant.credential, request.actor)
    call = UpstreamCall(request.request.method, url, headers, body, adaptation=adaptation)
    grant.apply(call)
    return call


async def _record(
    request: "ClientRequest",
    interceptor: "Interceptor",
    recorder: IRecorder,
    reads: _Reads,
    grant: Grant,
    answer: Answer,
) -> None:
    """Record what was read of a response. A fetched one is charged as its exchange was."""
    if reads.fetched is not None:
        pricing = None
        if interceptor.prices is not None:
            subscribed = grant.credential.is_subscription
            pricing = Pricing(interceptor.prices, interceptor.provider.name, "", utc_now(), subscribed)
        await record_fetched_response(recorder, reads.fetched, answer, pricing)
    elif reads.objects is not None:
        try:
            await reads.objects.record(Owner(request.actor.id, grant.credential.hint))
        except RecordingError as error:
            raise RecordingImpossible("The gateway could not record whose object this is.") from error


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
    if pricing is not None and found.started_at is not None:
        pricing = evolve(pricing, started_at=found.started_at)
    bill = pricing.bill(answer, tokens) if pricing is not None else None
    try:
        await ledger.record_round(RoundResult(answer, tokens, bill=bill))
    except RecordingError:
        _log.failure("the fetched response {id} was not recorded", id=answer.response_id)

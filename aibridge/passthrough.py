"""Requests that go to the provider and back as they are. Nothing of them is read, but for answers fetched later."""

from twisted.internet.defer import CancelledError
from twisted.web.iweb import IResponse

from .interfaces import Ending, IRecorder
from .late import record_late
from .metrics import Metrics
from .providers.base import DRAIN, Provider
from .upstream.client import Upstream, UpstreamCall
from .upstream.headers import add_forwarded, content_type, to_provider
from .web.ask import Ask
from .web.reply import Reply
from .wire.formats import WireFormat
from .wire.tap import BareTap, BodyTap, Tap, tap_for

_READ_TYPES = (b"application/json", b"text/event-stream")


async def pass_through(
    ask: Ask, reply: Reply, provider: Provider, upstream: Upstream, recorder: IRecorder, metrics: Metrics
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
            await record_late(recorder, fetched, tap.answer)
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


def _call(ask: Ask, provider: Provider, uncoded: bool) -> UpstreamCall:
    body = ask.read_body()
    credential = provider.credential(ask.headers)
    headers = to_provider(ask.headers, uncoded=uncoded)
    add_forwarded(headers, ask.request)
    provider.complete(headers, credential, ask.actor)
    return UpstreamCall(ask.method, provider.url(ask.path.raw, ask.path.query), headers, body)

"""Requests that go to the provider and back as they are: nothing of them is read or recorded."""

from twisted.internet.defer import CancelledError, Deferred

from .interfaces import Ending
from .metrics import Metrics
from .providers.base import DRAIN, Provider
from .upstream.client import Upstream, UpstreamCall
from .upstream.headers import add_forwarded, to_provider
from .web.ask import Ask
from .web.reply import Reply
from .wire.tap import BareTap


async def pass_through(ask: Ask, reply: Reply, provider: Provider, upstream: Upstream, metrics: Metrics) -> None:
    """Answers with what the provider answers. A GatewayError where it didn't begin to."""
    call = _call(ask, provider)
    method = metrics.method(ask.method.decode("ascii", "replace"))
    metrics.passthrough.labels(provider.name, ask.route.path, method).inc()
    asking = Deferred.fromCoroutine(upstream.ask(call))
    reply.when_left(asking.cancel)
    try:
        response = await asking
    except CancelledError:
        return
    relay = upstream.relay(BareTap(), reply, lambda: provider.on_disconnect == DRAIN)
    reply.head(response.code, response.phrase, response.headers)
    reply.write(b"")
    reply.send_from(relay)
    response.deliverBody(relay)
    if await relay.ended is Ending.WHOLE:
        reply.finish()
    else:
        reply.cut()


def _call(ask: Ask, provider: Provider) -> UpstreamCall:
    body = ask.read_body()
    credential = provider.credential(ask.headers)
    headers = to_provider(ask.headers)
    add_forwarded(headers, ask.request)
    provider.complete(headers, credential, ask.actor)
    return UpstreamCall(ask.method, provider.url(ask.path.raw, ask.path.query), headers, body)

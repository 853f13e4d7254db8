"""Requests to a provider with a pool of keys: a request whose key is refused goes on with the next one."""

from typing import cast

from attrs import define
from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

from ..http.deadlines import Deadlines
from ..interfaces import IExchange, IUpstream
from .call import UpstreamCall
from .key_pool import COOLING, KeyPool, PooledKey, Refusal
from .refusals import PeekedResponse
from .wrapped import WrappedUpstream


@implementer(IUpstream)
@define(eq=False)
class PooledUpstream(WrappedUpstream):
    """A provider's HTTP side, with the keys that its requests may use."""

    pool: KeyPool
    deadlines: Deadlines

    async def request(self, call: UpstreamCall, exchange: IExchange) -> IResponse:
        """Send a request and wait for the head of the response, as `IUpstream` says.

        Without a byte of a model's answer, a request whose key is refused goes on with the next warm key, unless it
        is pinned. While no key is warm, the provider is left alone, and the response is its last 429.
        """
        key = self.pool.find(call.credential)
        if key is None:
            return await self.upstream.request(call, exchange)
        while True:
            key = self._warm_key(key, call)
            if not self.pool.is_warm(key):
                return self._repeat_refusal(key, call.pinned)
            response = await self.upstream.request(call, exchange)
            if response.code not in COOLING:
                if response.code < 300:
                    self.pool.served(key)
                return response
            refused = PeekedResponse(response)
            self.pool.cool(key, response, await refused.read_beginning(exchange, self.deadlines))
            if call.pinned or not self.pool.any_warm:
                refused.headers.setRawHeaders(b"retry-after", [b"%d" % self.pool.wait(key, call.pinned)[1]])
                return refused
            refused.discard()

    def _warm_key(self, key: PooledKey, call: UpstreamCall) -> PooledKey:
        """Return the request's key, or in place of a cold one the conversation's next key, which the request has then.

        If no other key may be used, or none is warm, the key that is returned is cold.
        """
        if call.pinned or call.conversation is None or self.pool.is_warm(key):
            return key
        following = self.pool.choose(call.conversation)
        call.credential = following.credential
        for name, value in following.credential.headers:
            call.headers.setRawHeaders(name, [value])
        return following

    def _repeat_refusal(self, key: PooledKey, pinned: bool) -> IResponse:
        refusal, seconds = self.pool.wait(key, pinned)
        response = RepeatedResponse(refusal)
        response.headers.setRawHeaders(b"retry-after", [b"%d" % seconds])
        return response


@implementer(IResponse)
class RepeatedResponse:
    """A provider's refusal that is given once more, without asking the provider."""

    version = (b"HTTP", 1, 1)
    request = None
    previousResponse = None

    def __init__(self, refusal: Refusal) -> None:
        self.code, self.phrase = refusal.code, refusal.phrase
        self.headers: Headers = refusal.headers.copy()
        self.headers.removeHeader(b"content-length")  # only the beginning of a long body is kept
        self.length = len(refusal.body)
        self._body = refusal.body

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body at once."""
        protocol.makeConnection(cast(ITransport, _Nothing()))
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))

    def setPreviousResponse(self, response: IResponse) -> None:
        """A repeated response has no history."""


@implementer(IPushProducer)
class _Nothing:
    """The transport of a body that is all there."""

    def pauseProducing(self) -> None:
        """Do nothing: no more data comes."""

    resumeProducing = stopProducing = loseConnection = pauseProducing

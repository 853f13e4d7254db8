"""The exchanges on one WebSocket: a request of the client's begins one, and so does an answer that nobody asked for."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request

from ..caches import LRUCache
from ..client.request import ModelRequest
from ..errors import ClientLeft, ConnectionOver, GatewayError
from ..failover import Failover
from ..http.deadlines import Deadlines
from ..in_flight import Exchange, InFlight
from ..interceptor import Interceptor
from ..interfaces import Actor, IExchange
from ..wire import jsontext
from ..wire.history import NO_INPUTS, Inputs
from ..wire.jsontext import JsonObject, nonempty_str
from ..wire.responses.history import answer_inputs
from ..wire.responses.reader import RESPONSES_MESSAGES
from .lane_response import LaneResponse
from .lane_upstream import LaneUpstream
from .lanes import Answering, Lanes
from .message_reply import MessageReply, ReplyOwner
from .model_requests import Handshake, request_of_unknown, steered_request, warms_up
from .socket_key import SocketKey

_log = Logger()
_MOST_RESPONSES = 8


@frozen(eq=False, kw_only=True)
class Services:
    """The parts of the gateway that all sockets use."""

    deadlines: Deadlines
    in_flight: InFlight
    interceptor: Callable[[Interceptor], Interceptor]
    """Returns the present interceptor in the place of the one that a socket began with."""
    admit: Callable[[], None]
    """Raises a `GatewayError` while no request is accepted."""
    identify: Callable[[Request, IExchange], Awaitable[Actor]]
    """Returns the actor of a handshake."""
    check_limits: Callable[[Actor], None]
    """Raises `TooManyRequests` if a request of the actor would be over a limit."""
    limit: Callable[[Actor], AbstractContextManager[None]]
    """Returns the context of a request of the actor, or raises `TooManyRequests`."""
    refused: Callable[[Handshake, GatewayError], None]
    """Counts and logs a refused request."""


class ExchangesOwner(ReplyOwner, Protocol):
    """The socket of the exchanges."""

    def admit(self) -> None:
        """Raise a `GatewayError` if the socket takes no request any more."""

    def ended(self) -> None:
        """An exchange is over."""


class SocketExchanges:
    """Runs the interceptions of one socket; its lanes bring them the provider's messages."""

    def __init__(
        self, owner: ExchangesOwner, lanes: Lanes, handshake: Handshake, began_with: Interceptor, services: Services
    ) -> None:
        self.under_way: set[Answering] = set()
        self._owner = owner
        self._lanes = lanes
        self._handshake = handshake
        self._began_with = began_with
        self._services = services
        self._inputs: LRUCache[object, Inputs] = LRUCache(_MOST_RESPONSES)
        """The inputs of the model up to each of the latest responses for which the gateway offered tools."""
        self._responses: tuple[str, ...] = ()
        """The ids of the latest responses on a fallback's socket."""

    def create(self, message: bytes, document: JsonObject) -> "Deferred[None]":
        """Serve a request. Fires as soon as its message is sent, or is refused: then the next one may come."""
        taken: Deferred[None] = Deferred()
        stream_id = nonempty_str(document.get("stream_id"))
        answering = self._begin(stream_id, message)

        def ask(body: bytes) -> LaneResponse:
            if answering.response is None:
                self._lanes.add(stream_id, answering)
            response = self._lanes.ask(stream_id, answering, body)
            if not taken.called:
                taken.callback(None)
            return response

        served = Deferred.fromCoroutine(self._serve(stream_id, answering, document, ask, is_asked=True))
        served.addBoth(lambda _: None if taken.called else taken.callback(None))
        return taken

    def succeed(self, stream_id: str | None, event: JsonObject, response_id: str) -> None:
        """Serve an answer that nobody asked for. Its request is the one before, steered by what the client sent."""
        lane = self._lanes.lane(stream_id)
        if lane is not None and lane.ended is not None:
            message = steered_request(lane.ended.create, lane.steered, lane.ended.response_id)
        else:
            message = request_of_unknown(event, stream_id)
        answering = self._begin(stream_id, message)
        answering.response_id = response_id
        self._lanes.add(stream_id, answering)

        def ask(body: bytes) -> LaneResponse:
            is_first = answering.response is None
            return self._lanes.ask(stream_id, answering, b"" if is_first else body)

        document = jsontext.load_object(message) or {}
        Deferred.fromCoroutine(self._serve(stream_id, answering, document, ask, is_asked=False))

    def _begin(self, stream_id: str | None, message: bytes) -> Answering:
        reply = MessageReply(self._owner, stream_id)
        exchange = Exchange(reply)
        exchange.actor = self._handshake.request.actor
        exchange.is_stream = True
        self._services.in_flight.add(exchange)
        answering = Answering(exchange, reply, message)
        self.under_way.add(answering)
        return answering

    async def _serve(
        self,
        stream_id: str | None,
        answering: Answering,
        document: JsonObject,
        ask: Callable[[bytes], LaneResponse],
        is_asked: bool,
    ) -> None:
        """Serve one exchange. The client gets an error in its place, whatever fails."""
        exchange, reply, services = answering.exchange, answering.reply, self._services
        try:
            if is_asked:
                self._owner.admit()
                services.admit()
                with services.limit(self._handshake.request.actor):
                    await self._intercept(answering, document, ask)
            else:
                await self._intercept(answering, document, ask)
        except ClientLeft:
            pass
        except GatewayError as error:
            services.refused(self._handshake, error)
            reply.refuse(error)
        except Exception:
            _log.failure("a request on a WebSocket failed")
            reply.refuse(GatewayError("The gateway failed; its log says why."))
        finally:
            reply.finish()
            self.under_way.discard(answering)
            services.in_flight.discard(exchange)
            self._lanes.discard(stream_id, answering)
            self._owner.ended()

    async def _check_conversation(self, failover: Failover, parsed: ModelRequest) -> str:
        """Return the name of the provider in whose place the fallback on this socket serves a request.

        Raise `ConnectionOver` if the fallback does not have the request's conversation, which may not move to it.
        """
        request, fallback = self._handshake.request, self._began_with
        if parsed.body.document.get("previous_response_id") not in self._responses:
            if not failover.may_move(parsed):
                keeper = await failover.keeper(request, parsed)
                if keeper is None or keeper.provider.name != fallback.provider.name:
                    raise ConnectionOver(
                        f"{fallback.provider.name} took this connection over, and does not know the conversation. "
                        "Open another connection."
                    )
            failover.remember(request, parsed, fallback)
        return failover.primary.provider.name

    def _interceptor(self, ask: Callable[[bytes], LaneResponse]) -> Interceptor:
        """Return the present interceptor, with the socket in the place of the provider's HTTP side."""
        interceptor, credential = self._services.interceptor(self._began_with), self._handshake.credential
        access = interceptor.access
        upstream = LaneUpstream(
            http=interceptor.upstream,
            deadlines=self._services.deadlines,
            first_byte_timeout=interceptor.provider.first_byte_timeout,
            ask=ask,
            key=SocketKey.find(access.pool, credential) if access is not None else None,
        )
        access = access and evolve(access, chosen=credential)
        return evolve(interceptor, upstream=interceptor.observe(upstream), access=access, failover=None)

    async def _intercept(
        self, answering: Answering, document: JsonObject, ask: Callable[[bytes], LaneResponse]
    ) -> None:
        """Run the interception of a request, and remember what later requests may go on from."""
        handshake, interceptor = self._handshake, self._interceptor(ask)
        parsed, moved_from = handshake.read(answering.create, document), None
        if handshake.failover is not None:
            moved_from = await self._check_conversation(handshake.failover, parsed)
        parsed.body.follows = begun = self._inputs.get(document.get("previous_response_id")) or NO_INPUTS
        interception = await interceptor.prepare(
            handshake.request, parsed, RESPONSES_MESSAGES, answering.exchange, moved_from
        )
        del parsed
        await interception.run()
        response_id = interception.conversation.dialogue.client_id
        if moved_from is not None and (known_as := response_id or answering.response_id):
            self._responses = (*self._responses[1 - _MOST_RESPONSES :], known_as)
        if response_id is not None:
            inputs = answer_inputs(document, begun)
            self._inputs.set(response_id, inputs if warms_up(document) else inputs.then(None))

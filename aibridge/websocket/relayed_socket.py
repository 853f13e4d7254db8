"""A client's WebSocket and the provider's behind it, from the handshake to the end of both."""

from collections.abc import Callable
from typing import Protocol

from ..errors import ConnectionOver, GatewayError, Interrupted
from ..http.deadlines import Deadline
from ..interceptor import Interceptor
from ..wire import jsontext
from ..wire.jsontext import JsonObject, nonempty_str
from .ends import CUT, ClientEnd, End
from .exchanges import Services, SocketExchanges
from .lanes import Lanes
from .model_requests import CREATE, STEER, Handshake, may_be_create
from .provider_end import ProviderEnd
from .settings import WebSocketSettings

GOING_AWAY, POLICY, RESTART = 1001, 1008, 1012
_PING_PERIOD = 30.0
_CLOSE_TIMEOUT = 2.0
_RECORDING, _HELD, _SLOW_PEER = "a request is recorded", "a message is held", "the other side is slow"
_TO_CLIENT, _TO_PROVIDER = "to_client", "to_provider"

CountMessage = Callable[[str, str], None]
"""Counts a message, by its direction and its type."""


class SocketOwner(Protocol):
    """All open sockets."""

    def ended(self, socket: "RelayedSocket") -> None:
        """Both ends of the socket are closed."""


class RelayedSocket:
    """Relays messages as they are; those that ask a model are intercepted on their way.

    Either end pauses the other one while its peer takes nothing. The client's end also waits while a request is being
    recorded, and the provider's while an event can't be taken: so at most one message is held in each direction.
    """

    def __init__(
        self,
        owner: SocketOwner,
        ends: tuple[ClientEnd, ProviderEnd],
        handshake: Handshake,
        interceptor: Interceptor,
        services: Services,
        settings: WebSocketSettings,
        count: CountMessage,
    ) -> None:
        self.actor = handshake.request.actor
        self.provider_name = interceptor.provider.name
        self._owner = owner
        self._client, self._provider = ends
        self._count = count
        self._lanes = Lanes(self, lambda kind: count(_TO_CLIENT, kind))
        self._exchanges = SocketExchanges(self, self._lanes, handshake, interceptor, services)
        self._open_ends = {self._client, self._provider}
        self.client_is_slow = False
        self._is_draining = self._is_broken_off = False
        self._close_later: tuple[int | None, str] | None = None
        """The close code for the provider, once answers are read to their end whose client has left."""
        self._deadlines = deadlines = services.deadlines
        self._age = deadlines.start(settings.max_age, self.ended)
        self._idle = deadlines.start(settings.idle_timeout, self._time_out)
        self._pulse = deadlines.repeat(_PING_PERIOD, self._look_for_life)
        self._last: Deadline | None = None
        """The time in which both sides have to answer a close frame."""
        for end in ends:
            end.start(self)

    # Messages

    def received(self, end: End, message: bytes) -> None:
        """Relay a message."""
        self._idle.alive = True
        if end is self._provider:
            self._lanes.receive(message)
            return
        read = jsontext.load_object(message)
        document = read or {}
        kind = nonempty_str(document.get("type")) or ""
        if read is None and may_be_create(message):
            kind = CREATE  # which is refused: what the provider might make of it would go unrecorded
        self._count(_TO_PROVIDER, kind)
        if kind == CREATE:
            self._client.pause(_RECORDING)
            self._exchanges.create(message, document).addCallback(lambda _: self._client.resume(_RECORDING))
            return
        lane = self._lanes.lane(nonempty_str(document.get("stream_id"))) if kind == STEER else None
        if lane is not None:
            lane.steered.append(document)
        self._provider.send(message)

    def send_to_client(self, message: bytes) -> None:
        """Send a message to the client."""
        self._client.send(message)

    def send_to_provider(self, message: bytes) -> None:
        """Send a message to the provider."""
        self._provider.send(message)

    def succeed(self, stream_id: str | None, event: JsonObject, response_id: str) -> None:
        """An answer begins that nobody asked for."""
        self._exchanges.succeed(stream_id, event, response_id)

    # The pace

    def paused(self, end: End) -> None:
        """The end's peer is slow: take nothing from the other one. Called with every write until it takes more."""
        if _SLOW_PEER in self._other(end).pauses:
            return
        self._other(end).pause(_SLOW_PEER)
        if end is self._client:
            self.client_is_slow = True
            for each in self._exchanges.under_way:
                if each.exchange.relay is not None:
                    each.exchange.relay.pauseProducing()

    def resumed(self, end: End) -> None:
        """The end's peer takes messages again."""
        if end is self._client:
            self.client_is_slow = False
            for each in list(self._exchanges.under_way):
                if each.exchange.relay is not None:
                    each.exchange.relay.resumeProducing()
        self._other(end).resume(_SLOW_PEER)

    def pause_provider(self) -> None:
        """A message of the provider is held."""
        self._provider.pause(_HELD)

    def resume_provider(self) -> None:
        """None is held any more."""
        self._provider.resume(_HELD)

    def _other(self, end: End) -> End:
        return self._provider if end is self._client else self._client

    # The life of the connection

    def admit(self) -> None:
        """Raise `ConnectionOver` if the socket takes no request any more."""
        if self._age.expired:
            raise ConnectionOver("This connection has reached its greatest age. Open another one.")

    def ended(self) -> None:
        """An exchange is over: close the socket if that was waited for."""
        if self._exchanges.under_way:
            return
        if self._is_broken_off:
            self.close(RESTART, "the gateway has stopped")
        elif self._is_draining or self._age.expired:
            self.close(GOING_AWAY, "the gateway stops" if self._is_draining else "the connection is too old")
        elif self._close_later is not None:
            self._close_end(self._provider, *self._close_later)

    def drain(self) -> None:
        """Close the socket as soon as nothing is under way."""
        self._is_draining = True
        self.ended()

    def stop(self) -> None:
        """Break off what is under way, and close the socket once that is recorded."""
        self._is_draining = True
        # A stop that follows the last answer's end has nothing to break off: the socket then closes as drained.
        self._is_broken_off = bool(self._exchanges.under_way)
        for each in list(self._exchanges.under_way):
            each.reply.gone = True  # the close code tells the client
            each.exchange.cancel(Interrupted("The gateway stopped before the answer's end."))
        self.ended()

    def revoke(self, reason: GatewayError) -> None:
        """Close the socket at once: its credential is not valid any more."""
        self.close(POLICY, reason.message)
        for each in list(self._exchanges.under_way):
            each.exchange.cancel(reason)

    def close(self, code: int, reason: str) -> None:
        """Close both ends, by the gateway's own decision."""
        self._close_end(self._client, code, reason)
        self._close_end(self._provider, GOING_AWAY, "")

    def abort(self) -> None:
        """Close both ends at once."""
        self._client.abort()
        self._provider.abort()

    def closing(self, end: End, code: int | None, reason: str) -> None:
        """End what is under way, and close the other end in the same way as this one."""
        if end is self._provider:
            self._close_end(self._client, code, reason)
            self._lanes.cut(self.provider_name)
            return
        for each in list(self._exchanges.under_way):
            each.reply.leave()
        self._close_later = code, reason
        self.ended()

    def lost(self, end: End) -> None:
        """The connection of one end is gone."""
        self._open_ends.discard(end)
        if not self._open_ends:
            for deadline in (self._age, self._idle, self._pulse, self._last):
                if deadline is not None:
                    self._deadlines.cancel(deadline)
            self._owner.ended(self)

    def _close_end(self, end: End, code: int | None, reason: str) -> None:
        """Close one end; a connection that was cut, by a cut."""
        if code == CUT:
            end.abort()
        else:
            end.close(code, reason)
        if self._last is None:
            self._last = self._deadlines.start(_CLOSE_TIMEOUT, self.abort)

    def _time_out(self) -> None:
        if self._exchanges.under_way:
            self._idle = self._deadlines.start(self._idle.timeout, self._time_out)
        else:
            self.close(GOING_AWAY, "no message has come for long")

    def _look_for_life(self) -> None:
        """Send a ping to both sides. One that did not respond to the last is gone, unless the provider works."""
        for end in (self._client, self._provider):
            if end.answered_ping or end.is_paused or self._exchanges.under_way:
                end.ping()
            else:
                self.abort()

"""Failover: the providers that serve a conversation whose own provider can't.

Only the first request of a conversation moves, unless the operator wants otherwise: prompt caches, signatures of
thoughts and message threads belong to one provider. A conversation that has moved stays where it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from .caches import LRUCache
from .errors import CircuitOpen, ConnectTimeout, GatewayError, NoCredentials, NotConnected, UpstreamRefused
from .interfaces import IExchange
from .record.records import CENTRALIZED
from .wire.formats import WireFormat
from .wire.jsontext import JsonObject
from .wire.lazy_document import newest_first

if TYPE_CHECKING:
    from .client.request import ClientRequest, ModelRequest
    from .interception import Interception
    from .interceptor import Interceptor

FALLBACK_FROM = "fallback_from"
"""The key, in an interception's metadata, of the provider that could not serve the request."""
NOT_SERVING = frozenset((503, 529))
"""The statuses of a provider that can't serve now, and has not begun."""

_log = Logger()
_MAX_CONVERSATIONS = 10_000
_NOT_MOVED = frozenset(("container", "conversation", "fallback_credit_token", "previous_response_id", "thread"))
"""The members of a request that mean something to one provider only."""
_OPENING_ROLES = ("developer", "system", "user")


@define(eq=False)
class Failover:
    """The fallbacks of one provider, and the conversations that they have taken over."""

    primary: "Interceptor"
    """The interceptor of the provider that the fallbacks are for."""
    fallbacks: "Sequence[Interceptor]"
    mid_conversation: bool
    """True if a conversation may move after it has begun, too."""
    _moved: "LRUCache[tuple[str, str], Interceptor]" = field(factory=lambda: LRUCache(_MAX_CONVERSATIONS), init=False)

    async def prepare(
        self, request: "ClientRequest", parsed: "ModelRequest", wire_format: WireFormat, exchange: IExchange
    ) -> "Interception":
        """Return an interception by the provider that has the conversation.

        That is a fallback if the provider's circuit is open, or the gateway has no credentials for it. Raises a
        `GatewayError` as `Interceptor.prepare` does.
        """
        name = self.primary.provider.name
        mover = await self.keeper(request, parsed)
        if mover is not None and (own_format := mover.format_of(request)) is not None:
            return await mover.prepare(request, parsed, own_format, exchange, name)
        try:
            return await self.primary.prepare(request, parsed, wire_format, exchange)
        except (CircuitOpen, NoCredentials) as error:
            for fallback, its_format in self.candidates(request, parsed):
                with suppress(GatewayError):  # the next one may serve
                    interception = await fallback.prepare(request, parsed, its_format, exchange, name)
                    self.moved(request, parsed, fallback, error.message)
                    return interception
            raise

    async def keeper(self, request: "ClientRequest", parsed: "ModelRequest") -> "Interceptor | None":
        """Return the fallback that has the request's conversation; None if that is with its own provider.

        A fallback has it if it took the session over, or if it stores what the request goes on from.
        """
        if parsed.session is not None and not begins_conversation(parsed.body.document):
            mover = self.keeper_of_session(request.actor.id, parsed.session)
            if mover is not None:
                return mover
        continued = parsed.continued_ids
        if not continued or self.primary.provider.credential(request.headers).kind != CENTRALIZED:
            return None
        return await self.keeper_of_objects(continued)

    async def keeper_of_objects(self, object_ids: Iterable[str]) -> "Interceptor | None":
        """Return the fallback that stores any of these objects; None if the provider itself does, or none is known to.

        Raise `RecordingImpossible` if the records can't be read.
        """
        for object_id in object_ids:
            for each in (self.primary, *self.fallbacks):
                objects = each.access.objects if each.access is not None else None
                if objects is not None and await objects.owner(object_id) is not None:
                    return each if each is not self.primary else None
        return None

    def keeper_of_session(self, actor_id: str, session: str | None) -> "Interceptor | None":
        """Return the fallback that took a session over; None if none did."""
        return self._moved.get((actor_id, session)) if session is not None else None

    def candidates(
        self, request: "ClientRequest", parsed: "ModelRequest"
    ) -> "Iterator[tuple[Interceptor, WireFormat]]":
        """Yield the fallbacks that may serve a request, each with its form of the API."""
        # A client's own credential is for one provider.
        if self.primary.provider.credential(request.headers).kind == CENTRALIZED and self.may_move(parsed):
            for fallback in self.fallbacks:
                if (wire_format := fallback.format_of(request)) is not None:
                    yield fallback, wire_format

    def may_move(self, parsed: "ModelRequest") -> bool:
        """Return True if another provider may serve a request: nothing in it is bound to its own."""
        document = parsed.body.document
        return (
            _NOT_MOVED.isdisjoint(document)
            and not parsed.object_ids
            and (self.mid_conversation or begins_conversation(document))
        )

    def moved(self, request: "ClientRequest", parsed: "ModelRequest", fallback: "Interceptor", why: str) -> None:
        """Remember that a fallback serves the request's conversation from now on."""
        self.tell(fallback, why)
        self.remember(request, parsed, fallback)

    def tell(self, fallback: "Interceptor", why: str) -> None:
        """Log that a fallback takes over."""
        _log.warn(
            "{provider} can't serve a request: {fallback} takes over: {why}",
            provider=self.primary.provider.name,
            fallback=fallback.provider.name,
            why=why,
        )

    def remember(self, request: "ClientRequest", parsed: "ModelRequest", fallback: "Interceptor") -> None:
        """Remember that a fallback has the session of a request."""
        if parsed.session is not None:
            self._moved.set((request.actor.id, parsed.session), fallback)


def never_connected(error: GatewayError) -> bool:
    """Return True if no connection to the provider came about, so that it knows nothing of the request."""
    return isinstance(error, UpstreamRefused | NotConnected | ConnectTimeout)


def begins_conversation(document: JsonObject) -> bool:
    """Return True if there is no answer of a model in a request's conversation yet."""
    turns = newest_first(document, "messages")
    if turns is None:
        turns = newest_first(document, "input")
    return turns is None or all(
        isinstance(turn, dict) and (turn.get("role") in _OPENING_ROLES or turn.get("type") == "additional_tools")
        for turn in turns
    )

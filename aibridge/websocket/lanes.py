"""Lanes: the answers on a provider's socket, told apart by ``stream_id``, each under way to its exchange."""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from ..errors import UpstreamFailed
from ..in_flight import Exchange
from ..wire import jsontext
from ..wire.jsontext import JsonObject, nonempty_str
from ..wire.responses.reader import DELTA, ERROR, FIRST_EVENTS, LAST_EVENTS
from .lane_response import LaneResponse

if TYPE_CHECKING:
    from .message_reply import MessageReply

_STEERED = "steered"
_UNREAD: JsonObject = {}


class Stage(Enum):
    """The stage of an answer."""

    ASKED = "its request is sent or about to be, and nothing has come"
    BEGUN = "its first event has come"
    OVER = "its last event has come, and may be held; the gateway may ask again"


_ASKED, _BEGUN, _OVER = Stage


@define(eq=False)
class Answering:
    """An exchange on a lane, and the answer that it gets."""

    exchange: Exchange
    reply: "MessageReply"
    create: bytes = field(repr=False)
    """The message that asked, for an answer that follows when it is steered."""
    stage: Stage = _ASKED
    response: LaneResponse | None = None
    """None until it is asked for."""
    response_id: str | None = None
    """The id of the answer, once it is known."""
    is_unwanted: bool = False
    """True if what still comes of the answer is thrown away."""


@define(eq=False)
class Lane:
    """The exchanges with one ``stream_id``, in the order in which they asked."""

    answering: list[Answering] = field(factory=list)
    steered: list[JsonObject] = field(factory=list)
    """The messages with which the client has steered, and which no answer has followed yet."""
    ended: Answering | None = None
    """The answer that has ended because it was steered, until the next one begins."""

    def target(self, kind: object, response_id: str | None) -> Answering | None:
        """Return the exchange that an event belongs to; None for one that nobody asked for.

        An answer that nobody asked for begins when the client has steered the one before.
        """
        for each in self.answering:
            if response_id is not None and each.response_id == response_id:
                return each
        asked = next((each for each in self.answering if each.response_id is None and each.stage is not _OVER), None)
        if kind in FIRST_EVENTS:
            return asked if self.ended is None else None
        if kind == ERROR and asked is not None:
            return asked
        begun = [each for each in self.answering if each.response_id is not None]
        return begun[-1] if begun else asked


class LaneOwner(Protocol):
    """The socket that the lanes belong to."""

    def send_to_provider(self, message: bytes) -> None:
        """Send a message to the provider."""

    def send_to_client(self, message: bytes) -> None:
        """Send a message to the client."""

    def pause_provider(self) -> None:
        """Let no message of the provider come."""

    def resume_provider(self) -> None:
        """Let messages of the provider come again."""

    def succeed(self, stream_id: str | None, event: JsonObject, response_id: str) -> None:
        """An answer begins that nobody asked for: `add` its exchange."""


class Lanes:
    """All lanes of one socket. At most one message is held: the provider's socket is paused with it."""

    def __init__(self, owner: LaneOwner, count: Callable[[str], None]) -> None:
        self._owner = owner
        self._count = count
        self._lanes: dict[str | None, Lane] = {}
        self._held: bytes | None = None
        self._cut_by: str | None = None
        """The name of the provider, once its socket is closed."""

    def lane(self, stream_id: str | None) -> Lane | None:
        """Return a lane on which something is under way; None for every other."""
        return self._lanes.get(stream_id)

    # The exchanges

    def add(self, stream_id: str | None, answering: Answering) -> None:
        """An exchange begins. An answer that nobody asked for already has its `response_id`."""
        lane = self._lanes.setdefault(stream_id, Lane())
        lane.answering.append(answering)
        if answering.response_id is not None:
            lane.ended = None
            lane.steered.clear()

    def ask(self, stream_id: str | None, answering: Answering, message: bytes) -> LaneResponse:
        """Send the request of an exchange, and return its answer, of which nothing has come.

        The message is empty for an answer that nobody asked for. Raise `UpstreamFailed` if the socket is closed.
        """
        lane = self._lanes.get(stream_id)
        if lane is None or self._cut_by is not None:
            raise UpstreamFailed(f"{self._cut_by or 'The provider'} has closed the connection.")
        if answering.stage is not _ASKED:  # another round, which comes after what was asked meanwhile
            lane.answering.remove(answering)
            lane.answering.append(answering)
            answering.stage, answering.response_id = _ASKED, None

        def stopped() -> None:
            answering.is_unwanted = answering.stage is not _OVER

        answering.response = response = LaneResponse(self._retry, stopped)
        if message:
            self._owner.send_to_provider(message)
        self._retry()
        return response

    def discard(self, stream_id: str | None, answering: Answering) -> None:
        """An exchange is over. What still comes of its answer is thrown away."""
        was_asked = answering.response is not None or answering.response_id is not None
        if was_asked and answering.stage is not _OVER:
            answering.is_unwanted = True
        else:
            self._remove(stream_id, answering)
        self._retry()

    def cut(self, provider: str) -> None:
        """The socket of the provider with that name is closed: nothing more comes."""
        self._held, self._cut_by = None, provider
        under_way = [each for lane in self._lanes.values() for each in lane.answering]
        self._lanes.clear()
        for each in under_way:
            if each.response is not None:
                each.response.cut(provider)

    # The provider's messages

    def receive(self, message: bytes) -> None:
        """Bring a message of the provider to the exchange that it belongs to, or pass it on."""
        delta = DELTA.match(message)
        if delta is not None and len(self._lanes) == 1:
            lane = self._lanes.get(None)
            target = lane.answering[0] if lane is not None and len(lane.answering) == 1 else None
            # Nearly every message is a piece of the only answer: it needs no reading here.
            if target is not None and target.stage is _BEGUN and not target.is_unwanted:
                response = target.response
                if response is not None and not response.is_paused:
                    self._count(delta[1].decode())
                    response.receive(message, _UNREAD, is_last=False)
                    return
        event = jsontext.load_object(message) or {}
        self._count(nonempty_str(event.get("type")) or "")
        self._route(message, event)

    def _route(self, message: bytes, event: JsonObject) -> None:
        kind, response = event.get("type"), event.get("response")
        response_id = nonempty_str(response.get("id")) if isinstance(response, dict) else None
        stream_id = nonempty_str(event.get("stream_id"))
        lane = self._lanes.get(stream_id)
        target = lane.target(kind, response_id) if lane is not None else None
        if lane is not None and target is not None:
            target.response_id = target.response_id or response_id
            self._deliver(stream_id, lane, target, message, event)
        elif kind == "response.created" and response_id is not None:
            self._hold(message)
            self._owner.succeed(stream_id, event, response_id)
        else:
            self._owner.send_to_client(message)

    def _deliver(self, stream_id: str | None, lane: Lane, target: Answering, message: bytes, event: JsonObject) -> None:
        """Give an event to its exchange, once that can take it and the client has the last event of the one before."""
        kind, response = event.get("type"), target.response
        is_last = kind in LAST_EVENTS or kind == ERROR
        if target.is_unwanted:
            if is_last:
                self._remove(stream_id, target)
        elif response is None or response.is_paused or any(each.stage is _OVER for each in lane.answering):
            self._hold(message)
        else:
            target.stage = _OVER if is_last else _BEGUN
            if is_last and _was_steered(event):
                lane.ended = target
            response.receive(message, event, is_last)

    def _hold(self, message: bytes) -> None:
        self._held = message
        self._owner.pause_provider()

    def _retry(self) -> None:
        """Try the held message again."""
        held, self._held = self._held, None
        if held is None:
            return
        self._route(held, jsontext.load_object(held) or {})
        if self._held is None:
            self._owner.resume_provider()

    def _remove(self, stream_id: str | None, answering: Answering) -> None:
        lane = self._lanes.get(stream_id)
        if lane is not None and answering in lane.answering:
            lane.answering.remove(answering)
            if not lane.answering and lane.ended is None:
                del self._lanes[stream_id]


def _was_steered(event: JsonObject) -> bool:
    """Return True for the end of an answer that the client has steered: another one follows."""
    response = event.get("response")
    details = response.get("incomplete_details") if isinstance(response, dict) else None
    reasons = (event.get("reason"), details.get("reason") if isinstance(details, dict) else None)
    return _STEERED in reasons

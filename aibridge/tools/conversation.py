"""The conversation that a request belongs to: its tools, and what of it was hidden from the client."""

from collections.abc import Callable, Mapping

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed

from ..errors import BadRequest
from ..interfaces import IMemory, IToolbox, IToolRunner
from ..wire.chat.reader import CHAT
from ..wire.chat.rounds import CHAT_TOOLS
from ..wire.formats import WireFormat
from ..wire.history import KnownTurns, Turn
from ..wire.jsontext import JsonObject
from ..wire.messages.reader import MESSAGES
from ..wire.messages.rounds import MESSAGES_TOOLS
from ..wire.request_body import RequestBody
from ..wire.responses.reader import RESPONSES
from ..wire.responses.rounds import RESPONSES_TOOLS
from ..wire.rounds import Dialogue, SingleRound, ToolSupport
from .results import ToolRunner
from .toolset import Remembered, Toolset

_SUPPORT: Mapping[str, ToolSupport] = {
    MESSAGES.name: MESSAGES_TOOLS,
    CHAT.name: CHAT_TOOLS,
    RESPONSES.name: RESPONSES_TOOLS,
}


@define(eq=False)
class Conversation:
    """The conversation of one request, as an interception uses it."""

    dialogue: Dialogue
    tools: IToolRunner | None = None
    """None if the gateway offers no tools in this conversation."""
    remember: "Callable[[Turn], Deferred[None]]" = lambda turn: succeed(None)
    """Stores the turn for the client's later requests. Fires when it is durable."""
    max_rounds: int = 1


@frozen(eq=False)
class Conversations:
    """Finds the conversations of requests, at a gateway that has tools of its own."""

    toolbox: IToolbox
    memory: IMemory
    max_rounds: int = 25

    async def join(self, actor_id: str, provider: str, wire_format: WireFormat, asked: RequestBody) -> Conversation:
        """Return the request's conversation. It keeps the tools that it began with, even if the servers change theirs.

        Raise BadRequest if the body is nested too deeply.
        """
        support = _SUPPORT[wire_format.name]
        anchors = support.anchors(asked.document)
        remembered = await self.memory.recall(actor_id, provider, anchors)
        past = KnownTurns(each.turn for each in remembered)
        latest = past.find(anchors)
        toolset = next((each.toolset for each in remembered if each.turn is latest), None)
        if toolset is None:
            toolset = self._new_toolset(support, asked.document)
        if toolset is None:
            return Conversation(SingleRound(wire_format, asked))

        def remember(turn: Turn) -> "Deferred[None]":
            return self.memory.remember(Remembered(actor_id, provider, toolset, turn))

        try:
            tools = toolset.offered(wire_format.name).tools
            dialogue = support.dialogue(asked.decoded, asked.document, tools, past)
        except ValueError:  # only the fastest parser reads such a depth
            raise BadRequest("The request body is nested too deeply.") from None
        return Conversation(dialogue, ToolRunner(self.toolbox), remember, self.max_rounds)

    def _new_toolset(self, support: ToolSupport, request: JsonObject) -> Toolset | None:
        """Return the tools of a conversation that is not remembered; None if the gateway must not interfere."""
        if not support.may_offer(request) or support.bound(request):
            return None
        # Without tools now the conversation is remembered all the same, so that it stays without them.
        return Toolset() if support.forbids(request) else self.toolbox.toolset()

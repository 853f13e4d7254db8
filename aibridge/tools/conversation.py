"""Joining a request to its conversation: which tools it has, and what of it was hidden from its client."""

from collections.abc import Callable, Mapping

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed

from ..errors import BadRequest
from ..interfaces import IMemory, IToolbox, IToolRunner
from ..wire.chat.reader import CHAT
from ..wire.chat.rounds import CHAT_TOOLS
from ..wire.formats import WireFormat
from ..wire.messages.reader import MESSAGES
from ..wire.messages.rounds import MESSAGES_TOOLS
from ..wire.request_body import RequestBody
from ..wire.responses.reader import RESPONSES
from ..wire.responses.rounds import RESPONSES_TOOLS
from ..wire.rounds import Dialogue, Recollection, SingleRound, ToolSupport, Turn
from .memory import Remembered
from .results import ToolRunner
from .toolset import Toolset

_SUPPORT: Mapping[str, ToolSupport] = {
    MESSAGES.name: MESSAGES_TOOLS,
    CHAT.name: CHAT_TOOLS,
    RESPONSES.name: RESPONSES_TOOLS,
}


def _nothing_to_remember(turn: Turn) -> "Deferred[None]":
    return succeed(None)


@define(eq=False)
class Conversation:
    """What an interception needs to know of the conversation that its request belongs to."""

    dialogue: Dialogue
    tools: IToolRunner | None = None
    remember: "Callable[[Turn], Deferred[None]]" = _nothing_to_remember
    max_rounds: int = 1


@frozen(eq=False)
class Conversations:
    """All conversations of a gateway that has tools of its own."""

    toolbox: IToolbox
    memory: IMemory
    max_rounds: int = 25

    async def join(self, actor_id: str, provider: str, wire_format: WireFormat, asked: RequestBody) -> Conversation:
        """The conversation of a request. Its tools are those it began with, whatever the servers do meanwhile."""
        support = _SUPPORT[wire_format.name]
        anchors = support.anchors(asked.document)
        remembered = await self.memory.recall(actor_id, provider, anchors)
        past = Recollection(one.turn for one in remembered)
        known = past.find(anchors)
        toolset = next((one.toolset for one in remembered if one.turn is known), None)
        if toolset is None:
            toolset = self._offered(support, asked)
        if toolset is None:
            return Conversation(SingleRound(wire_format, asked))

        def remember(turn: Turn) -> "Deferred[None]":
            return self.memory.remember(Remembered(actor_id, provider, toolset, turn))

        dialogue = _dialogue(support, asked, toolset, past)
        return Conversation(dialogue, ToolRunner(self.toolbox), remember, self.max_rounds)

    def _offered(self, support: ToolSupport, asked: RequestBody) -> Toolset | None:
        """The tools of a conversation that is not known yet; None where the gateway stays out of it."""
        if not support.may_offer(asked.document) or support.bound(asked.document):
            return None
        return Toolset() if support.forbids(asked.document) else self.toolbox.toolset()


def _dialogue(support: ToolSupport, asked: RequestBody, toolset: Toolset, past: Recollection) -> Dialogue:
    try:
        return support.dialogue(asked.decoded, asked.document, toolset.tools, past)
    except ValueError:  # nested so deeply that only the fastest parser reads it
        raise BadRequest("The request body is nested too deeply.") from None

"""Joining a request to its conversation: which tools it has, and what of it was hidden from its client."""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from ..interfaces import IMemory, IToolbox, IToolRunner
from ..wire.formats import WireFormat
from ..wire.messages_rounds import MESSAGES_TOOLS
from ..wire.monologue import Monologue
from ..wire.requests import Asked
from ..wire.rounds import Dialogue, Recollection, ToolSupport, Turn
from .memory import Remembered
from .runner import ToolRunner
from .toolset import Toolset

_SUPPORT: Mapping[str, ToolSupport] = {"messages": MESSAGES_TOOLS}


def _nothing_to_remember(turn: Turn | None) -> "Deferred[None]":
    return succeed(None)


@frozen
class Conversation:
    """What an interception needs to know of the conversation that its request belongs to."""

    dialogue: Dialogue
    tools: IToolRunner | None = None
    remember: "Callable[[Turn | None], Deferred[None]]" = _nothing_to_remember
    max_rounds: int = 1


@frozen(eq=False)
class Conversations:
    """All conversations of a gateway that has tools of its own."""

    toolbox: IToolbox
    memory: IMemory
    max_rounds: int = 25

    async def join(self, actor_id: str, provider: str, wire_format: WireFormat, asked: Asked) -> Conversation:
        """The conversation of a request. Its tools are those it began with, whatever the servers do meanwhile."""
        support = _SUPPORT[wire_format.name]
        remembered = await self.memory.recall(actor_id, provider, support.anchors(asked.json))
        toolset = self._toolset(support, asked, remembered)
        if toolset is None:
            return Conversation(Monologue(wire_format, asked))
        past = Recollection(one.turn for one in remembered)
        dialogue = support.dialogue(asked.plain, asked.json, toolset.tools, past)

        def remember(turn: Turn | None) -> "Deferred[None]":
            if turn is None:
                return succeed(None)
            return self.memory.remember(Remembered(actor_id, provider, toolset, turn))

        return Conversation(dialogue, ToolRunner(self.toolbox, toolset), remember, self.max_rounds)

    def _toolset(self, support: ToolSupport, asked: Asked, remembered: Sequence[Remembered]) -> Toolset | None:
        """The tools that the request is offered, or None where the gateway stays out of it."""
        if remembered:
            return remembered[-1].toolset
        if not support.may_offer(asked.json) or support.bound(asked.json):
            return None
        return Toolset() if support.forbids(asked.json) else self.toolbox.toolset()

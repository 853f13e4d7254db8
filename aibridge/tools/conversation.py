"""The conversation that a request belongs to: its tools, and what of it was hidden from the client."""

from collections.abc import Callable, Collection, Mapping, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed

from ..errors import BadRequest
from ..interfaces import IMemory, IProvider, IToolbox, IToolRunner
from ..upstream.refusals import INJECTED_TOOLS, LONG_DESCRIPTIONS, USAGE_OPTION, Addition, refused_tool
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
from ..wire.rounds import Dialogue, SingleRound, ToolSupport, client_tools
from ..wire.tool_calls import INJECTED_PREFIX, InjectedTool
from .results import ToolRunner
from .selection import SHORT_DESCRIPTION, ToolSelector
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
    additions: Sequence[Addition] = ()
    """The gateway's additions to the request, which it may leave out if the provider refuses them."""
    tool_names: Sequence[str] = ()
    """The names of all tools of the request, in their order; empty if none can be left out."""

    def offer(
        self, tools: Sequence[InjectedTool], asked: RequestBody, wire_format: WireFormat, *, is_new: bool
    ) -> None:
        """Note what can be left out of these tools. In a conversation that has begun no tool can."""
        if any(len(tool.description) > SHORT_DESCRIPTION for tool in tools):
            self.additions = (*self.additions, LONG_DESCRIPTIONS)
        if is_new and tools:
            own, names = client_tools(asked.document).in_order, [tool.name for tool in tools]
            if not own:  # a model without tools refuses the client's too
                self.additions = (*self.additions, INJECTED_TOOLS)
            self.tool_names = [*names, *own] if wire_format is MESSAGES else [*own, *names]

    @property
    def may_repeat(self) -> bool:
        """True if the request can be sent again with less added to it."""
        return bool(self.additions or self.tool_names)

    def refused_addition(self, status: int, body: bytes) -> Addition | None:
        """Return the addition that the provider refuses by an error; None if the error has another reason."""
        for addition in self.additions:
            if addition.is_refused(status, body):
                return addition
        tool = refused_tool(status, body, self.tool_names)
        return tool if tool is not None and tool.tool.startswith(INJECTED_PREFIX) else None


@frozen(eq=False)
class Conversations:
    """Finds the conversations of requests, at a gateway that has tools of its own."""

    toolbox: IToolbox
    memory: IMemory
    max_rounds: int = 25
    max_tools: int | None = None
    """The most tools of the gateway's in one conversation; None for no bound."""
    _selector: ToolSelector = field(init=False)

    @_selector.default
    def _make_selector(self) -> ToolSelector:
        return ToolSelector(self.toolbox, self.max_tools)

    async def join(
        self,
        actor_id: str,
        provider: IProvider,
        wire_format: WireFormat,
        asked: RequestBody,
        without: Collection[Addition] = (),
    ) -> Conversation:
        """Return the request's conversation. It keeps the tools that it began with, even if the servers change theirs.

        Nothing in `without` is added to the request. Raise BadRequest if the body is nested too deeply.
        """
        if not self._selector.offers(provider) or INJECTED_TOOLS in without:
            return plain_conversation(wire_format, asked, without)
        support = _SUPPORT[wire_format.name]
        anchors = support.anchors(asked.document)
        remembered = await self.memory.recall(actor_id, provider.name, anchors)
        past = KnownTurns((each.turn for each in remembered), asked.follows)
        latest = past.find(anchors)
        begun_with = next((each.toolset for each in remembered if each.turn is latest), None)
        whole = self._new_toolset(support, asked.document) if begun_with is None else begun_with
        served = () if whole is None else self._selector.served(whole, wire_format.name, provider.name, asked.model)
        if whole is None or (whole.tools and not served):
            return plain_conversation(wire_format, asked, without)
        tools = self._selector.fitting(served, asked, provider, without)
        toolset = whole if begun_with is not None else whole.only(tools)

        def remember(turn: Turn) -> "Deferred[None]":
            return self.memory.remember(Remembered(actor_id, provider.name, toolset, turn))

        body, additions = amend(wire_format, asked, without)
        try:
            dialogue = support.dialogue(body, asked.document, tools, past)
        except ValueError:  # only the fastest parser reads such a depth
            raise BadRequest("The request body is nested too deeply.") from None
        conversation = Conversation(dialogue, ToolRunner(self.toolbox), remember, self.max_rounds, additions)
        conversation.offer(tools, asked, wire_format, is_new=begun_with is None)
        return conversation

    def _new_toolset(self, support: ToolSupport, request: JsonObject) -> Toolset | None:
        """Return the tools of a conversation that is not remembered; None if the gateway must not interfere."""
        if not support.may_offer(request) or support.bound(request):
            return None
        # Without tools now the conversation is remembered all the same, so that it stays without them.
        return Toolset() if support.forbids(request) else self.toolbox.toolset()


def plain_conversation(wire_format: WireFormat, asked: RequestBody, without: Collection[Addition] = ()) -> Conversation:
    """Return the conversation of a request that is offered no tools of the gateway's."""
    body, additions = amend(wire_format, asked, without)
    return Conversation(SingleRound(wire_format, asked, body), additions=additions)


def amend(
    wire_format: WireFormat, asked: RequestBody, without: Collection[Addition]
) -> tuple[bytes, tuple[Addition, ...]]:
    """Return a request's decoded body with what its API needs added, and the additions that can be left out again."""
    if USAGE_OPTION in without:
        return asked.decoded, ()
    body = wire_format.amend(asked.decoded, asked.document)
    is_added = body is not asked.decoded and USAGE_OPTION.name not in asked.document
    return body, (USAGE_OPTION,) if is_added else ()

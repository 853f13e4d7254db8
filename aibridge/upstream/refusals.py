"""Refusals that the gateway learns from: a provider may refuse what the gateway itself adds to a request.

Such a request is sent once more without the addition, and the refusal is remembered for that provider and model. The
provider has not begun to answer then, and the client has nothing of an answer yet. Where a provider's settings say so,
the same is done with parts of the client's own request; see `refused_parts`.
"""

import re
from collections.abc import Collection, Sequence
from typing import cast

from attrs import frozen
from prometheus_client import Counter
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from ..caches import LRUCache
from ..http.deadlines import Deadlines
from ..interfaces import IExchange
from ..logs import printable

_log = Logger()
_DAY = 24 * 3600.0
_MAX_MODELS = 1000
_MAX_PARTS = 200
"""Parts of requests that are remembered for one model, as refused or as accepted."""
_PEEK_TIMEOUT = 5.0
"""Seconds in which the body of an error has to come, or it is relayed as far as it has come."""
MAX_REFUSAL = 64 * 1024
"""Bytes of an error that are read to find out what the provider refuses."""


@frozen
class Addition:
    """A part of requests that can be left out, and the words by which providers refuse it.

    Mostly the gateway adds it; beta flags and fields are the client's own.
    """

    name: str
    statuses: tuple[int, ...]
    words: "re.Pattern[bytes] | None"
    tool: str = ""
    """The injected tool's name, if the addition is this tool alone."""
    part: str = ""
    """The client's beta flag, or the path of its field."""

    @classmethod
    def of_tool(cls, name: str) -> "Addition":
        """The addition that consists of one injected tool; see `refused_tool`."""
        return cls("tool", (), None, name)

    def is_refused(self, status: int, body: bytes) -> bool:
        """Return True if an error with this status and body refuses the addition."""
        return status in self.statuses and self.words is not None and self.words.search(body) is not None


_TOOLS = rb"(?<![\w.])(tools?|tool[ _-]?us\w*|tool[ _-]?call\w*|function[ _-]?call\w*)\b(?![.\[]\d)"
_NOT = rb"(not?|n't|n\xe2\x80\x99t|cannot) (?:\w+ ){0,2}?(support\w*|enabled|available|permitted|allowed)|unsupported"

INJECTED_TOOLS = Addition(
    "tools",
    (400, 404, 405, 422, 500, 501),
    re.compile(
        rb"%b.{0,80}?(%b|requires? (the )?--)|(%b|no endpoints found that).{0,60}?%b" % (_TOOLS, _NOT, _NOT, _TOOLS),
        re.IGNORECASE | re.DOTALL,
    ),
)
"""Tools, at a model without them.

The words of Ollama ("… does not support tools"), vLLM ('"auto" tool choice requires --enable-auto-tool-choice'),
OpenRouter (404, "No endpoints found that support tool use"), Groq ("`tool calling` is not supported with this model"),
OpenAI ("Unsupported parameter: 'tools' is not supported with this model"), Gemini and Mistral ("Function calling is not
enabled for …"), Bedrock ("This model doesn't support tool use"), llama.cpp (500, "tools param requires --jinja flag").
"""

USAGE_OPTION = Addition("stream_options", (400, 422), re.compile(rb"stream_options|include_usage"))
"""The wish for the figures at the end of a chat stream."""


LONG_DESCRIPTIONS = Addition(
    "long_descriptions",
    (400, 422),
    re.compile(rb"tools\[\d+\](\.function)?\.description.{0,40}too long", re.IGNORECASE | re.DOTALL),
)
"""Tools' descriptions of more characters than some of OpenAI's and Azure's models accept.

"Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024 …"
"""


_SCHEMA = re.compile(
    rb"schema for function '(?P<name>[\w-]+)'"
    rb"|tools[.\[](?P<place>\d+)\]?\.(custom\.|function\.)?(input_schema|parameters)\b"
)
"""The words by which OpenAI and Anthropic refuse the schema of one tool."""


def refused_tool(status: int, body: bytes, names: Sequence[str]) -> Addition | None:
    """Return the tool whose schema an error refuses, as an addition; None for another error.

    `names` are those of the request's tools, in their order.
    """
    match = _SCHEMA.search(body) if status in (400, 422) else None
    if match is None:
        return None
    place = match["place"]
    named = match["name"].decode() if place is None else "".join(names[int(place) :][:1])
    return Addition.of_tool(named) if named in names else None


class LearntRefusals:
    """The additions that one provider refuses, by model. Each is forgotten after a day."""

    def __init__(self, provider: str, counter: Counter, clock: IReactorTime) -> None:
        self._provider = provider
        self._counter = counter
        self._now = clock.seconds
        self._until: LRUCache[str, dict[Addition, float]] = LRUCache(_MAX_MODELS)
        self.is_empty = True
        """True while nothing was learnt, as with nearly all providers: then there is nothing to look up."""
        self._accepted: LRUCache[str, frozenset[str]] = LRUCache(_MAX_MODELS)

    def accept(self, model: str, betas: Collection[str]) -> None:
        """Remember that the provider accepted a request for the model with these beta flags."""
        known = self.accepted(model)
        if not known.issuperset(betas) and len(known) < _MAX_PARTS:
            self._accepted.set(model, known.union(betas))

    def accepted(self, model: str) -> frozenset[str]:
        """Return beta flags that the provider accepted for the model."""
        return self._accepted.get(model) or frozenset()

    def known(self, model: str) -> frozenset[Addition]:
        """Return the additions that must not be sent for the model."""
        learnt = self._until.get(model)
        if learnt is None:
            return frozenset()
        now = self._now()
        return frozenset(addition for addition, until in learnt.items() if until > now)

    def report(self) -> list[dict[str, str]]:
        """Return what is remembered, as JSON values for operators."""
        now = self._now()
        return [
            {"model": model, "kind": addition.name}
            | ({"tool": addition.tool} if addition.tool else {})
            | ({addition.name: printable(addition.part)} if addition.part else {})
            for model, learnt in self._until.items()
            for addition, until in learnt.items()
            if until > now
        ]

    def learn(self, model: str, additions: Collection[Addition]) -> None:
        """Remember that the provider accepted a request for the model without these."""
        learnt = self._until.get(model) or {}
        for addition in additions:
            learnt[addition] = self._now() + _DAY
            self._counter.labels(self._provider, addition.name).inc()
            _log.warn(
                "{provider} refuses {addition} for {model}: the gateway leaves it out for a day",
                provider=self._provider,
                addition=printable(f"{addition.name} {addition.tool}{addition.part}".strip()),
                model=printable(model),
            )
        for oldest in [*learnt][:-_MAX_PARTS]:
            del learnt[oldest]
        self.is_empty = False
        self._until.set(model, learnt)


class PeekedResponse(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body's beginning can be read before the body is delivered as a whole."""

    def __init__(self, response: IResponse) -> None:
        super().__init__(response)
        self._peek = _Peek()

    def peek(self) -> "Deferred[bytes]":
        """Read up to `MAX_REFUSAL` bytes, or less if the body ends before. Cancelling it closes the connection.

        Call `deliverBody` or `discard` as soon as it fires.
        """
        self.original.deliverBody(self._peek)
        return self._peek.done

    async def read_beginning(self, exchange: IExchange, deadlines: Deadlines) -> bytes:
        """Return the beginning of an error's body, as far as it comes within five seconds."""
        deadline = deadlines.start(_PEEK_TIMEOUT, self._peek.finish)
        try:
            return await exchange.wait(self.peek())
        finally:
            deadlines.cancel(deadline)

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body from its beginning."""
        self._peek.hand_over(protocol)

    def discard(self) -> None:
        """Close the connection: nobody wants the body."""
        self._peek.stop()


class _Peek(TwistedProtocol):
    """The receiver of a body whose real receiver comes later."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self.stop())
        self._read = b""
        self._lost: Failure | None = None
        self._receiver: IProtocol | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.dataReceived(data)
            return
        self._read += data
        if len(self._read) > MAX_REFUSAL:
            self.finish()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._receiver is not None:
            self._receiver.connectionLost(reason)
            return
        self._lost = reason
        self.finish()

    def finish(self) -> None:
        if not self.done.called:
            self.done.callback(self._read[:MAX_REFUSAL])

    def hand_over(self, receiver: IProtocol) -> None:
        self._receiver = receiver
        assert self.transport is not None
        receiver.makeConnection(self.transport)
        read, self._read = self._read, b""
        if read:
            receiver.dataReceived(read)
        if self._lost is not None:
            receiver.connectionLost(self._lost)

    def stop(self) -> None:
        if self.transport is not None:
            cast(IPushProducer, self.transport).stopProducing()

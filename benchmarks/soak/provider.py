"""The provider of a soak: ``python -m benchmarks.soak.provider`` prints its port and runs until it is ended.

The first word of a prompt tells what becomes of the answer.
"""

import sys

from twisted.internet import asyncioreactor

asyncioreactor.install()

from twisted.internet import reactor  # noqa: E402
from twisted.web.server import Site  # noqa: E402

from aibridge.testing import Ending, FakeProvider, RawReply, Reply, ToolCall  # noqa: E402
from aibridge.testing.exchange import Question  # noqa: E402

TEXT = "All of this is said by nobody, so that there is something to pass on. " * 4
ERROR = b'{"type": "error", "error": {"type": "api_error", "message": "as asked"}}'


def answer(question: Question) -> Reply | RawReply:
    """Return the reply that the prompt asks for."""
    kind = question.prompt.split(" ")[0]
    tools = [tool.name for tool in question.tools if kind in tool.name]
    if kind in ("500", "429"):
        return RawReply(status=int(kind), headers={"Content-Type": "application/json"}, chunks=[ERROR])
    if tools and question.tool_result is None:
        return Reply(text="Let me see.", tool_calls=[ToolCall(tools[0], {"text": "ping"})])
    if kind == "large":
        return Reply(text=TEXT * 300)  # 85 kB, in 17,000 events
    endings = {"cut": Ending.CUT, "stall": Ending.STALL}
    if kind in endings:
        return Reply(text=TEXT, stop_after=5, ending=endings[kind])
    return Reply(text=TEXT, thinking="Hm." if question.tools else "")


def main() -> None:
    """Serve on a free port of this machine."""
    provider = FakeProvider(answer, clock=reactor, delay=0.002, remember=10)
    port = reactor.listenTCP(0, Site(provider), interface="127.0.0.1")
    sys.stdout.write(f"{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main()

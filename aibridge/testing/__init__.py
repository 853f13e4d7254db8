"""Public doubles, for the tests of this project and of the programs that embed it.

`FakeProvider` is a provider that says what a test tells it to, in every wire format, and remembers what it was
asked; `MemoryRecorder` keeps records in dictionaries, durable when the test says so; `LoopbackServer` puts a Resource
on a socket::

    provider = FakeProvider(lambda question: Reply(text="4", usage=Usage(input=9, output=1)))
    server = LoopbackServer(reactor, provider)
    url = await server.start()
    bridge = RequestBridge(providers=[AnthropicProvider(base_url=url, api_key="k")], recorder=MemoryRecorder())
"""

from .exchange import Ending, Question, RawReply, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .provider import FakeProvider
from .recorder import MemoryRecorder
from .server import LoopbackServer

__all__ = [
    "Ending",
    "FakeProvider",
    "LoopbackServer",
    "MemoryRecorder",
    "Question",
    "RawReply",
    "ReceivedRequest",
    "Reply",
    "Tool",
    "ToolCall",
    "Usage",
]

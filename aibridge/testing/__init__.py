"""Public test doubles, for the tests of this project and of programs that embed it.

`FakeProvider` is a model provider that replies as the test says, in every wire format, and keeps the requests that it
received. `MemoryRecorder` keeps records in dictionaries; the test decides when they are durable. `LoopbackServer`
serves a Resource on a socket::

    provider = FakeProvider(lambda question: Reply(text="4", usage=Usage(input=9, output=1)))
    server = LoopbackServer(reactor, provider)
    url = await server.start()
    bridge = RequestBridge(providers=[AnthropicProvider(base_url=url, api_key="k")], recorder=MemoryRecorder())

`MemoryNetwork` connects all of these without sockets, on a clock that the test sets.
"""

from .exchange import Ending, Question, RawReply, ReceivedRequest, Reply, Tool, ToolCall, Usage
from .network import CannedServer, MemoryNetwork, MemoryTransport
from .provider import FakeProvider
from .recorder import MemoryRecorder
from .server import LoopbackServer, quiet_site

__all__ = [
    "CannedServer",
    "Ending",
    "FakeProvider",
    "LoopbackServer",
    "MemoryNetwork",
    "MemoryRecorder",
    "MemoryTransport",
    "Question",
    "RawReply",
    "ReceivedRequest",
    "Reply",
    "Tool",
    "ToolCall",
    "Usage",
    "quiet_site",
]

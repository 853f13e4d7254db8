"""Gateways with injected tools, and a provider that checks every request."""

from typing import Any

from attrs import frozen
from twisted.internet import reactor

from aibridge import MCPServerSettings, RequestBridge, Toolbox, make_toolbox
from aibridge.recorder import SQLMemory, SQLRecorder
from aibridge.testing import FakeProvider, Reply, ToolCall

from ..tools.checking import Examiner
from ..tools.menu import Menu
from ..tools.serving import Listener
from .gateway import GatewayTestCase
from .talkers import OWN_TOOL, Talker


def ours(tool: str, **arguments: Any) -> ToolCall:
    """Return a call of a tool that the gateway offers."""
    return ToolCall(f"bmcp_menu_{tool}", arguments)


def theirs(**arguments: Any) -> ToolCall:
    """Return a call of the client's own tool."""
    return ToolCall(OWN_TOOL, arguments)


@frozen(kw_only=True)
class Gateway:
    """A gateway that shares its database with others."""

    url: str
    bridge: RequestBridge
    recorder: SQLRecorder
    toolbox: Toolbox

    async def stop(self) -> None:
        """Stop the gateway as the end of its process does."""
        await self.bridge.shutdown()
        await self.toolbox.stop()
        await self.recorder.stopService()


class ConversationTestCase(GatewayTestCase):
    """A `Menu`, an `Examiner`, a database, and any number of gateways."""

    async def setUp(self) -> None:
        super().setUp()
        self.examiner = Examiner()
        self.provider = FakeProvider(self.examiner, clock=reactor)
        self.database = f"sqlite:///{self.mktemp()}.sqlite"
        self.upstream = await self.start_provider()
        self.menu = Menu()
        self.listener = Listener(self.menu.server.streamable_http_app())
        self.listener.start()
        self.addCleanup(self._stop_menu)

    async def change_menu(self, without: str, new: str) -> None:
        """Restart the MCP server with other tools."""
        await self.listener.stop()
        self.menu = Menu()
        self.menu.server.remove_tool(without)
        self.menu.server.add_tool(self.menu.echo, name=new)
        self.listener = Listener(self.menu.server.streamable_http_app(), self.listener.port)
        self.listener.start()

    async def open_gateway(
        self, providers: dict[str, Any] | None = None, max_rounds: int = 25, **server: Any
    ) -> Gateway:
        """Start another gateway. ``server`` has settings of its MCP server."""
        recorder = SQLRecorder(self.database, reactor=reactor)
        recorder.startService()
        toolbox = make_toolbox([MCPServerSettings(**self.menu_settings() | server)], reactor)
        toolbox.start()
        await toolbox.settled()
        memory = SQLMemory(self.database, recorder, reactor)
        bridge = self.make_bridge(
            self.upstream, providers, recorder, toolbox=toolbox, memory=memory, max_rounds=max_rounds
        )
        gateway = Gateway(url=self.listen(bridge), bridge=bridge, recorder=recorder, toolbox=toolbox)
        self.addCleanup(gateway.stop)
        return gateway

    def menu_settings(self) -> dict[str, Any]:
        """Return the settings of the MCP server."""
        return {"name": "menu", "url": f"http://127.0.0.1:{self.listener.port}/mcp"}

    def talk(self, talker: type[Any], url: str, streaming: bool = True, **members: Any) -> Any:
        """Return a client that talks to that gateway."""
        made: Talker = talker(url, streaming, **members)
        self.addCleanup(made.close)
        return made

    def expect(self, *replies: Reply) -> None:
        """Set the model's next replies."""
        self.examiner.say(*replies)

    def assert_all_right(self) -> None:
        """Check that the provider found no mistake and has sent all its replies."""
        self.assertEqual((self.examiner.problems, len(self.examiner.sayings)), ([], 0))

    def offered(self) -> list[list[str]]:
        """Return the names of the gateway's tools in each request to the provider."""
        return [
            [name for tool in document.get("tools") or [] if (name := _name(tool)).startswith("bmcp_")]
            for document in self.examiner.documents
        ]

    async def _stop_menu(self) -> None:
        await self.listener.stop()


def _name(tool: dict[str, Any]) -> str:
    return str(tool.get("name") or tool["function"]["name"])

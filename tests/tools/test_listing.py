"""Lists of tools that are not as MCP says, too long, or missing."""

import logging
from typing import Any

from aibridge.tools.mcp_session import ServerSession
from aibridge.tools.toolbox import Toolbox

from .raw import RawServer
from .serving import LeavesNothing

OBJECT: dict[str, Any] = {"type": "object"}

MALFORMED: list[tuple[object, str, str]] = [
    (None, "entry 2", "it is no object"),
    ("text", "entry 2", "it is no object"),
    ({}, "entry 2", "it has no name"),
    ({"name": 7, "inputSchema": OBJECT}, "entry 2", "its name is wrong"),
    ({"name": "", "inputSchema": OBJECT}, "entry 2", "it has no name"),
    ({"name": None, "inputSchema": OBJECT}, "entry 2", "it has no name"),
    ({"name": "bad"}, "bad", "it has no inputSchema"),
    ({"name": "bad", "inputSchema": None}, "bad", "it has no inputSchema"),
    ({"name": "bad", "inputSchema": []}, "bad", "it has no inputSchema"),
    ({"name": "bad", "inputSchema": OBJECT, "description": 7}, "bad", "its description is wrong"),
    ({"name": "bad", "inputSchema": OBJECT, "outputSchema": {"properties": {}}}, "bad", "its outputSchema"),
    ({"name": "bad", "inputSchema": OBJECT, "outputSchema": 7}, "bad", "its outputSchema"),
    ({"name": "bad", "inputSchema": OBJECT, "annotations": "odd"}, "bad", "its annotations"),
    ({"name": "bad", "inputSchema": OBJECT, "annotations": {"readOnlyHint": "perhaps"}}, "bad", "its annotations"),
    ({"name": "first", "inputSchema": OBJECT}, "first (entry 2)", "listed twice"),
]


class ListingTests(LeavesNothing):
    """Lists from a server that sends them as a test wants."""

    async def listed(self, result: dict[str, Any]) -> ServerSession:
        """Return a session with a server that sends this result for ``tools/list``."""
        listener = await self.serve(RawServer({"tools/list": result}))
        return await self.session(url=f"http://127.0.0.1:{listener.port}/mcp")

    async def test_malformed(self) -> None:
        """A wrong entry hides only itself, and the status says which it was and what is wrong."""
        for entry, label, reason in MALFORMED:
            around = [{"name": name, "inputSchema": OBJECT} for name in ("first", "last")]
            session = await self.listed({"tools": [around[0], entry, around[1]]})
            self.assertEqual((session.state, [tool.name for tool in session.tools]), ("up", ["first", "last"]), entry)
            [left] = Toolbox([session]).status()[0]["left_out"]
            self.assertEqual((left["tool"], left["api"]), (label, None))
            self.assertIn(reason, left["reason"])

    async def test_schemas(self) -> None:
        """A schema that MCP's older versions refuse is no fault of the entry: each API may get it in another form."""
        schemas: list[Any] = [True, {}, {"anyOf": [OBJECT]}, {"type": ["object", "null"]}, {"properties": {"a": True}}]
        tools = [{"name": f"t{n}", "inputSchema": schema} for n, schema in enumerate(schemas)]
        session = await self.listed({"tools": tools})
        self.assertEqual([tool.schema for tool in session.tools], schemas)
        for api in ("messages", "chat/completions", "responses"):
            offered = Toolbox([session]).toolset().offered(api).tools
            self.assertEqual({tool.schema["type"] for tool in offered}, {"object"})
            self.assertEqual(len(offered), len(schemas))

    async def test_no_list(self) -> None:
        """A server that does not know ``tools/list``, or has no list, is up without tools."""
        for result in ({"error": {"code": -32601, "message": "Method not found"}}, {"tools": []}, {"tools": None}):
            session = await self.listed(result)
            self.assertEqual((session.state, session.tools, session.last_error), ("up", (), None))

    async def test_other_errors(self) -> None:
        """Any other error means that the server can't be used now."""
        session = await self.listed({"error": {"code": -32603, "message": "out of order"}})
        self.assertEqual((session.state, session.last_error), ("down", "out of order"))

    async def test_odd_cursor(self) -> None:
        """A cursor that is no text ends the list."""
        session = await self.listed({"tools": [{"name": "a", "inputSchema": OBJECT}], "nextCursor": 7, "ttlMs": "x"})
        self.assertEqual([tool.name for tool in session.tools], ["a"])

    async def test_long(self) -> None:
        """A list of 1.5 MB is read, whatever the bound for results is."""
        tools = [{"name": f"t{n}", "inputSchema": OBJECT, "description": "x" * 15_000} for n in range(100)]
        listener = await self.serve(RawServer({"tools/list": {"tools": tools}}))
        session = await self.session(url=f"http://127.0.0.1:{listener.port}/mcp", max_result_bytes=1000)
        self.assertEqual((session.state, len(session.tools)), ("up", 100))

    def setUp(self) -> None:
        super().setUp()
        logging.getLogger("mcp").setLevel(logging.CRITICAL)

"""An MCP server that sends whatever a test wants, in the form that any protocol version of 2025 has."""

import json
from collections.abc import Mapping
from typing import Any

JSON = [(b"content-type", b"application/json")]


class RawServer:
    """An ASGI application. `results` holds the result of each method; an ``error`` key in one makes it an error."""

    def __init__(self, results: Mapping[str, dict[str, Any]]) -> None:
        self.results = dict(results)
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await _respond(send, 405, b"")
            return
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        request = json.loads(body)
        self.requests.append(request)
        if "id" not in request:
            await _respond(send, 202, b"")
        elif request["method"] == "server/discover":
            await _respond(send, 400, b"")
        else:
            await _respond(send, 200, json.dumps(self._response(request)).encode())

    def _response(self, request: dict[str, Any]) -> dict[str, Any]:
        head = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] == "initialize":
            info = {"name": "raw", "version": "1"}
            return head | {
                "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
            }
        result = self.results.get(request["method"], {"error": {"code": -32601, "message": "Method not found"}})
        return head | ({"error": result["error"]} if "error" in result else {"result": result})


async def _respond(send: Any, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": JSON})
    await send({"type": "http.response.body", "body": body})

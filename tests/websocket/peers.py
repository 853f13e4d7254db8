"""The two peers of a gateway on a WebSocket, scripted by tests. They frame messages themselves, and hide nothing."""

import json
import os
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha1
from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CODEX_AGENT = "codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb (codex_exec; 0.169.0)"


class Peer(Protocol):
    """One side of a WebSocket, after a handshake that its subclass makes."""

    masks = False

    def __init__(self) -> None:
        self.buffer = b""
        self.head = b""
        """The head of the other side's part of the handshake."""
        self.is_open = False
        self.messages: list[bytes] = []
        self.fragments: list[bytes] = []
        self.pings: list[bytes] = []
        self.pongs = 0
        self.close_frame: tuple[int | None, str] | None = None
        """The code and reason of the other side's close frame."""
        self.lost = False
        self.is_compressed = False
        """True if the last frame's message was compressed."""
        self.answers_pings = True
        self.answers_close = True

    @property
    def events(self) -> list[dict[str, Any]]:
        """The messages, parsed."""
        return [json.loads(message) for message in self.messages]

    @property
    def types(self) -> list[str]:
        """The messages' types."""
        return [event.get("type") for event in self.events]

    @property
    def headers(self) -> dict[str, list[str]]:
        """The headers of the handshake, by name in lower case."""
        found: dict[str, list[str]] = {}
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            if name:
                found.setdefault(name.lower(), []).append(value)
        return found

    def send(self, event: Mapping[str, Any] | bytes) -> None:
        """Send a text message."""
        self.frame(TEXT, event if isinstance(event, bytes) else json.dumps(event).encode())

    def frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        final: bool = True,
        length: int | None = None,
        compressed: bool = False,
    ) -> None:
        """Send any frame. `length` is the one that its head tells."""
        opcode |= 0x40 if compressed else 0
        size = len(payload) if length is None else length
        mask_bit = 0x80 if self.masks else 0
        if size < 126:
            head = struct.pack("!BB", (0x80 if final else 0) | opcode, mask_bit | size)
        elif size < 65536:
            head = struct.pack("!BBH", (0x80 if final else 0) | opcode, mask_bit | 126, size)
        else:
            head = struct.pack("!BBQ", (0x80 if final else 0) | opcode, mask_bit | 127, size)
        if self.masks:
            mask = os.urandom(4)
            head += mask
            repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
        self.transport.write(head + payload)

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Send a close frame."""
        self.answers_close = False
        self.frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())

    def cut(self) -> None:
        """Drop the connection."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        if not self.head:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self.head, self.buffer = head, rest
            self.shake_hands()
        while self.is_open and self._read_frame():
            pass

    def shake_hands(self) -> None:
        """The other side's head is there."""

    def received(self, message: bytes) -> None:
        """A whole message is there."""

    def _read_frame(self) -> bool:
        if len(self.buffer) < 2:
            return False
        first, second = self.buffer[0], self.buffer[1]
        size, at = second & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(self.buffer[2 : 2 + width], "big"), 2 + width
        mask = self.buffer[at : at + 4] if second & 0x80 else b""
        at += len(mask)
        if len(self.buffer) < at + size:
            return False
        payload, self.buffer = self.buffer[at : at + size], self.buffer[at + size :]
        if mask:
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.is_compressed = bool(first & 0x40)
        self._take(first & 0x0F, bool(first & 0x80), payload)
        return True

    def _take(self, opcode: int, final: bool, payload: bytes) -> None:
        if opcode == PING:
            self.pings.append(payload)
            if self.answers_pings:
                self.frame(PONG, payload)
        elif opcode == PONG:
            self.pongs += 1
        elif opcode == CLOSE:
            code = struct.unpack("!H", payload[:2])[0] if payload else None
            self.close_frame = code, payload[2:].decode()
            if self.answers_close:
                self.frame(CLOSE, payload[:2])
                self.transport.loseConnection()
        else:
            self.fragments.append(payload)
            if final:
                message, self.fragments = b"".join(self.fragments), []
                self.messages.append(message)
                self.received(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self.is_open = False


class ClientPeer(Peer):
    """A client that asks for a WebSocket as soon as it is connected."""

    masks = True

    def __init__(self, target: str = "/openai/v1/responses", headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.target = target
        self.key = b64encode(os.urandom(16)).decode()
        self.request_headers = {
            "Host": "gateway.test",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self.key,
        } | dict(headers or {})

    @property
    def status(self) -> int:
        """The status of the handshake's response; 0 before it."""
        return int(self.head.split(b" ")[1]) if self.head else 0

    @property
    def body(self) -> bytes:
        """The body of a response that is no 101."""
        return self.buffer

    def connectionMade(self) -> None:
        lines = [f"GET {self.target} HTTP/1.1", *(f"{k}: {v}" for k, v in self.request_headers.items()), "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1"))

    def shake_hands(self) -> None:
        if self.status == 101:
            accept = b64encode(sha1(self.key.encode() + _MAGIC).digest()).decode()
            assert self.headers["sec-websocket-accept"] == [accept]
            self.is_open = True

    def create(self, text: str | None = None, **members: Any) -> None:
        """Send a ``response.create``."""
        given = [] if text is None else [message_item(text)]
        self.send(
            {"type": "response.create", "model": "gpt-5.5", "stream": True, "store": False, "input": given} | members
        )


class ProviderPeer(Peer):
    """A provider's side of one socket."""

    def __init__(self, provider: "ScriptedProvider") -> None:
        super().__init__()
        self.provider = provider
        self.answered = 0

    def shake_hands(self) -> None:
        self.provider.handshakes.append(self)
        if self.provider.refusal is not None:
            self.transport.write(self.provider.refusal)
            self.transport.loseConnection()
            return
        if not self.provider.accepts:
            return
        [key] = self.headers["sec-websocket-key"]
        accept = b64encode(sha1(key.encode() + _MAGIC).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {accept}", *(f"{k}: {v}" for k, v in self.provider.headers.items()), "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1"))
        self.is_open = True
        self.provider.peers.append(self)

    def received(self, message: bytes) -> None:
        if self.provider.on_message is not None:
            self.provider.on_message(self, json.loads(message))

    # The events of an answer

    def answer(
        self,
        text: str = "Hello.",
        *,
        response_id: str = "",
        lane: str | None = None,
        usage: Any = None,
        items: Any = None,
    ) -> str:
        """Send a whole answer. Return its id."""
        response_id = self.begin(response_id, lane=lane)
        if items is None:
            self.delta(text, lane=lane)
        self.end(text, response_id, lane=lane, usage=usage, items=items)
        return response_id

    def begin(self, response_id: str = "", lane: str | None = None) -> str:
        """Send the first event of an answer."""
        self.answered += 1
        response_id = response_id or f"resp_{id(self)}_{self.answered}"
        response = {
            "id": response_id,
            "object": "response",
            "status": "in_progress",
            "model": "gpt-5.5-x",
            "output": [],
        }
        self.event({"type": "response.created", "sequence_number": 0, "response": response}, lane)
        return response_id

    def delta(self, text: str, lane: str | None = None, number: int = 1) -> None:
        """Send a piece of text, in the compact form that providers use."""
        event = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": text}
        event |= {"sequence_number": number} | ({"stream_id": lane} if lane else {})
        self.send(json.dumps(event, separators=(",", ":")).encode())

    def end(
        self,
        text: str,
        response_id: str,
        *,
        lane: str | None = None,
        usage: Any = None,
        items: Any = None,
        kind: str = "response.completed",
        number: int = 9,
        **members: Any,
    ) -> None:
        """Send the last event of an answer."""
        if items is None:
            content = [{"type": "output_text", "text": text}]
            items = [{"type": "message", "id": "msg_1", "role": "assistant", "content": content, "status": "completed"}]
        for place, item in enumerate(items):
            done = {
                "type": "response.output_item.done",
                "output_index": place,
                "item": item,
                "sequence_number": number - 1,
            }
            self.event(done, lane)
        response = {"id": response_id, "object": "response", "model": "gpt-5.5-x", "output": items}
        response |= {"status": kind.removeprefix("response."), "usage": usage or USAGE} | members
        self.event({"type": kind, "sequence_number": number, "response": response}, lane)

    def event(self, event: dict[str, Any], lane: str | None = None) -> None:
        """Send an event on a lane."""
        self.send(event | ({"stream_id": lane} if lane else {}))


USAGE = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 100},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 150,
}


class ScriptedProvider(Factory):
    """A provider of WebSockets."""

    noisy = False

    def __init__(self, on_message: Callable[[ProviderPeer, dict[str, Any]], None] | None = None) -> None:
        self.on_message = on_message
        self.headers = {"x-codex-turn-state": "state-1", "X-Models-Etag": "e1", "openai-model": "gpt-5.5-x"}
        self.refusal: bytes | None = None
        """The whole response to each handshake; None to accept."""
        self.accepts = True
        self.handshakes: list[ProviderPeer] = []
        self.peers: list[ProviderPeer] = []

    @property
    def peer(self) -> ProviderPeer:
        """The newest socket."""
        return self.peers[-1]

    def buildProtocol(self, addr: object) -> ProviderPeer:
        return ProviderPeer(self)


class Tunnels(Factory):
    """An HTTP proxy that connects everybody with one server."""

    noisy = False

    def __init__(self, server: Factory) -> None:
        self.server = server
        self.asked: list[bytes] = []
        """The first lines of the requests."""

    def buildProtocol(self, addr: object) -> "_Tunnel":
        return _Tunnel(self)


class _Tunnel(Protocol):
    def __init__(self, proxy: Tunnels) -> None:
        self.proxy = proxy
        self.head = b""
        self.server: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self.server is not None:
            self.server.dataReceived(data)
            return
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            self.proxy.asked.append(self.head.split(b"\r\n")[0])
            self.transport.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            self.server = self.proxy.server.buildProtocol(None)
            self.server.makeConnection(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.server is not None:
            self.server.connectionLost(reason)


def message_item(text: str) -> dict[str, Any]:
    """A user's message, as an input item."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def refusal(status: int, body: bytes, **headers: str) -> bytes:
    """A response that refuses a handshake."""
    lines = [f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body

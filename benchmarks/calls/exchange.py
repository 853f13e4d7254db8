"""A client and a provider on plain sockets and threads of their own: only the gateway runs on the reactor."""

import socket
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

from attrs import Factory, define

from benchmarks.bodies import agent_request

SMALL_BODY = 1_300
SECONDS_TO_WAIT = 10
MESSAGE = (
    b'{"id":"msg_benchmark","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":'
    b'[{"type":"text","text":"lorem ipsum dolor sit amet"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":25,"output_tokens":150}}'
)
HEAD = b"HTTP/1.1 200 OK\r\nrequest-id: req_benchmark\r\ncontent-type: "
STREAM_HEAD = (
    HEAD + b"text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def chunk(name: str, members: str = "") -> bytes:
    """One event as one chunk, as providers send them."""
    event = f'event: {name}\ndata: {{"type":"{name}"{members}}}\n\n'.encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


FIRST_EVENTS = chunk(
    "message_start",
    ',"message":{"id":"msg_benchmark","type":"message","role":"assistant","content":[],"model":"claude-sonnet-4-5",'
    '"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}',
) + chunk("content_block_start", ',"index":0,"content_block":{"type":"text","text":""}')
DELTA = chunk("content_block_delta", ',"index":0,"delta":{"type":"text_delta","text":"lorem ipsum dolor sit amet, "}')
END_OF_DELTA = DELTA[-30:]
"""How a client's read ends: events that arrive together leave the gateway as one chunk."""
END_OF_STREAM = b"0\r\n\r\n"
LAST_EVENTS = (
    chunk("content_block_stop", ',"index":0')
    + chunk("message_delta", ',"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":300}')
    + chunk("message_stop")
    + END_OF_STREAM
)


@define
class Upstream:
    """A provider that answers each request at once; a stream's events leave one by one, as `send` says."""

    listener: socket.socket = Factory(lambda: socket.create_server(("127.0.0.1", 0)))
    _events: "SimpleQueue[bytes]" = Factory(SimpleQueue)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def start(self) -> None:
        """Accept connections until the process ends."""
        Thread(target=self._accept, daemon=True).start()

    def send(self, events: bytes) -> None:
        """Send these events on the open stream. `LAST_EVENTS` end it."""
        self._events.put(events)

    def _accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        for body in _messages(connection.makefile("rb")):
            for piece in self._stream() if b'"stream":true' in body else [_with_length(MESSAGE)]:
                connection.sendall(piece)

    def _stream(self) -> Iterator[bytes]:
        yield STREAM_HEAD + FIRST_EVENTS
        while (events := self._events.get()) is not LAST_EVENTS:
            yield events
        yield events


@define
class Client:
    """A client with one kept-alive connection to the gateway."""

    port: int
    _socket: socket.socket = Factory(
        lambda self: socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS_TO_WAIT), takes_self=True
    )

    def send(self, *, streaming: bool) -> None:
        """Send a small request in one piece."""
        body = agent_request(SMALL_BODY, streaming=streaming)
        self._socket.sendall(
            b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: benchmark\r\n"
            b"content-type: application/json\r\nanthropic-version: 2023-06-01\r\nx-api-key: sk-benchmark\r\n"
            b"content-length: %d\r\n\r\n%b" % (self.port, len(body), body)
        )

    def receive(self, end: bytes) -> None:
        """Read until what arrived ends with `end`."""
        received = b""
        while not received.endswith(end):
            piece = self._socket.recv(65536)
            if not piece:
                raise RuntimeError(f"the gateway closed the connection after {received!r}")
            received += piece


def _messages(connection: BinaryIO) -> Iterator[bytes]:
    """The bodies of the requests on a connection."""
    while connection.readline():
        length = 0
        while (line := connection.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        yield connection.read(length)


def _with_length(body: bytes) -> bytes:
    return HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

"""The clients of a soak: each kind of traffic is a coroutine, from its connection to its end."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

from attrs import Factory, define

PATHS = {
    "/anthropic/v1/messages": lambda prompt: {"max_tokens": 50, "messages": [{"role": "user", "content": prompt}]},
    "/openai/v1/chat/completions": lambda prompt: {"messages": [{"role": "user", "content": prompt}]},
    "/openai/v1/responses": lambda prompt: {"input": prompt},
}
TOOL = {"name": "visible", "description": "", "input_schema": {"type": "object", "properties": {}}}
PATIENCE = 60.0
"""Seconds for one exchange."""


@define
class Traffic:
    """Clients that send requests one after the other, each of a random kind."""

    port: int
    ended: Counter[str] = Factory(Counter)
    """The exchanges, by kind."""
    failures: list[str] = Factory(list)
    """What was not as it should be."""

    async def run(self, clients: int, seconds: float) -> None:
        """Send requests for so long, and wait for their ends."""
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._client(until) for _ in range(clients)))

    async def _client(self, until: float) -> None:
        kinds, weights = zip(*KINDS.items(), strict=True)
        while asyncio.get_running_loop().time() < until:
            [kind] = random.choices(kinds, [weight for _, weight in weights])
            try:
                async with asyncio.timeout(PATIENCE):
                    await KINDS[kind][0](self.port)
                self.ended[kind] += 1
            except Exception as failure:
                self.failures.append(f"{kind}: {failure!r}")
                await asyncio.sleep(0.1)


class Connection:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        """Leave, whatever comes."""
        self.writer.transport.abort()

    async def send(self, path: str, body: bytes) -> None:
        """Send a request."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        self.writer.write(f"{head}\r\n".encode() + body)
        await self.writer.drain()

    async def receive(self, pause: float = 0.0) -> tuple[int, bytes]:
        """Return status and body of an answer. With a pause after each piece the client is a slow one."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, lowered = int(head.split(b" ")[1]), head.lower()
        if b"content-length:" in lowered:
            return status, await self.reader.readexactly(int(lowered.split(b"content-length:")[1].split(b"\r\n")[0]))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
            if pause:
                await asyncio.sleep(pause)
        await self.reader.readexactly(2)
        return status, body


def request(prompt: str, *, stream: bool | None = None, tools: bool = False) -> tuple[str, bytes]:
    """Return path and body of a request in one of the APIs; those with tools of the client are Anthropic's."""
    path = "/anthropic/v1/messages" if tools else random.choice([*PATHS])
    streams = random.random() < 0.7 if stream is None else stream
    body = {"model": "soak-1", "stream": streams, **PATHS[path](prompt)} | ({"tools": [TOOL]} if tools else {})
    return path, json.dumps(body).encode()


async def exchange(port: int, prompt: str, expected: int = 200, *, count: int = 1, tools: bool = False) -> None:
    """Have whole exchanges on one connection."""
    with closing(await Connection.open(port)) as connection:
        for _ in range(count):
            await connection.send(*request(prompt, tools=tools))
            status, body = await connection.receive()
            if status != expected or not body:
                raise ValueError(f"status {status}, {body[:200]!r}")


async def leave_early(port: int) -> None:
    """Leave in the middle of a stream, at any moment."""
    with closing(await Connection.open(port)) as connection:
        await connection.send(*request("complete", stream=True))
        await asyncio.sleep(random.random() * 0.1)


async def broken_off(port: int) -> None:
    """Get an answer that the provider breaks off, or that stops."""
    with closing(await Connection.open(port)) as connection:
        await connection.send(*request(random.choice(["cut", "cut", "cut", "stall"]), stream=True))
        with suppress(asyncio.IncompleteReadError):
            await connection.receive()


async def slow_reader(port: int) -> None:
    """Read a large stream slowly, and sometimes not to its end."""
    with closing(await Connection.open(port)) as connection:
        await connection.send(*request("large", stream=True))
        with suppress(TimeoutError):
            async with asyncio.timeout(random.choice([1.0, 2.0, 20.0])):
                await connection.receive(pause=0.002)


async def refused(port: int) -> None:
    """Send what the gateway refuses, and half a request."""
    with closing(await Connection.open(port)) as connection:
        await connection.send("/nobody/v1/messages", b"{}")
        await connection.receive()
        connection.writer.write(b"POST /anthropic/v1/messages HTTP/1.1\r\nContent-Le")
        await connection.writer.drain()


async def passed_through(port: int) -> None:
    """Ask for the list of models."""
    with closing(await Connection.open(port)) as connection:
        connection.writer.write(b"GET /openai/v1/models HTTP/1.1\r\nHost: soak\r\n\r\n")
        await connection.receive()


KINDS: dict[str, tuple[Callable[[int], Awaitable[None]], float]] = {
    "complete": (lambda port: exchange(port, "complete", count=5), 30),
    "injected tool": (lambda port: exchange(port, "hidden"), 15),
    "client's tool": (lambda port: exchange(port, "visible", tools=True), 10),
    "large prompt": (lambda port: exchange(port, "complete " + "x" * 200_000), 5),
    "provider's error": (lambda port: exchange(port, "500", 500), 8),
    "provider's refusal": (lambda port: exchange(port, "429", 429), 5),
    "broken off": (broken_off, 6),
    "client leaves": (leave_early, 12),
    "slow reader": (slow_reader, 2),
    "refused": (refused, 5),
    "passed through": (passed_through, 5),
}
"""For each kind of traffic its coroutine, and how often it occurs compared with the others."""

"""A gateway in a process group of its own, that can be killed, and clients that remember what they saw of it."""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

import aibridge

from ..chain.apis import CHAT, MESSAGES, Api
from ..chain.client import Client

_TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "aibridge"]
_CONFIG = """
[server]
listen = "tcp:0:interface=127.0.0.1"
admin_listen = "off"
drain_seconds = 5
[database]
url = "{database}"
spool_dir = "{folder}/spool"
commit_timeout = 0.2
[providers.anthropic]
base_url = "{upstream}"
api_key = "central"
[providers.openai]
base_url = "{upstream}/v1"
api_key = "central"
"""


def pause(seconds: float) -> "Deferred[None]":
    return deferLater(reactor, seconds, lambda: None)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition; the test's own timeout bounds it."""
    while not condition():
        await pause(0.02)


class Gateway:
    """``twistd aibridge``, and what a supervisor can do with it."""

    def __init__(self, folder: Path, database: str, upstream: str, further: str = "") -> None:
        self.spool = folder / "spool"
        self._folder = folder
        self._starts = count()
        self._process: subprocess.Popen[bytes] | None = None
        config = _CONFIG.format(folder=folder, database=database, upstream=upstream)
        (folder / "aibridge.toml").write_text(config + further)

    async def start(self) -> int:
        """Start it and return its port, once it listens."""
        log = self._folder / f"{next(self._starts)}.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*_TWISTD, "--config", str(self._folder / "aibridge.toml")],
                env={"PYTHONPATH": str(Path(aibridge.__file__).parents[1]), "PATH": os.environ["PATH"]},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        await until(lambda: self._ended() or "database: " in log.read_text())
        found = re.search(r"gateway: http://[^:]+:(\d+)", log.read_text())
        assert found is not None, log.read_text()
        return int(found[1])

    def kill(self) -> None:
        """Kill the whole group at once, as the kernel does when memory is out."""
        if self._process is not None and not self._ended():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    async def stop(self) -> int:
        """Stop it in order, and return the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await until(self._ended)
        return self._process.wait()

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


@define(eq=False)
class Seen:
    """The part of one exchange that a client saw. Each exchange has a session of its own, so its row can be found."""

    session: str
    prompt: str
    complete: bool = False


class Clients:
    """Clients that send one request after the other, some as streams, until the gateway is gone."""

    def __init__(self, chance: random.Random) -> None:
        self.seen: list[Seen] = []
        self._chance = chance
        self._names = count()

    def ask(self, port: int, clients: int = 12) -> "Deferred[Any]":
        """Fires when the gateway is gone for all of them."""
        return gatherResults([ensureDeferred(self._client(port)) for _ in range(clients)])

    async def _client(self, port: int) -> None:
        try:
            while True:
                endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
                client: Client = await connectProtocol(endpoint, Client())
                await self._exchange(client, self._chance.choice([MESSAGES, CHAT]), self._chance.random() < 0.7)
        except ConnectError:
            return

    async def _exchange(self, client: Client, api: Api, stream: bool) -> None:
        name = f"s{next(self._names)}"
        seen = Seen(session=name, prompt=f"prompt of {name}")
        self.seen.append(seen)
        headers = {"User-Agent": "claude-cli/2", "X-Claude-Code-Session-Id": name}
        client.send("POST", api.path, api.body(seen.prompt, stream=stream), headers)
        await client.done()
        seen.complete = bool(client.answers) and client.answer.whole and client.answer.status == 200
        client.leave()
        await client.when(lambda: client.closed)

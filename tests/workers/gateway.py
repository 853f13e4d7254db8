"""A gateway with workers, in processes of its own, before a fake provider in the tests' process."""

import os
import re
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from aibridge.record import schema
from aibridge.testing import Ending, FakeProvider, Reply
from aibridge.testing.exchange import Question

from ..chain.apis import MESSAGES, SECRET
from ..chain.client import Answer, Client
from ..integration.gateway import GatewayTestCase
from ..record.databases import rows

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
ENDLESS = "endless"
LONG = "long"
"""Prompts of answers that do not end, and of those that take a second or two."""


def answer(question: Question) -> Reply:
    """The provider's replies."""
    text = " ".join(["word"] * 40)
    if question.prompt == ENDLESS:
        return Reply(text=text, stop_after=4, ending=Ending.STALL)
    return Reply(text=text if question.prompt == LONG else "pong")


class GatewayProcesses(ProcessProtocol):
    """The parent's process: what it prints, and how it ends."""

    def __init__(self) -> None:
        self.printed = ""
        self.announced: Deferred[None] = Deferred()
        self.ended: Deferred[int | None] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Its last line is how to point Codex at it, unless it listens on a Unix socket."""
        self.printed += data.decode()
        if "database: " in self.printed and not self.announced.called:
            self.announced.callback(None)

    def processEnded(self, reason: Failure) -> None:
        """Its exit status; None where a signal ended it."""
        if not self.announced.called:
            self.announced.callback(None)
        self.ended.callback(reason.value.exitCode)


class WorkersTestCase(GatewayTestCase):
    """Two workers."""

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.provider = FakeProvider(answer, clock=reactor, delay=0.05)
        folder = TemporaryDirectory()  # a socket's path must be short
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.database = f"sqlite:///{folder.name}/aibridge.sqlite"
        self.gateway = GatewayProcesses()

    async def start_gateway(
        self, config: str = "", listen: str = "tcp:0:interface=127.0.0.1", twistd: tuple[str, ...] = ("--nodaemon",)
    ) -> None:
        """Starts it, and waits until it serves or has failed."""
        upstream = await self.start_provider()
        (self.folder / "aibridge.toml").write_text(
            f'[server]\nworkers = 2\nlisten = "{listen}"\nadmin_listen = "tcp:0:interface=127.0.0.1"\n'
            f'[providers.anthropic]\nbase_url = "{upstream}"\napi_key = "{SECRET}"\n[database]\nurl = "{self.database}"\n{config}'
        )
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        command = [*TWISTD, *twistd, "aibridge", "--config", "aibridge.toml"]

        self.process = reactor.spawnProcess(
            self.gateway, "/usr/bin/env", ["env", "setsid", *command], env=environment, path=str(self.folder)
        )
        self.addCleanup(self.end)
        await self.gateway.announced
        self.read_addresses(self.gateway.printed)

    def read_addresses(self, log: str) -> None:
        """Learn from the log where it listens."""
        found = dict(re.findall(r"(gateway|operator's site): (\S+)", log))
        self.url, self.operators = found.get("gateway", ""), found.get("operator's site", "")

    async def end(self) -> None:
        """Whatever became of it."""
        if not self.gateway.ended.called:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.gateway.ended

    async def connect(self, url: str, client: Client | None = None) -> Client:
        """A client's connection, over a Unix socket too."""
        if not url.startswith("unix:"):
            return await super().connect(url, client)
        connected: Client = await connectProtocol(clientFromString(reactor, url), Client())
        self.addCleanup(self._close_client, connected)
        return connected

    def workers(self) -> list[int]:
        """The workers' processes."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def open_pipes(self) -> int:
        """The number of the parent's pipes; files of the database come and go."""
        files = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return len([file for file in files if str(file.readlink()).startswith("pipe:")])

    async def get(self, path: str) -> Answer:
        """A page of the operator's site."""
        client = await self.connect(self.operators)
        client.send("GET", path)
        await client.done()
        return client.answer

    async def status(self) -> int:
        """The status of a request on a connection of its own."""
        return (await self.answer(self.url, MESSAGES, MESSAGES.body())).status

    async def sample(self, name: str) -> float:
        """The sum of all samples of that name in the metrics."""
        page = (await self.get("/metrics")).body.decode()
        families = text_string_to_metric_families(page)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    async def streams(self, count: int, prompt: str = ENDLESS) -> list[Client]:
        """Clients in the middle of their answers."""
        clients = [await self.ask(self.url, MESSAGES, MESSAGES.body(prompt, stream=True)) for _ in range(count)]
        for client in clients:
            await client.when(lambda client=client: client.answers and client.answer.body)
            self.assertEqual(client.answer.status, 200, client.answer.body)
        return clients

    async def streams_in_both(self, prompt: str = ENDLESS) -> list[Client]:
        """As many as it takes until both workers have some."""
        clients = await self.streams(4, prompt)
        while len({row["process_id"] for row in self.with_status("in_progress")}) < 2:
            clients += await self.streams(1, prompt)
        return clients

    def with_status(self, status: str) -> list[dict[str, Any]]:
        """The interceptions with that status."""
        return [row for row in rows(self.database, schema.interceptions) if row["status"] == status]

    async def until_status(self, status: str, count: int) -> None:
        """Until so many interceptions have that status."""
        while len(self.with_status(status)) != count:
            await deferLater(reactor, 0.1)

    async def until_ready(self, ready: bool = True) -> dict[str, Any]:
        """The report of the first moment when that is so."""
        while (report := (await self.get("/readyz")).json)["ready"] is not ready:
            await deferLater(reactor, 0.05)
        return report

    async def until_refused(self) -> None:
        """Until nobody can connect any more."""
        while True:
            try:
                client = await self.connect(self.url)
            except error.ConnectError:
                return
            await self._close_client(client)

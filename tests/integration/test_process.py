"""``twistd -n aibridge --demo``, a process of its own, as its users and its operator meet it."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import aibridge

from ..chain.apis import APIS, MESSAGES, OWN
from ..chain.exchanges import in_database
from .gateway import GatewayTestCase

ROOT = str(Path(aibridge.__file__).parents[1])
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "aibridge", "--demo"]
LISTENERS = ["--listen", "tcp:0:interface=127.0.0.1", "--admin-listen", "tcp:0:interface=127.0.0.1"]
LONG = " ".join(["word"] * 60)  # more than a second at the demo's pace
COUNTED = {
    "interceptions": {"provider", "model", "status", "route", "method", "initiator_id", "client"},
    "interceptions_inflight": {"provider", "model", "route"},
    "interceptions_duration_seconds": {"provider", "model"},
    "passthrough": {"provider", "route", "method"},
    "prompts": {"provider", "model", "initiator_id", "client"},
    "tokens": {"provider", "model", "type", "initiator_id", "client"},
    "non_injected_tool_selections": {"provider", "model", "name"},
    "time_to_first_byte_seconds": {"provider", "model"},
    "overhead_seconds": {"provider"},
    "recorder_queue_rows": set(),
    "recorder_commit_seconds": set(),
}
"""The metrics that operators rely on, with their labels; counters without ``_total``, as they are parsed."""


class Gateway(ProcessProtocol):
    """A gateway's process: what it prints, and how it ends."""

    def __init__(self) -> None:
        self.printed = ""
        self.announced: Deferred[dict[str, str]] = Deferred()
        self.ended: Deferred[int | None] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Its log tells where it listens; the last line of that is how to point Codex at it."""
        self.printed += data.decode()
        if "Codex: " in self.printed and not self.announced.called:
            lines = re.findall(r"(gateway|operator's site): (http://\S+)", self.printed)
            self.announced.callback(dict(lines))

    def processEnded(self, reason: Failure) -> None:
        """Its exit status; None where a signal ended it."""
        if not self.announced.called:
            self.announced.errback(AssertionError(self.printed))
        self.ended.callback(reason.value.exitCode)


class ProcessTests(GatewayTestCase):
    """Over sockets, from its start to its end."""

    async def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        self.database = f"sqlite:///{folder.absolute()}/aibridge-demo.sqlite"
        self.gateway = Gateway()
        environment = os.environ | {"PYTHONPATH": ROOT}
        self.process = reactor.spawnProcess(
            self.gateway, TWISTD[0], [*TWISTD, *LISTENERS], env=environment, path=str(folder)
        )
        self.addCleanup(self.end)
        listeners = await self.gateway.announced
        self.url, self.operators = listeners["gateway"], listeners["operator's site"]

    async def end(self) -> None:
        """Whatever became of it."""
        try:
            self.process.signalProcess("KILL")
        except error.ProcessExitedAlready:
            return
        await self.gateway.ended

    async def get(self, path: str) -> Any:
        """A page of the operator's site."""
        client = await self.connect(self.operators)
        client.send("GET", path)
        await client.done()
        return client.answer

    async def test_drain(self) -> None:
        """SIGTERM: no new connection; a stream in flight comes to its end and is recorded; then exit status 0."""
        client = await self.ask(self.url, MESSAGES, MESSAGES.body(LONG, stream=True))
        await client.when(lambda: client.answers and client.answer.body)
        os.kill(self.process.pid, signal.SIGTERM)
        await self.until_refused()
        self.assertFalse(client.answer.whole)
        await client.done()
        self.assertTrue(client.answer.whole)
        self.assertIn(MESSAGES.last, client.answer.body)
        self.assertEqual(await self.gateway.ended, 0, self.gateway.printed)
        [exchange] = in_database(self.database)
        self.assertEqual(exchange.end, ("completed", 200))
        self.assertTrue(exchange.figures["metadata"]["complete"])

    async def test_open_connections(self) -> None:
        """While it drains under load, a request on an open connection is refused in its API's shape, as its last."""
        clients = [await self.ask(self.url, MESSAGES, MESSAGES.body(LONG, stream=True)) for _ in range(20)]
        waiting = [await self.connect(self.url) for _ in APIS]
        for client in clients:
            await client.when(lambda client=client: client.answers and client.answer.body)
        os.kill(self.process.pid, signal.SIGTERM)
        await self.until_refused()
        for other, api in zip(waiting, APIS, strict=True):
            other.send("POST", api.path, api.body())
            other.send("POST", api.path, api.body())
            await other.when(lambda other=other: other.closed)
            self.assertEqual([answer.status for answer in other.answers], [503])
            self.assertTrue(api.error_of(other.answer.json))
            self.assertEqual([other.answer.header(name) for name in ("connection", "retry-after")], ["close", "1"])
        for client in clients:
            await client.done()
            self.assertTrue(client.answer.whole)
        self.assertEqual(await self.gateway.ended, 0, self.gateway.printed)
        self.assertEqual([each.end for each in in_database(self.database)], [("completed", 200)] * 20)

    async def test_in_a_hurry(self) -> None:
        """A second SIGTERM breaks off what is in flight; the client is told, the rows say so, and it is no failure."""
        client = await self.ask(self.url, MESSAGES, MESSAGES.body(LONG * 10, stream=True))
        await client.when(lambda: client.answers and client.answer.body)
        os.kill(self.process.pid, signal.SIGTERM)
        await self.until_refused()
        os.kill(self.process.pid, signal.SIGTERM)
        self.assertEqual(await self.gateway.ended, 0, self.gateway.printed)
        await client.when(lambda: client.closed)
        self.assertFalse(client.answer.whole)
        self.assertTrue(MESSAGES.error_event(bytes(client.answer.body))["message"])
        [exchange] = in_database(self.database)
        self.assertEqual(exchange.end, ("failed", 200))
        self.assertFalse(exchange.figures["metadata"]["complete"])
        self.assertNotIn("Traceback", self.gateway.printed)

    async def until_refused(self) -> None:
        """Until nobody can connect any more."""
        while True:
            try:
                client = await self.connect(self.url)
            except error.ConnectError:
                return
            await self._close_client(client)

    async def test_what_an_operator_sees(self) -> None:
        """After exchanges in every API: metrics of every name with their labels, health, and a log without secrets."""
        for api in APIS:
            for stream, tools in ((False, []), (True, api.tools(["look"]))):
                body = api.body("my-private-prompt", stream=stream, tools=tools)
                answer = await self.answer(self.url, api, body, X_Api_Key=OWN)
                self.assertEqual((answer.status, answer.whole), (200, True))
        client = await self.connect(self.url)
        client.send("GET", "/openai/v1/models")
        await client.done()
        metrics = await self.get("/metrics")
        self.assertEqual(self.labels_in(metrics.body.decode()), COUNTED)
        ready = await self.get("/readyz")
        self.assertEqual((ready.status, ready.json["ready"]), (200, True))
        self.assertEqual((await self.get("/healthz")).status, 200)
        seen = self.gateway.printed + metrics.body.decode()
        self.assertEqual(seen.count(": completed 200"), 6)
        self.assertEqual([text for text in ("my-private-prompt", OWN[4:-2]) if text in seen], [])

    def labels_in(self, page: str) -> dict[str, set[str]]:
        """The labels of the metrics that are counted on; a histogram's own are left out."""
        families = {family.name: family.samples for family in text_string_to_metric_families(page)}
        own = {"le"}
        return {name: {*families[name][0].labels} - own for name in COUNTED if families.get(name)}

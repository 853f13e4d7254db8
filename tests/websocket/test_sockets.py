"""WebSockets on real sockets: with TLS on both sides, on a database that fills up, and in a process that is killed."""

import sqlite3
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from aibridge import OpenAIProvider, RequestBridge
from aibridge.http.server import GatewaySite
from aibridge.http.sockets import sending_at_once
from aibridge.record import schema
from aibridge.recorder import SQLRecorder
from aibridge.testing import MemoryRecorder

from ..chain.exchanges import in_database, in_memory
from ..http.certificates import make_certificate
from ..integration.gateway import LIMITS
from ..record.databases import rows
from ..record.gateway import Gateway, until
from .peers import ClientPeer, ScriptedProvider


class SocketsTestCase(TestCase):
    """A scripted provider on a port of this machine."""

    timeout = 60

    def setUp(self) -> None:
        self.provider = ScriptedProvider(lambda peer, event: peer.answer())
        self.clients: list[ClientPeer] = []
        self.addCleanup(self.disconnect)

    async def disconnect(self) -> None:
        for peer in (*self.clients, *self.provider.peers):
            if not peer.lost:
                peer.cut()
        await until(lambda: all(peer.lost for peer in (*self.clients, *self.provider.peers)))

    def listen(self, factory: Any, certificate: bytes | None = None) -> int:
        """Listen on a port of this machine, with TLS if there is a certificate. Return the port."""
        eager = sending_at_once(reactor)
        if certificate is None:
            port = eager.listenTCP(0, factory, interface="127.0.0.1")
        else:
            options = PrivateCertificate.loadPEM(certificate).options()
            port = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def connect(self, port: int, target: str = "/openai/v1/responses", tls: bool = False) -> ClientPeer:
        """Return a client whose WebSocket is open."""
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        if tls:
            endpoint = wrapClientTLS(CertificateOptions(verify=False), endpoint)
        client = ClientPeer(
            target, {"User-Agent": "OpenAI/Python 3", "Authorization": "Bearer sk-own-0123456789abcdef"}
        )
        self.clients.append(client)
        await connectProtocol(endpoint, client)
        await until(lambda: client.head)
        self.assertEqual(client.status, 101)
        return client

    async def turns(self, client: ClientPeer, number: int = 3) -> None:
        """Let a client ask, and wait for its answer, several times."""
        for n in range(number):
            client.create(f"turn {n} " + "x" * 100_000)
            await until(lambda n=n: client.types.count("response.completed") == n + 1)


class TLSTests(SocketsTestCase):
    """Connections are handed over below TLS, by the gateway's own channel and by that of twisted.web."""

    def test_both_sides(self) -> "Deferred[None]":
        """With TLS to the provider and to the client, all messages come through, and every end is closed."""
        return Deferred.fromCoroutine(self._both_sides())

    async def _both_sides(self) -> None:
        pem = make_certificate("127.0.0.1")
        file = Path(self.mktemp())
        file.write_bytes(pem)
        upstream = f"https://127.0.0.1:{self.listen(self.provider, pem)}/v1"
        recorder = MemoryRecorder()
        bridge = RequestBridge([OpenAIProvider(base_url=upstream, ca_file=str(file))], recorder, reactor=reactor)
        site = GatewaySite(bridge, **LIMITS, reactor=reactor)
        host_site = Site(bridge, reactor=reactor)
        for factory, tls in ((site, True), (site, False), (host_site, True), (host_site, False)):
            client = await self.connect(self.listen(factory, pem if tls else None), tls=tls)
            await self.turns(client)
            client.close(1000, "done")
            await until(lambda client=client: client.lost and self.provider.peer.lost)
            self.assertEqual(self.provider.peer.close_frame, (1000, "done"))
        self.assertEqual({each.end for each in in_memory(recorder)}, {("completed", 200)})
        self.assertEqual(len(recorder.interceptions), 12)
        await bridge.stopService()
        site.stopFactory()


class DatabaseTests(SocketsTestCase):
    """A recorder with a real database."""

    async def test_spool_full(self) -> None:
        """While the database is away requests go to the spool; once that is full they are refused, and the socket stays."""
        folder = Path(self.mktemp())
        folder.mkdir()
        database = folder / "a.sqlite"
        recorder = SQLRecorder(
            f"sqlite:///{database}",
            spool_dir=str(folder / "spool"),
            spool_max_bytes=300_000,
            commit_timeout=0.3,
            reactor=reactor,
        )
        await recorder.startService()
        upstream = f"http://127.0.0.1:{self.listen(self.provider)}/v1"
        bridge = RequestBridge([OpenAIProvider(base_url=upstream)], recorder, reactor=reactor)
        site = GatewaySite(bridge, **LIMITS, reactor=reactor)
        client = await self.connect(self.listen(site))
        await self.turns(client, 1)
        lock = sqlite3.connect(database, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        sent = 0
        while True:
            client.create("turn " + "x" * 2000)
            sent += 1
            await until(lambda sent=sent: client.types.count("response.completed") + client.types.count("error") > sent)
            asked = len(self.provider.peer.messages)
            if asked < sent + 1:
                break  # refused before it was sent; before that, perhaps only an answer's rows had no room
        completed = client.types.count("response.completed")
        last = client.events[-1]
        self.assertEqual((last["status"], last["error"]["code"]), (503, "recording_unavailable"))
        self.assertLess(1, completed)
        lock.execute("ROLLBACK")
        lock.close()
        await until(lambda: recorder.state().database == "up")
        await self.turns_more(client, completed)
        client.cut()
        await bridge.stopService()
        site.stopFactory()
        await recorder.stopService()
        found = in_database(f"sqlite:///{database}")
        self.assertEqual(
            [each.end for each in found if each.end[0] == "completed"], [("completed", 200)] * (completed + 1)
        )

    async def turns_more(self, client: ClientPeer, completed: int) -> None:
        client.create("again")
        await until(lambda: client.types.count("response.completed") == completed + 1)


class CrashTests(SocketsTestCase):
    """A gateway's process that is killed."""

    async def test_killed(self) -> None:
        """What was under way on a socket is ``interrupted`` after the next start, with the figures that were seen."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        url = f"sqlite:///{folder}/a.sqlite"
        gateway = Gateway(folder, url, f"http://127.0.0.1:{self.listen(self.provider)}")
        self.addCleanup(gateway.kill)
        client = await self.connect(await gateway.start())
        await self.turns(client, 1)
        self.provider.on_message = None
        client.create("never answered")
        await until(lambda: len(self.provider.peer.messages) == 2)
        self.provider.peer.begin("resp_killed")
        await until(lambda: client.types[-1] == "response.created")
        await deferLater(reactor, 3.0, lambda: None)
        gateway.kill()
        await until(lambda: client.lost and self.provider.peer.lost)
        await gateway.start()
        await until(lambda: {row["status"] for row in rows(url, schema.interceptions)} == {"completed", "interrupted"})
        self.assertEqual(await gateway.stop(), 0)
        done, killed = in_database(url)
        self.assertEqual((done.end, killed.begun.upstream_requests), (("completed", 200), 1))
        self.assertEqual((killed.response_id, killed.usages[0].metadata["complete"]), ("resp_killed", False))
        self.assertEqual([row.prompt for row in killed.prompts], ["never answered"])

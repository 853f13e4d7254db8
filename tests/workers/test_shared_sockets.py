"""A socket that the parent opens, and on which workers accept connections; here all in one process."""

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from aibridge.service.standalone import with_socket_mode
from aibridge.workers.shared_limits import SharedCounts, memory_file
from aibridge.workers.shared_sockets import Balance, InheritedSocket, open_for_workers

from ..http.certificates import make_certificate


class Greeter(Protocol):
    """A worker's side of a connection: it says which worker it is of."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connectionMade(self) -> None:
        self.transport.write(self.name)


class Client(Protocol):
    """Hears which worker has accepted its connection."""

    def __init__(self) -> None:
        self.greeted: Deferred[bytes] = Deferred()
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.greeted.callback(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


class SharedSocketTests(TestCase):
    """Two workers."""

    timeout = 20

    def setUp(self) -> None:
        self.counts = SharedCounts(memory_file(), 3)
        self.addCleanup(self.counts.close)
        self.ports: list[Any] = []
        self.clients: list[Client] = []

    async def open(self, endpoint: str) -> None:
        """The parent's socket, and the workers' ports on it. A third worker has not started."""
        parents = await open_for_workers(endpoint, reactor)
        self.parents, self.workers, self.ports = parents, [], [parents]
        for number in range(2):
            sockets = InheritedSocket(reactor, os.dup(self.parents.fileno()), Balance(self.counts.connections, number))
            factory = Factory.forProtocol(lambda number=number: Greeter(b"%d" % number))
            self.workers.append(await serverFromString(sockets, with_socket_mode(endpoint)).listen(factory))
        self.ports += self.workers
        self.addCleanup(self.close)

    async def close(self) -> None:
        for client in self.clients:
            client.transport.abortConnection()
        await gatherResults([client.closed for client in self.clients])
        await gatherResults([port.stopListening() for port in self.ports])
        await deferLater(reactor, 0)
        self.clients.clear()
        self.ports.clear()

    async def connect(self, endpoint: str = "", tls: bool = False) -> bytes:
        """The worker that accepts a new connection."""
        where = endpoint or f"tcp:127.0.0.1:{self.parents.getHost().port}"
        client_endpoint = clientFromString(reactor, where)
        if tls:
            client_endpoint = wrapClientTLS(CertificateOptions(verify=False), client_endpoint)
        client = await connectProtocol(client_endpoint, Client())
        self.clients.append(client)
        return await client.greeted

    async def test_balance(self) -> None:
        """Connections are spread evenly, and a worker with fewer takes the next ones."""
        await self.open("tcp:0:interface=127.0.0.1")
        workers = [await self.connect() for _ in range(8)]
        self.assertEqual(workers.count(b"0"), 4)
        for client, worker in [*zip(self.clients, workers, strict=True)]:
            if worker == b"1":
                client.transport.loseConnection()
                await client.closed
                self.clients.remove(client)
        self.assertEqual([await self.connect() for _ in range(4)], [b"1"] * 4)
        self.assertEqual(list(self.counts.connections), [5, 5, 0])

    async def test_busy(self) -> None:
        """A worker that does not come to accept connections keeps nobody waiting; nor does one that stops."""
        await self.open("tcp:0:interface=127.0.0.1")
        self.workers[1].stopReading()
        self.assertEqual([await self.connect() for _ in range(6)], [b"0"] * 6)
        self.workers[1].startReading()
        self.assertEqual([await self.connect() for _ in range(6)], [b"1"] * 6)
        self.ports.remove(self.workers[1])
        await self.workers[1].stopListening()
        self.assertEqual([await self.connect() for _ in range(2)], [b"0"] * 2)
        self.assertLess(self.counts.connections[1], 0)

    async def test_unix(self) -> None:
        """Workers leave the file of a Unix socket alone: it is the parent's."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "socket"
            await self.open(f"unix:{path}")
            self.assertEqual({await self.connect(f"unix:{path}") for _ in range(2)}, {b"0", b"1"})
            self.ports.remove(self.workers[1])
            await self.workers[1].stopListening()
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)
            await self.connect(f"unix:{path}")
            await self.close()
            self.assertFalse(path.exists())

    async def test_tls(self) -> None:
        """An endpoint with a certificate of its own has TLS in every worker."""
        path = Path(self.mktemp())
        path.write_bytes(make_certificate("localhost"))
        await self.open(f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}")
        self.assertEqual({await self.connect(tls=True) for _ in range(2)}, {b"0", b"1"})

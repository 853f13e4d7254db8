"""Connections that send at once, on real sockets: a plain one of Python's at one end, Twisted's at the other."""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, serverFromString
from twisted.internet.interfaces import IPullProducer, IPushProducer, IReactorTCP
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from aibridge.http.sockets import sending_at_once

LOOPBACK = "127.0.0.1"
MORE_THAN_A_SOCKET_TAKES = 20_000_000
RESET = b"\1\0\0\0\0\0\0\0"
"""The value of SO_LINGER with which close() resets the connection."""


class End(Protocol):
    """The end of a connection under test."""

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.reason: Failure | None = None
        self.received = b""
        self.pauses_after = 0
        """Bytes after which the end pauses itself; 0 for none."""

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.pauses_after and len(self.received) >= self.pauses_after:
            self.transport.pauseProducing()
        if self.received.endswith(b"fail"):
            raise ValueError("not understood")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.lost.callback(None)


class LoopOnLibuv:
    """An event loop that calls once for a socket with an error, and then no more, as uvloop does."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[], None]] = {}

    def add_reader(self, descriptor: int, call: Callable[[], None]) -> None:
        self.watched[descriptor] = call

    def remove_reader(self, descriptor: int) -> None:
        self.watched.pop(descriptor, None)

    def run(self) -> None:
        """Call for all that happens until nothing does."""
        while happened := self.look():
            for descriptor, events in happened:
                call = self.watched[descriptor]
                if events & select.POLLERR:
                    del self.watched[descriptor]
                call()

    def look(self) -> list[tuple[int, int]]:
        """The events of the sockets that are still watched."""
        poll = select.poll()
        for descriptor in self.watched:
            poll.register(descriptor, select.POLLIN)
        return poll.poll(0)


@implementer(IPushProducer)
class Producer:
    """Notes each call."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


@implementer(IPullProducer)
class Pieces:
    """Writes one of its pieces whenever it is asked."""

    def __init__(self, transport: Any, pieces: list[bytes]) -> None:
        self.transport, self.pieces = transport, pieces

    def resumeProducing(self) -> None:
        self.transport.write(self.pieces.pop(0))
        if not self.pieces:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def stopProducing(self) -> None:
        """Nothing."""


class SocketContract:
    """The behaviour of both ends."""

    async def connect(self: Any) -> tuple[Any, socket.socket]:
        """The transport and the plain socket of a new connection."""
        raise NotImplementedError

    async def test_at_once(self: Any) -> None:
        """Written data is sent before the reactor does anything else."""
        transport, plain = await self.connect()
        transport.write(b"one ")
        transport.writeSequence([b"two ", b"three"])
        self.assertEqual(plain.recv(100), b"one two three")

    async def test_read(self: Any) -> None:
        """Data comes unless reading is paused, and the end of the connection after it."""
        transport, plain = await self.connect()
        plain.sendall(b"one ")
        await until(lambda: self.end.received == b"one ")
        transport.pauseProducing()
        transport.pauseProducing()
        plain.sendall(b"two")
        for _ in range(20):
            await deferLater(reactor, 0)
        self.assertEqual(self.end.received, b"one ")
        transport.resumeProducing()
        transport.resumeProducing()
        await until(lambda: self.end.received == b"one two")
        plain.close()
        await self.end.lost

    async def test_paused_by_a_piece(self: Any) -> None:
        """A protocol that pauses as it gets a piece gets no other one in the same turn, however much is there."""
        transport, plain = await self.connect()
        self.end.pauses_after = 1
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 500_000)
        await deferToThread(plain.sendall, b"a" * 100_000)
        await until(lambda: self.end.received)
        first = len(self.end.received)
        for _ in range(20):
            await deferLater(reactor, 0)
        self.assertEqual(len(self.end.received), first)
        self.assertLess(first, 100_000)
        self.end.pauses_after = 0
        transport.resumeProducing()
        await until(lambda: len(self.end.received) == 100_000)

    async def test_not_understood(self: Any) -> None:
        """A protocol that fails costs its own connection, and is logged."""
        _, plain = await self.connect()
        plain.sendall(b"fail")
        await self.end.lost
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_full(self: Any) -> None:
        """Data that the socket doesn't take waits in order, and its producer is paused."""
        transport, plain = await self.connect()
        producer = Producer()
        transport.registerProducer(producer, True)
        transport.write(b"a" * MORE_THAN_A_SOCKET_TAKES)
        transport.write(b"z")
        self.assertEqual(producer.told[:1], ["pause"])
        received = await deferToThread(receive, plain, MORE_THAN_A_SOCKET_TAKES + 1)
        await until(lambda: producer.told[-1] == "resume")
        self.assertEqual(received.strip(b"a"), b"z")
        transport.unregisterProducer()

    async def test_lost(self: Any) -> None:
        """Writing to a lost connection raises nothing; the protocol is told later, once."""
        transport, plain = await self.connect()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        plain.close()
        transport.write(b"one")
        transport.write(b"two")
        self.assertFalse(self.end.lost.called)
        await self.end.lost
        transport.write(b"three")

    async def test_reset_behind_data(self: Any) -> None:
        """Data that came before a reset is read to its end, and then the connection is lost, with libuv too."""
        transport, plain = await self.connect()
        transport.pauseProducing()
        plain.sendall(b"a" * 40_000)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        plain.close()
        loop = LoopOnLibuv()
        self.patch(asyncio, "get_running_loop", lambda: loop)
        transport.resumeProducing()
        loop.run()
        self.assertEqual(len(self.end.received), 40_000)
        self.assertTrue(self.end.reason.check(error.ConnectionLost))

    async def test_pull(self: Any) -> None:
        """A pull producer is asked for its pieces."""
        transport, plain = await self.connect()
        transport.registerProducer(Pieces(transport, [b"one ", b"two ", b"three"]), False)
        self.assertEqual(await deferToThread(receive, plain, 13), b"one two three")

    async def test_close(self: Any) -> None:
        """Data that was written before the end arrives before the end."""
        transport, plain = await self.connect()
        transport.write(b"a" * MORE_THAN_A_SOCKET_TAKES)
        transport.loseConnection()
        received = await deferToThread(receive, plain, MORE_THAN_A_SOCKET_TAKES + 1)
        self.assertEqual(len(received), MORE_THAN_A_SOCKET_TAKES)
        await self.end.lost


class ServerTests(SocketContract, TestCase):
    """Connections that clients make."""

    async def connect(self) -> tuple[Any, socket.socket]:
        self.end = End()
        endpoint = serverFromString(sending_at_once(reactor), f"tcp:0:interface={LOOPBACK}")
        port = await endpoint.listen(Factory.forProtocol(lambda: self.end))
        self.addCleanup(port.stopListening)
        plain = socket.create_connection((LOOPBACK, port.getHost().port))
        self.addCleanup(ended, self.end, plain)
        await self.end.made
        return self.end.transport, plain


class ClientTests(SocketContract, TestCase):
    """Connections to providers."""

    async def connect(self) -> tuple[Any, socket.socket]:
        self.end = End()
        with socket.create_server((LOOPBACK, 0)) as server:
            endpoint = HostnameEndpoint(sending_at_once(reactor), LOOPBACK, server.getsockname()[1])
            await endpoint.connect(Factory.forProtocol(lambda: self.end))
            plain, _ = server.accept()
        self.addCleanup(ended, self.end, plain)
        return self.end.transport, plain


class RefusalTests(TestCase):
    """Connections that are not made."""

    async def test_refused(self) -> None:
        """A refused connection is known as one, and so is a connection that ends as soon as it is made."""
        with socket.create_server((LOOPBACK, 0)) as server:
            address = server.getsockname()
        endpoint = HostnameEndpoint(sending_at_once(reactor), *address)
        with self.assertRaises(error.ConnectionRefusedError):
            await endpoint.connect(Factory.forProtocol(End))


class ReactorTests(TestCase):
    """Reactors with sockets, and those without."""

    def test_real(self) -> None:
        """A reactor with sockets keeps all of its interfaces."""
        eager = sending_at_once(reactor)
        self.assertTrue(IReactorTCP.providedBy(eager))
        self.assertEqual(eager.seconds, reactor.seconds)

    def test_in_memory(self) -> None:
        """A reactor without sockets is returned as it is."""
        for fake in (Clock(), MemoryReactorClock()):
            self.assertIs(sending_at_once(fake), fake)


def receive(plain: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or all there are."""
    plain.settimeout(20)
    received = bytearray()
    while len(received) < size and (piece := plain.recv(1 << 20)):
        received += piece
    return bytes(received)


async def until(condition: Any) -> None:
    """Let the reactor turn until the condition holds."""
    while not condition():
        await deferLater(reactor, 0)


async def ended(end: End, plain: socket.socket) -> None:
    """Close both ends."""
    plain.close()
    end.transport.abortConnection()
    if not end.lost.called:
        await end.lost

"""Clients that end their side of the connection after their request, on sockets."""

import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from aibridge.http import half_close
from aibridge.http.server import GatewaySite
from aibridge.http.sockets import sending_at_once

LOOPBACK = "127.0.0.1"
RESET = b"\1\0\0\0\0\0\0\0"
LAST = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"


class Waiting(Resource):
    """Responds when the test says so."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requested = Deferred()
        self.left = Deferred()

    def render(self, request):
        request.notifyFinish().addErrback(lambda _: self.left.callback(None))
        self.requested.callback(request)
        return NOT_DONE_YET


class HalfCloseTests(TestCase):
    """A client that has said its last word is served, unless it has left."""

    timeout = 20

    async def begin(self, request=LAST):
        """Send a request; the plain socket, and the request as the server has it."""
        self.resource = Waiting()
        site = GatewaySite(
            self.resource,
            max_body_bytes=1000,
            head_timeout=20,
            body_timeout=20,
            request_timeout=20,
            keepalive_timeout=20,
            stall_timeout=20,
            reactor=reactor,
        )
        self.addCleanup(site.stopFactory)
        port = await serverFromString(sending_at_once(reactor), f"tcp:0:interface={LOOPBACK}").listen(site)
        self.addCleanup(port.stopListening)
        plain = socket.create_connection((LOOPBACK, port.getHost().port))
        self.addCleanup(plain.close)
        plain.sendall(request)
        return plain, await self.resource.requested

    async def turns(self, seconds=0.05):
        await deferLater(reactor, seconds)

    def read_all(self, plain):
        data = b""
        while piece := plain.recv(65536):
            data += piece
        return data

    async def test_served(self):
        """A client that ends its side after its last request gets its response, however long that takes."""
        plain, request = await self.begin()
        plain.shutdown(socket.SHUT_WR)
        await self.turns(1.3)  # longer than between two probes
        self.assertFalse(self.resource.left.called)
        request.write(b"hello ")
        request.write(b"there")
        request.finish()
        received = await deferToThread(self.read_all, plain)
        self.assertTrue(received.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"))
        self.assertTrue(received.endswith(b"5\r\nthere\r\n0\r\n\r\n"), received)

    async def test_older_version(self):
        """So does a client of HTTP/1.0, whose every request is its last."""
        plain, request = await self.begin(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        plain.shutdown(socket.SHUT_WR)
        await self.turns()
        request.write(b"hello")
        request.finish()
        self.assertTrue((await deferToThread(self.read_all, plain)).endswith(b"\r\n\r\nhello"))

    async def test_left(self):
        """A client that closes both sides is noticed within seconds, although its first word is the same."""
        plain, _ = await self.begin()
        plain.close()
        before = reactor.seconds()
        await self.resource.left
        self.assertLess(reactor.seconds() - before, 5)

    async def test_reset(self):
        """A client whose connection breaks after its last word has left."""
        plain, _ = await self.begin()
        plain.shutdown(socket.SHUT_WR)
        await self.turns()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        plain.close()
        await self.resource.left

    async def test_left_during_the_response(self):
        """A client that closed is noticed at once where something is sent to it."""
        plain, request = await self.begin()
        plain.close()
        for _ in range(40):
            await self.turns(0.02)
            if self.resource.left.called:
                break
            request.write(b"hello")
        self.assertTrue(self.resource.left.called)

    async def test_much_later(self):
        """What is sent ahead is never more than what every response begins with."""
        self.patch(half_close, "PERIOD", 0.01)
        plain, request = await self.begin()
        plain.shutdown(socket.SHUT_WR)
        await self.turns()
        while request.channel.probe.sent < len(b"HTTP/1.1 "):
            await self.turns()
        await self.turns(0.6)
        request.setResponseCode(404)
        request.finish()
        received = await deferToThread(self.read_all, plain)
        self.assertTrue(received.startswith(b"HTTP/1.1 404 Not Found\r\n"), received)

    async def test_not_the_last_request(self):
        """The end of a connection that was to be kept is the client's leaving, at once."""
        plain, _ = await self.begin(LAST.replace(b"Connection: close\r\n", b""))
        plain.shutdown(socket.SHUT_WR)
        before = reactor.seconds()
        await self.resource.left
        self.assertLess(reactor.seconds() - before, 0.9)

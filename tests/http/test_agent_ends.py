"""The gateway's HTTP client is cancelled, times out, fails to connect, and is closed."""

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from aibridge.errors import ConnectTimeout, UpstreamBroke, UpstreamFailed, UpstreamRefused

from .memory import OK, URL, Memory, read


class GivingUpTests(SynchronousTestCase):
    """Cancelling, timeouts, failed connections, and closing."""

    def test_cancel_while_connecting(self):
        """Cancelling ends the attempt to connect."""
        memory = Memory()
        pending = memory.agent.request(b"GET", URL)
        self.assertEqual(memory.agent.active, 1)
        pending.cancel()
        self.failureResultOf(pending, CancelledError)
        self.assertEqual((memory.agent.active, memory.reactor.getDelayedCalls()), (0, []))
        self.assertTrue(memory.reactor.connectors[0].stoppedConnecting)

    def test_cancel_while_waiting(self):
        """Cancelling closes the connection, a new and a kept one; the request isn't sent again."""
        memory = Memory()
        pending, wire = memory.request()
        pending.cancel()
        self.failureResultOf(pending, CancelledError)
        memory.turn()
        self.assertEqual((wire.connected, memory.agent.active), (False, 0))
        _, wire = memory.request()
        wire.respond(OK)
        pending = memory.agent.request(b"GET", URL)
        pending.cancel()
        self.failureResultOf(pending, CancelledError)
        memory.turn()
        self.assertEqual((wire.connected, len(memory.wires)), (False, len(memory.reactor.tcpClients)))

    def test_connect_timeout(self):
        """No connection in time is a timeout that names the host and the time."""
        memory = Memory(connect_timeout=7)
        pending = memory.agent.request(b"GET", URL)
        memory.reactor.advance(7)
        error = self.failureResultOf(pending, ConnectTimeout).value
        self.assertEqual(error.message, "provider.test: no connection within 7 seconds")
        self.assertEqual((memory.agent.active, memory.reactor.getDelayedCalls()), (0, []))

    def test_connected(self):
        """Once connected, the time limit for it is gone, and small writes aren't delayed."""
        memory = Memory()
        _, wire = memory.request()
        self.assertEqual((memory.reactor.getDelayedCalls(), wire.no_delay), ([], True))

    def test_refused(self):
        """A failed connection is a refusal: provably nothing was begun."""
        for reason, words in (
            (error.ConnectionRefusedError(), "provider.test refused the connection"),
            (error.NoRouteError(), "provider.test: no route to the host"),
            (DNSLookupError(), "provider.test: host not found"),
            (OSError(24, "in words of its own"), "provider.test: no connection: Too many open files"),
            (error.ConnectBindError(98, "in words of its own"), "provider.test: no connection: Address already in use"),
            (RuntimeError("?"), "provider.test: no connection: RuntimeError"),
        ):
            memory = Memory()
            pending = memory.agent.request(b"GET", URL + b"?key=secret")
            factory = memory.reactor.tcpClients[0][2]
            factory.clientConnectionFailed(None, Failure(reason))
            memory.reactor.advance(0.3)
            message = self.failureResultOf(pending, UpstreamRefused).value.message
            self.assertEqual(message, words)

    def test_close(self):
        """Closing ends idle, waiting, reading and connecting ones alike, and fires when all are closed."""
        memory = Memory()
        _, idle = memory.request(uri=b"http://idle.test/")
        idle.respond(OK)
        waiting, _ = memory.request(uri=b"http://waiting.test/")
        reading, wire = memory.request(uri=b"http://reading.test/")
        wire.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        reader = read(self.successResultOf(reading))
        connecting = memory.agent.request(b"GET", b"http://connecting.test/")
        self.assertEqual((memory.agent.idle, memory.agent.active), (1, 3))
        closed = memory.agent.close()
        self.assertNoResult(closed)
        memory.turn()
        self.successResultOf(closed)
        self.failureResultOf(waiting, UpstreamFailed)
        self.failureResultOf(connecting, UpstreamRefused)
        reader.reason.trap(UpstreamBroke)
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))
        self.assertEqual(memory.reactor.getDelayedCalls(), [])
        self.failureResultOf(memory.agent.request(b"GET", URL), UpstreamRefused)
        self.successResultOf(memory.agent.close())

"""The reader of a body sets the provider's pace."""

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from .memory import OK, URL, Memory, Reader, read


class BodyFlowTests(SynchronousTestCase):
    """The reader sets the pace."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"

    def setUp(self):
        self.memory = Memory()
        self.pending, self.wire = self.memory.request()

    def start(self, data=b""):
        self.wire.respond(self.HEAD + data)
        return self.successResultOf(self.pending)

    def test_nobody_reads(self):
        """Until the body has a reader, the provider is paused; a part that came with the head is kept."""
        response = self.start(b"ab")
        self.assertEqual(self.wire.producerState, "paused")
        self.assertEqual(read(response).data, b"ab")
        self.assertEqual(self.wire.producerState, "producing")

    def test_read_at_once(self):
        """If the reader comes as soon as the response, the transport is never paused."""
        self.pending.addCallback(read)
        self.wire.pauseProducing = lambda: self.fail("paused")
        self.start(b"ab")

    def test_pause_and_resume(self):
        """Pausing and resuming reach the provider's transport; the data of a read is held until the reader is ready."""
        reader = read(self.start())
        reader.transport.pauseProducing()
        self.assertEqual(self.wire.producerState, "paused")
        self.wire.respond(b"abc")
        self.wire.respond(b"def")
        self.assertEqual((reader.data, reader.reason), (b"", None))
        reader.transport.resumeProducing()
        self.assertEqual(reader.data, b"abcdef")
        reader.reason.trap(ResponseDone)

    def test_born_paused(self):
        """A reader may pause before its first byte."""
        response = self.start(b"ab")
        reader = Reader(born_paused=True)
        response.deliverBody(reader)
        self.assertEqual((reader.data, self.wire.producerState), (b"", "paused"))
        reader.transport.resumeProducing()
        self.assertEqual((reader.data, self.wire.producerState), (b"ab", "producing"))

    def test_paused_connection_returns_running(self):
        """A response that completes while its reader is paused leaves a connection that can be read from."""
        reader = read(self.start())
        reader.transport.pauseProducing()
        self.wire.respond(b"abcdef")
        self.assertEqual((self.memory.agent.idle, self.wire.producerState), (1, "producing"))
        again = self.memory.agent.request(b"GET", URL)
        reader.transport.pauseProducing()
        self.assertEqual(self.wire.producerState, "producing")
        self.wire.respond(OK)
        self.assertEqual(read(self.successResultOf(again)).data, b"hi")
        reader.transport.resumeProducing()
        self.assertEqual(reader.data, b"abcdef")

    def test_resume_within_data_received(self):
        """A reader that pauses and resumes during a piece gets all pieces in order."""
        seen = []

        class Nervous(Reader):
            def dataReceived(self, data):
                self.transport.pauseProducing()
                self.transport.resumeProducing()
                seen.append(data)

        reader = Nervous(born_paused=True)
        self.start().deliverBody(reader)
        for piece in (b"ab", b"cd", b"ef"):
            self.wire.respond(piece)
        reader.transport.resumeProducing()
        self.assertEqual(seen, [b"ab", b"cd", b"ef"])
        reader.reason.trap(ResponseDone)

    def test_stop(self):
        """Stopping closes the connection for good, paused or not; the reader is told `ConnectionAborted`."""
        for paused in (False, True):
            memory = Memory()
            pending, wire = memory.request()
            wire.respond(self.HEAD + b"ab")
            reader = read(self.successResultOf(pending))
            if paused:
                reader.transport.pauseProducing()
            reader.transport.stopProducing()
            self.assertTrue(wire.aborted)
            memory.turn()
            self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))
            self.assertEqual((memory.agent.active, memory.agent.idle), (0, 0))

    def test_stop_after_the_end(self):
        """Stopping a body that is complete does nothing to the connection, which another request may use."""
        reader = read(self.start(b"abcdef"))
        self.memory.agent.request(b"GET", URL)
        reader.transport.stopProducing()
        self.assertFalse(self.wire.aborted)

    def test_stop_while_the_end_is_held(self):
        """Data that was held is dropped when the body is stopped, so the end isn't `ResponseDone`."""
        reader = Reader(born_paused=True)
        self.start(b"abcdef").deliverBody(reader)
        reader.transport.stopProducing()
        self.assertEqual(reader.data, b"")
        self.assertFalse(reader.reason.check(ResponseDone))

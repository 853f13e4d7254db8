"""How the reader of a body sets the provider's pace."""

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from .memory import OK, URL, Memory, Reader, read


class BodyFlowTests(SynchronousTestCase):
    """The reader sets the pace."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"

    def setUp(self):
        self.memory = Memory()
        self.asked, self.wire = self.memory.ask()

    def start(self, data=b""):
        self.wire.answer(self.HEAD + data)
        return self.successResultOf(self.asked)

    def test_nobody_reads(self):
        """Until someone asks for the body, the provider is paused; what came with the head is kept."""
        response = self.start(b"ab")
        self.assertEqual(self.wire.producerState, "paused")
        self.assertEqual(read(response).data, b"ab")
        self.assertEqual(self.wire.producerState, "producing")

    def test_read_at_once(self):
        """Where the reader comes with the answer, the transport is never paused."""
        self.asked.addCallback(read)
        self.wire.pauseProducing = lambda: self.fail("paused")
        self.start(b"ab")

    def test_pause_and_resume(self):
        """Both go to the provider's transport; what a read had brought is held until the reader is ready."""
        reader = read(self.start())
        reader.transport.pauseProducing()
        self.assertEqual(self.wire.producerState, "paused")
        self.wire.answer(b"abc")
        self.wire.answer(b"def")
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
        """An answer that completes while its reader is paused leaves a connection that can be read from."""
        reader = read(self.start())
        reader.transport.pauseProducing()
        self.wire.answer(b"abcdef")
        self.assertEqual((self.memory.agent.idle, self.wire.producerState), (1, "producing"))
        again = self.memory.agent.request(b"GET", URL)
        reader.transport.pauseProducing()
        self.assertEqual(self.wire.producerState, "producing")
        self.wire.answer(OK)
        self.assertEqual(read(self.successResultOf(again)).data, b"hi")
        reader.transport.resumeProducing()
        self.assertEqual(reader.data, b"abcdef")

    def test_resume_within_data_received(self):
        """A reader that pauses and resumes while it is being handed a piece gets its pieces in order, whole."""
        seen = []

        class Nervous(Reader):
            def dataReceived(self, data):
                self.transport.pauseProducing()
                self.transport.resumeProducing()
                seen.append(data)

        reader = Nervous(born_paused=True)
        self.start().deliverBody(reader)
        for piece in (b"ab", b"cd", b"ef"):
            self.wire.answer(piece)
        reader.transport.resumeProducing()
        self.assertEqual(seen, [b"ab", b"cd", b"ef"])
        reader.reason.trap(ResponseDone)

    def test_stop(self):
        """Stopping closes the connection for good, paused or not; the reader hears of an end that is none."""
        for paused in (False, True):
            memory = Memory()
            asked, wire = memory.ask()
            wire.answer(self.HEAD + b"ab")
            reader = read(self.successResultOf(asked))
            if paused:
                reader.transport.pauseProducing()
            reader.transport.stopProducing()
            self.assertTrue(wire.aborted)
            memory.turn()
            self.assertFalse(reader.reason.check(ResponseDone, PotentialDataLoss))
            self.assertEqual((memory.agent.active, memory.agent.idle), (0, 0))

    def test_stop_after_the_end(self):
        """Stopping a body that is over does nothing to the connection, which is another's by now."""
        reader = read(self.start(b"abcdef"))
        self.memory.agent.request(b"GET", URL)
        reader.transport.stopProducing()
        self.assertFalse(self.wire.aborted)

    def test_stop_while_the_end_is_held(self):
        """What was held is dropped, so the end isn't a whole one."""
        reader = Reader(born_paused=True)
        self.start(b"abcdef").deliverBody(reader)
        reader.transport.stopProducing()
        self.assertEqual(reader.data, b"")
        self.assertFalse(reader.reason.check(ResponseDone))

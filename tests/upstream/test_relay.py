"""One provider's answer on its way to one client, with both sides in memory."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aibridge.errors import ClientLeft, ClientStalled, UpstreamBroke, UpstreamTimeout
from aibridge.http.deadlines import Deadlines
from aibridge.in_flight import Exchange
from aibridge.interfaces import IRelay
from aibridge.upstream.call import Ending
from aibridge.upstream.relay import Relay
from aibridge.wire.tap import BareTap, BodyTap

from ..wire.streams import CHAT_SAMPLE, LIMIT, MESSAGES_SAMPLE, SAMPLES, frames

IDLE, STALL = 30.0, 100.0


@implementer(IPushProducer)
class Provider:
    """Says what it is told to say, unless it is paused; as on a socket, its end is told to the reader."""

    def __init__(self):
        self.paused = False
        self.stopped = False
        self.reader = None

    def deliver(self, reader):
        self.reader = reader
        reader.makeConnection(self)

    def says(self, data):
        assert not self.paused and not self.stopped, "spoken to nobody"
        self.reader.dataReceived(data)

    def ends(self, reason=None):
        self.reader.connectionLost(Failure(reason or ResponseDone()))

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def stopProducing(self):
        self.stopped = True
        self.ends(ConnectionAborted())


class Client:
    """Keeps what it gets. While it is `full` it asks for a pause amid each write, as a socket does."""

    def __init__(self):
        self.got = b""
        self.producer = None
        self.full = False

    def write(self, data):
        self.got += data
        if self.full:
            self.producer.pauseProducing()


class RelayTestCase(SynchronousTestCase):
    """A relay between the two, on a clock."""

    def setUp(self):
        self.reads_on = lambda: False
        self.start(MESSAGES_SAMPLE.tap())

    def start(self, tap, deliver=True):
        self.clock = Clock()
        self.dog = Deadlines(self.clock)
        self.tap, self.provider, self.client = tap, Provider(), Client()
        self.exchange = Exchange(self.client)
        self.relay = Relay(tap, self.exchange, "mine", self.dog, IDLE, STALL, lambda: self.reads_on())
        self.client.producer = self.relay
        self.endings, self.drained = [], []
        self.relay.drained.addCallback(self.drained.append)
        Deferred.fromCoroutine(self.follow())
        if deliver:
            self.provider.deliver(self.relay)

    async def follow(self):
        """Notes how the answer ended: in some way, or with the reason for which the exchange was cancelled."""
        try:
            ending = await self.exchange.wait(self.relay.ended)
            self.exchange.raise_if_cancelled()
            self.endings.append(ending)
        except Exception as error:
            self.endings.append(type(error))

    def run_for(self, seconds):
        self.clock.pump([0.5] * round(seconds / 0.5))


class FlowTests(RelayTestCase):
    """Bytes flow, and the end waits."""

    def test_interface(self):
        """It is what an interception expects."""
        self.assertTrue(verifyObject(IRelay, self.relay))

    def test_streams(self):
        """Each event goes on at once; the last one when all is recorded, and what follows it after that."""
        for sample in SAMPLES:
            self.start(sample.tap())
            for frame in frames(sample.stream)[:-1]:
                before = self.client.got
                self.provider.says(frame)
                self.assertEqual(self.client.got, before + frame)
            self.provider.says(sample.last)
            self.assertEqual(self.client.got, sample.stream.removesuffix(sample.last))
            self.assertEqual((self.endings, self.drained), ([Ending.WHOLE], []))
            self.assertTrue(self.provider.paused)
            self.relay.release()
            self.assertEqual(self.client.got, sample.stream)
            self.assertFalse(self.provider.paused)
            self.provider.says(b": late\n\n")
            self.provider.ends()
            self.assertEqual(self.client.got, sample.stream + b": late\n\n")
            self.assertEqual(self.drained, [None])

    def test_the_end_before_the_release(self):
        """The provider may be done before the records are."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.provider.ends()
        self.assertEqual((self.endings, self.drained), ([Ending.WHOLE], [None]))
        self.assertEqual(self.client.got, MESSAGES_SAMPLE.stream.removesuffix(MESSAGES_SAMPLE.last))
        self.relay.release()
        self.assertEqual(self.client.got, MESSAGES_SAMPLE.stream)

    def test_body(self):
        """A JSON body goes on whole, once all is recorded."""
        self.start(BodyTap(MESSAGES_SAMPLE.reader(), LIMIT))
        self.provider.says(b'{"id":')
        self.provider.says(b'"m"}')
        self.assertEqual((self.client.got, self.endings), (b"", []))
        self.provider.ends()
        self.assertEqual((self.client.got, self.endings), (b"", [Ending.WHOLE]))
        self.relay.release()
        self.assertEqual(self.client.got, b'{"id":"m"}')

    def test_close_delimited(self):
        """A body whose end is the connection's may be whole or not: that is another ending."""
        self.start(BareTap())
        self.provider.says(b"x")
        self.provider.ends(PotentialDataLoss())
        self.assertEqual(self.endings, [Ending.UNBOUNDED])

    def test_empty(self):
        """An answer without a byte is one."""
        self.provider.ends()
        self.relay.release()
        self.assertEqual((self.client.got, self.endings, self.drained), (b"", [Ending.WHOLE], [None]))

    def test_broken(self):
        """A provider that breaks off is told apart; half a frame stays here."""
        for reason in (UpstreamBroke("x"), ConnectionAborted(), RuntimeError()):
            self.start(MESSAGES_SAMPLE.tap())
            self.provider.says(b": a\n\ndata: half")
            self.provider.ends(reason)
            self.assertEqual((self.client.got, self.endings, self.drained), (b": a\n\n", [Ending.BROKEN], [None]))

    def test_broken_after_the_last_event(self):
        """What comes after the last event makes no broken answer of a whole one."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.provider.ends(UpstreamBroke("x"))
        self.relay.release()
        self.assertEqual((self.endings, self.drained), ([Ending.WHOLE], [None]))
        self.assertEqual(self.client.got, MESSAGES_SAMPLE.stream)


class FaultTests(RelayTestCase):
    """A tap that raises, which is the gateway's own fault."""

    def start_with(self, **methods):
        tap = BareTap()
        for name, method in methods.items():
            setattr(tap, name, method)
        self.start(tap)

    def test_in_the_midst(self):
        """An error while the answer is read ends the exchange with that error, and stops the provider."""
        self.start_with(feed=lambda data: 1 / 0)
        self.provider.says(b"x")
        self.assertEqual((self.endings, self.drained, self.client.got), ([ZeroDivisionError], [None], b""))
        self.assertTrue(self.provider.stopped)

    def test_at_the_end(self):
        """An error while a body's end is read ends the exchange with that error: nobody waits for ever."""
        self.start_with(close=lambda whole: 1 / 0)
        self.provider.says(b"x")
        self.provider.ends()
        self.assertEqual((self.endings, self.drained), ([ZeroDivisionError], [None]))
        self.run_for(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PaceTests(RelayTestCase):
    """Each side goes at the other's pace."""

    def test_pauses_go_through(self):
        """A client that is full pauses the provider, and goes on when it has room."""
        self.client.full = True
        self.provider.says(b": a\n\n")
        self.assertTrue(self.provider.paused)
        self.client.full = False
        self.relay.resumeProducing()
        self.assertFalse(self.provider.paused)

    def test_paused_before_the_body(self):
        """A client that is full before the answer's body comes pauses it from the beginning."""
        self.start(MESSAGES_SAMPLE.tap(), deliver=False)
        self.relay.pauseProducing()
        self.provider.deliver(self.relay)
        self.assertTrue(self.provider.paused)
        self.relay.resumeProducing()
        self.assertFalse(self.provider.paused)

    def test_resumed_before_the_body(self):
        """A pause that is over before the body comes is forgotten."""
        self.start(MESSAGES_SAMPLE.tap(), deliver=False)
        self.relay.pauseProducing()
        self.relay.resumeProducing()
        self.provider.deliver(self.relay)
        self.assertFalse(self.provider.paused)

    def test_resumed_while_held(self):
        """A client with room doesn't wake a provider whose last event waits for its records."""
        self.client.full = True
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.relay.resumeProducing()
        self.assertTrue(self.provider.paused)
        self.relay.release()
        self.assertTrue(self.provider.paused, "the client is full again")
        self.relay.resumeProducing()
        self.assertFalse(self.provider.paused)

    def test_released_to_a_paused_client(self):
        """What was held goes out, and the provider waits for the client's room."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.relay.pauseProducing()
        self.relay.release()
        self.assertEqual(self.client.got, MESSAGES_SAMPLE.stream)
        self.assertTrue(self.provider.paused)

    def test_after_the_end(self):
        """Pauses, resumes and a departure after all is over are harmless."""
        self.provider.ends()
        self.relay.release()
        for call in (self.relay.pauseProducing, self.relay.resumeProducing, self.relay.stopProducing):
            call()
        self.assertEqual(self.endings, [Ending.WHOLE])


class DepartureTests(RelayTestCase):
    """The client leaves."""

    def test_amid(self):
        """The provider is stopped at once."""
        self.provider.says(b": a\n\n")
        self.relay.stopProducing()
        self.assertTrue(self.provider.stopped)
        self.assertEqual((self.endings, self.drained), ([ClientLeft], [None]))
        self.relay.stopProducing()

    def test_while_paused(self):
        """Also where it had paused the provider."""
        self.relay.pauseProducing()
        self.relay.stopProducing()
        self.assertTrue(self.provider.stopped)
        self.assertEqual(self.endings, [ClientLeft])

    def test_before_the_body(self):
        """A client that left before the body came stops it as it comes."""
        self.start(MESSAGES_SAMPLE.tap(), deliver=False)
        self.relay.stopProducing()
        self.assertEqual(self.endings, [ClientLeft])
        self.provider.deliver(self.relay)
        self.assertTrue(self.provider.stopped)
        self.assertEqual(self.drained, [None])

    def test_read_on(self):
        """Where figures are wanted all the same the rest is read, for nobody, even from a pause."""
        self.reads_on = lambda: True
        self.relay.pauseProducing()
        self.relay.stopProducing()
        self.assertFalse(self.provider.paused or self.provider.stopped)
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.assertEqual((self.client.got, self.endings), (b"", [Ending.WHOLE]))
        self.assertTrue(self.tap.answer.finished)
        self.relay.release()
        self.assertEqual((self.client.got, self.drained), (b"", [None]))
        self.assertTrue(self.provider.stopped)

    def test_chat_reads_on_after_its_text(self):
        """A chat client that hangs up after the finish reason doesn't lose the figures that follow."""
        self.start(CHAT_SAMPLE.tap())
        *text, usage, done = frames(CHAT_SAMPLE.stream)
        self.reads_on = lambda: self.tap.answer.ending
        self.provider.says(b"".join(text))
        self.relay.stopProducing()
        self.provider.says(usage)
        self.provider.says(done)
        self.assertEqual(self.endings, [Ending.WHOLE])
        self.assertEqual(CHAT_SAMPLE.format.count_tokens(self.tap.answer.usage).output, 80)

    def test_read_on_to_a_break(self):
        """A provider that breaks off what nobody gets has still broken off."""
        self.reads_on = lambda: True
        self.relay.stopProducing()
        self.provider.ends(UpstreamBroke("x"))
        self.assertEqual(self.endings, [Ending.BROKEN])

    def test_while_held(self):
        """A client that leaves while its last event waits gets no more, and the provider is let go."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        before = self.client.got
        self.relay.stopProducing()
        self.assertEqual(self.endings, [Ending.WHOLE])
        self.relay.release()
        self.assertTrue(self.provider.stopped)
        self.assertEqual((self.client.got, self.drained), (before, [None]))

    def test_after_the_last_byte(self):
        """A client that had all and left, full as it was, doesn't keep the provider's connection waiting."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.relay.pauseProducing()
        self.relay.release()
        self.relay.stopProducing()
        self.assertFalse(self.provider.paused)
        self.provider.ends()
        self.assertEqual(self.drained, [None])


class PatienceTests(RelayTestCase):
    """Providers that say nothing, and clients that take nothing."""

    def test_silent_provider(self):
        """It is stopped after the idle time-out, counted from its last byte."""
        self.run_for(IDLE - 1)
        self.provider.says(b": a\n\n")
        self.run_for(IDLE - 1)
        self.assertEqual(self.endings, [])
        self.run_for(2)
        self.assertEqual(self.endings, [UpstreamTimeout])
        self.assertTrue(self.provider.stopped)
        self.assertEqual(self.drained, [None])

    def test_stalled_client(self):
        """A client that takes nothing has its own, longer time, and is told apart."""
        self.run_for(IDLE - 1)
        self.relay.pauseProducing()
        self.run_for(STALL - 1)
        self.assertEqual(self.endings, [])
        self.run_for(2)
        self.assertEqual(self.endings, [ClientStalled])
        self.assertTrue(self.provider.stopped)

    def test_slow_client(self):
        """One that takes something now and then never stalls, and the provider isn't blamed for its pauses."""
        for _ in range(5):
            self.relay.pauseProducing()
            self.run_for(STALL - 1)
            self.relay.resumeProducing()
            self.run_for(IDLE - 1)
            self.provider.says(b": a\n\n")
        self.assertEqual(self.endings, [])

    def test_slow_records(self):
        """Records that take longer than that lose no byte of what was held."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.run_for(IDLE + 10)
        self.assertEqual(self.endings, [Ending.WHOLE])
        self.relay.release()
        self.assertEqual(self.client.got, MESSAGES_SAMPLE.stream)
        self.assertEqual(self.drained, [None])

    def test_never_ending_tail(self):
        """A provider that says all and doesn't end is let go after the idle time-out."""
        self.provider.says(MESSAGES_SAMPLE.stream)
        self.relay.release()
        self.run_for(IDLE + 1)
        self.assertTrue(self.provider.stopped)
        self.assertEqual(self.drained, [None])

    def test_nothing_left(self):
        """However it ended no timer is left."""
        endings = (
            lambda: self.provider.ends(),
            lambda: self.provider.ends(UpstreamBroke("x")),
            lambda: self.relay.stopProducing(),
            lambda: self.run_for(IDLE + 1),
        )
        for end in endings:
            self.start(MESSAGES_SAMPLE.tap())
            end()
            self.run_for(1)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertIsInstance(self.relay.drained, Deferred)

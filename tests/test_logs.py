"""Lines of the log: what Twisted would write, whichever way they are made."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, formatEventAsClassicLogText
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from aibridge.logs import Lines, text_of, text_on_stdout


def event_of(text: str, level: LogLevel = LogLevel.info, **fields):
    """The event that a logger makes."""
    events = []
    Logger("a.name", observer=events.append).emit(level, text, **fields)
    return events[0]


class LineTests(SynchronousTestCase):
    """One event, one line."""

    def expect_twisteds(self, event) -> None:
        self.assertEqual(text_of(event), formatEventAsClassicLogText(event))

    @given(st.text(min_size=1), st.floats(0, 2e9))
    def test_summary(self, summary, moment):
        """An exchange's event reads as Twisted would write it, whatever a client has put into it."""
        event = event_of("{summary}", summary=summary, actor="alice")
        event["log_time"] = moment
        self.expect_twisteds(event)

    def test_others(self):
        """So do all other events, those with a traceback among them."""
        self.expect_twisteds(event_of("{a} and {b}", LogLevel.warn, a=1, b="{"))
        self.expect_twisteds(event_of("nothing to fill in"))
        failure = Failure(ValueError("no"))
        self.expect_twisteds(event_of("{summary}", LogLevel.critical, summary="it failed", log_failure=failure))
        self.expect_twisteds({"log_format": None, "message": ("old",), "log_text": "old", "log_time": None})

    def test_observer(self):
        """twistd finds an observer by the name that it is given."""
        self.assertTrue(verifyObject(ILogObserver, text_on_stdout()))


class FlushTests(SynchronousTestCase):
    """What is told in one turn of the reactor goes out together; what is amiss goes out at once."""

    def setUp(self):
        self.clock, self.out = Clock(), StringIO()
        self.lines = Lines(self.out, self.clock)
        self.patch(threadable, "ioThread", threadable.getThreadID())

    def tell(self, text, level=LogLevel.info):
        self.lines(event_of(text, level))

    @property
    def gone(self):
        """How many lines have gone out."""
        return self.out.getvalue().count("\n")

    def test_together(self):
        """One write serves many lines."""
        for text in ("one", "two", "three"):
            self.tell(text)
        self.assertEqual((self.gone, len(self.clock.getDelayedCalls())), (0, 1))
        self.clock.advance(0)
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (3, []))
        self.tell("four")
        self.clock.advance(0)
        self.assertEqual(self.gone, 4)

    def test_warnings(self):
        """A warning doesn't wait, nor does what was told before it."""
        self.tell("one")
        self.tell("two", LogLevel.warn)
        self.assertEqual(self.gone, 2)
        self.tell("three")
        self.clock.advance(0)
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (3, []))

    def test_end(self):
        """What waits when the process ends is not lost."""
        self.tell("one")
        self.lines.flush()
        self.assertEqual(self.gone, 1)

    def test_other_threads(self):
        """On other threads there is no waiting, for the reactor is not theirs; nor is there before it runs."""
        self.patch(threadable, "ioThread", None)
        self.tell("one")
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (1, []))

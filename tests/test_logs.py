"""Lines of the log: what Twisted would write, whichever way they are made."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, formatEventAsClassicLogText
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from aibridge.logs import text_of, text_on_stdout


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
        self.assertTrue(callable(text_on_stdout()))

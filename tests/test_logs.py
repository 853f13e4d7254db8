"""Lines of the log: what Twisted would write, whichever way they are made."""

import json
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, capturedLogs, formatEvent, formatEventAsClassicLogText
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from aibridge.json_log import json_of
from aibridge.logs import Lines, log_summary, text_of
from aibridge.process_log import LogSettings, ProcessLog

FORGERIES = (
    "\n2026-01-01T00:00:00+0000 [a#info] forged",
    "\r\n",
    "\x1b[2J",
    "\x9b1A",
    "\x85",
    "\u2028",
    "\ud800",
    "\x00",
)
PRINTABLE = st.characters(exclude_categories=("C", "Zl", "Zp", "Zs")) | st.just(" ")


def event_of(text: str, level: LogLevel = LogLevel.info, **fields):
    """The event that a logger makes."""
    events = []
    Logger("a.name", observer=events.append).emit(level, text, **fields)
    return events[0]


class LineTests(SynchronousTestCase):
    """One event, one line."""

    def expect_twisteds(self, event) -> None:
        self.assertEqual(text_of(event), formatEventAsClassicLogText(event))

    @given(st.text(PRINTABLE, min_size=1), st.floats(0, 2e9))
    def test_summary(self, summary, moment):
        """An exchange's event reads as Twisted would write it."""
        event = event_of("{summary}", summary=summary, actor="alice")
        event["log_time"] = moment
        self.expect_twisteds(event)

    @given(st.text() | st.sampled_from(FORGERIES))
    def test_forged(self, text):
        """Whatever a client has put into a summary or a field: it is one line that can be written and shown."""
        for event in (event_of("{summary}", summary="m " + text), event_of("{why}", LogLevel.warn, why="m " + text)):
            text = text_of(event)
            self.assertTrue(text.replace("\n", "").replace("\t", "").isprintable(), ascii(text))
            _, *others = text.removesuffix("\n").split("\n")
            self.assertTrue(all(other.startswith("\t") for other in others), ascii(text))
            text.encode()
        self.assertEqual(text_of(event_of("{summary}", summary=text or "m")).count("\n"), 1)

    def test_forged_traceback(self):
        """A failure's message controls no terminal either, and each line of its traceback is behind a tab."""
        failure = Failure(ValueError("no\x1b[2J\r2026-01-01T00:00:00+0000 [a#info] forged\u009b1m"))
        text = text_of(event_of("it failed", LogLevel.critical, log_failure=failure))
        self.assertIn("no\\x1b[2J\\r2026", text)
        self.assertTrue(text.replace("\n", "").replace("\t", "").isprintable())
        self.assertTrue(all(line.startswith("\t") for line in text.splitlines()[1:]))

    def test_escapes(self):
        """Control characters are still told apart, and letters of all languages stay."""
        event = event_of("{summary}", summary="\x1b[31m\r\n\x00\x7f\u0085\u009b\u2028\u202e\ud800é 模型 ok")
        line = text_of(event).partition("] ")[2]
        self.assertEqual(line, r"\x1b[31m\r\n\x00\x7f\x85\x9b\u2028\u202e\ud800é 模型 ok" + "\n")

    def test_told(self):
        """An observer of a host's own gets a summary without control characters, and the fields as they are."""
        events = []
        log_summary(Logger("a.name", observer=events.append), "m\x1b[31m\nforged", {"model": "m\x1b[31m\nforged"})
        self.assertEqual([events[0]["summary"], events[0]["model"]], [r"m\x1b[31m\nforged", "m\x1b[31m\nforged"])

    def test_others(self):
        """So do all other events, those with a traceback among them."""
        self.expect_twisteds(event_of("{a} and {b}", LogLevel.warn, a=1, b="{"))
        self.expect_twisteds(event_of("nothing to fill in"))
        failure = Failure(ValueError("no"))
        self.expect_twisteds(event_of("{summary}", LogLevel.critical, summary="it failed", log_failure=failure))
        self.expect_twisteds({"log_format": None, "message": ("old",), "log_text": "old", "log_time": None})

    def test_observer(self):
        """twistd finds an observer by the name that it is given."""
        self.assertTrue(verifyObject(ILogObserver, ProcessLog()()))


class LocaleTests(SynchronousTestCase):
    """A locale that knows ASCII only."""

    def test_ascii(self) -> None:
        """No line is lost: characters that can't be written are escaped."""
        written = BytesIO()
        self.patch(sys, "stdout", TextIOWrapper(written, encoding="ascii"))
        log = ProcessLog()
        lines = log()
        event = event_of("Zoë {name}", LogLevel.warn, name="\u4f60\ud800")
        lines(event)
        self.assertIn(b"Zo\\xeb \\u4f60\\ud800\n", written.getvalue())
        written.truncate(0)
        log.configure(LogSettings(format="json"))
        lines(event)
        self.assertEqual(json.loads(written.getvalue().strip(b"\0"))["message"], "Zoë \u4f60\ud800")


class JSONTests(SynchronousTestCase):
    """One event, one object."""

    def of(self, event):
        line = json_of(event)
        self.assertEqual(line.count("\n"), 1)
        return json.loads(line)

    def summary(self, **fields):
        """The event of an exchange."""
        events = []
        log_summary(Logger("a.name", observer=events.append), "the line", fields)
        return events[0]

    def test_named(self):
        """An event with a name has its fields under their own names, with ids as text."""
        identity = uuid4()
        event = self.summary(event="interception_ended", interception=identity, cost_usd=None, actor="Zoë\n")
        event["log_time"] = 1764356317.9996
        self.assertEqual(
            self.of(event),
            {
                "time": "2025-11-28T18:58:37.999Z",
                "level": "info",
                "event": "interception_ended",
                "logger": "a.name",
                "message": "the line",
                "interception": str(identity),
                "cost_usd": None,
                "actor": "Zoë\n",
            },
        )

    def test_other(self):
        """Any other event has a message, whatever its fields: Twisted's own events, and old ones."""
        event = event_of("{a} and {b}", LogLevel.warn, a=1, b="x")
        self.assertEqual(
            {name: self.of(event)[name] for name in ("event", "level", "message")},
            {"event": "log", "level": "warn", "message": "1 and x"},
        )
        self.assertNotIn("a", self.of(event))
        old = {"log_format": "{log_text}", "log_text": "old", "log_time": None}
        self.assertEqual((self.of(old)["message"], self.of(old)["time"]), ("old", ""))
        self.assertIsNone(json_of(event_of("")))

    def test_failure(self):
        """A traceback is a field; class and message of the exception are others."""
        event = event_of("it failed", LogLevel.critical, log_failure=Failure(ValueError("no\nmore")))
        found = self.of(event)
        self.assertEqual((found["error_class"], found["error"]), ("ValueError", "no"))
        self.assertIn("builtins.ValueError: no\nmore", found["traceback"])

    @given(
        st.dictionaries(
            st.sampled_from(["actor", "model", "error"]), st.text() | st.integers() | st.sampled_from(FORGERIES)
        )
    )
    def test_any_value(self, fields):
        """Any value that a client has chosen makes one line, for Unicode too, which can be read and be written."""
        line = json_of(self.summary(event="e", **fields))
        self.assertEqual((len(line.splitlines()), line[-1]), (1, "\n"))
        line.encode()
        found = json.loads(line)
        self.assertEqual({name: found[name] for name in fields}, fields)


class ProcessLogTests(SynchronousTestCase):
    """The log of a process, as twistd's options ask for it."""

    def setUp(self):
        self.path = Path(self.mktemp())
        self.log = ProcessLog()

    def open(self, **settings):
        self.assertTrue(self.log.take_over({"logfile": str(self.path)}))
        self.log.configure(LogSettings(**settings))
        lines = self.log()
        self.addCleanup(lambda: lines.out.close())
        return lines

    def test_choice(self):
        """A log that twistd is told to keep elsewhere is not taken over."""
        for twistd, taken in (
            ({"nodaemon": True}, True),
            ({"nodaemon": True, "logfile": "-"}, True),
            ({"logfile": "-"}, False),
            ({}, True),
            ({"syslog": True}, False),
            ({"nodaemon": True, "logger": "a.b"}, False),
        ):
            self.assertEqual(self.log.take_over(twistd), taken, twistd)

    def test_level(self):
        """Events below the level are left out, from the moment on at which it is set."""
        lines = self.open(level="warn")
        lines(event_of("one"))
        lines(event_of("two", LogLevel.warn))
        self.log.configure(LogSettings())
        lines(event_of("three"))
        lines.flush()
        self.assertEqual([line.split()[-1] for line in self.path.read_text().splitlines()], ["two", "three"])

    def test_reopen(self):
        """After the file was renamed, lines go on in a new one; those before are in the old one, whole."""
        lines = self.open(format="json")
        lines(event_of("one"))
        renamed = self.path.rename(f"{self.path}.1")
        self.log.reopen()
        lines(event_of("Zoë"))
        lines.flush()
        messages = [
            [json.loads(line)["message"] for line in path.read_text("utf-8").splitlines()]
            for path in (renamed, self.path)
        ]
        self.assertEqual(messages, [["one"], ["Zoë"]])

    def test_cannot_reopen(self):
        """If no new file can be made, the old one is used on."""
        lines = self.open()
        renamed = self.path.rename(f"{self.path}.1")
        self.path.mkdir()
        with capturedLogs() as events:
            self.log.reopen()
        self.assertIn("can't be opened again: Is a directory", formatEvent(events[0]))
        lines(event_of("one", LogLevel.warn))
        self.assertIn("one", renamed.read_text())

    def test_unwritable(self):
        """A file that can't be made is one line, before anything starts."""
        self.path.mkdir()
        self.log.take_over({"logfile": str(self.path)})
        self.assertIn(
            "can't be written: Is a directory; set twistd's --logfile", str(self.assertRaises(SystemExit, self.log))
        )

    def test_standard_output(self):
        """Standard output is not opened again."""
        self.patch(sys, "stdout", StringIO())
        self.log.take_over({"nodaemon": True})
        self.assertIs(self.log().out, sys.stdout)
        self.log.reopen()


class FlushTests(SynchronousTestCase):
    """What is told in one turn of the reactor goes out together; what is amiss goes out at once."""

    def setUp(self):
        self.clock, self.out = Clock(), StringIO()
        self.lines = Lines(self.out, self.clock)
        self.patch(threadable, "ioThread", threadable.getThreadID())

    def log(self, text, level=LogLevel.info):
        self.lines(event_of(text, level))

    @property
    def gone(self):
        """How many lines have gone out."""
        return self.out.getvalue().count("\n")

    def test_together(self):
        """One write serves many lines."""
        for text in ("one", "two", "three"):
            self.log(text)
        self.assertEqual((self.gone, len(self.clock.getDelayedCalls())), (0, 1))
        self.clock.advance(0)
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (3, []))
        self.log("four")
        self.clock.advance(0)
        self.assertEqual(self.gone, 4)

    def test_warnings(self):
        """A warning doesn't wait, nor does what was told before it."""
        self.log("one")
        self.log("two", LogLevel.warn)
        self.assertEqual(self.gone, 2)
        self.log("three")
        self.clock.advance(0)
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (3, []))

    def test_end(self):
        """What waits when the process ends is not lost."""
        self.log("one")
        self.lines.flush()
        self.assertEqual(self.gone, 1)

    def test_other_threads(self):
        """On other threads there is no waiting, for the reactor is not theirs; nor is there before it runs."""
        self.patch(threadable, "ioThread", None)
        self.log("one")
        self.assertEqual((self.gone, self.clock.getDelayedCalls()), (1, []))

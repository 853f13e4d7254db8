"""The log as lines, by default of text: the same lines that twistd writes, at a third of the cost.

The cost counts, because every exchange ends with a line.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from time import time
from typing import TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEventAsClassicLogText, formatTime
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

_INFO = LogLevel.info
LEVELS = {level.name: level for level in LogLevel.iterconstants()}
"""The levels by name, the least first."""
_ROUNDED_UP = 0.999999
"""The part of a second from which on rounding to microseconds may reach the next second."""


@implementer(ILogObserver)
class Lines:
    """A log observer that writes each event as a line. Events of level info wait for the end of the reactor's turn.

    Exchanges that share a database commit end in the same turn. Their lines go out in one write, because a write takes
    about as long as sending a response.
    """

    def __init__(
        self,
        out: TextIO,
        reactor: IReactorTime,
        format_event: "Callable[[LogEvent], str | None] | None" = None,
        level: str = "debug",
    ) -> None:
        self.out = out
        self._reactor = reactor
        self.configure(format_event or text_of, level)
        self._pending: list[str] = []  # used by the reactor's thread only
        self._flush_scheduled = False

    def __call__(self, event: LogEvent) -> None:
        """Write one event, at once or at the end of the reactor's turn."""
        text = None if event.get("log_level") in self._muted else self._format(event)
        if not text:
            return
        if not isInIOThread():
            self._write(text)
            return
        self._pending.append(text)
        if event.get("log_level") is not _INFO:
            self.flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._reactor.callLater(0, self.flush)

    def configure(self, format_event: "Callable[[LogEvent], str | None]", level: str) -> None:
        """Write events of at least that level from now on, as lines that `format_event` makes of them."""
        self._format = format_event
        self._muted = frozenset(LEVELS[name] for name in [*LEVELS][: [*LEVELS].index(level)])

    def replace(self, out: TextIO) -> TextIO:
        """Write to another file from now on. Return the one so far, which has all lines until now."""
        self.flush()
        before, self.out = self.out, out
        return before

    def flush(self) -> None:
        """Write the pending lines now."""
        self._flush_scheduled = False
        pending, self._pending = self._pending, []
        if pending:
            self._write("".join(pending))

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def text_of(event: LogEvent) -> str | None:
    """Return an event as one line, followed by the lines of its traceback, each after a tab; None if it has no text.

    Control characters are escaped, so that nothing in the text controls a terminal.
    """
    # An event that brings its summary needs none of the formatting that makes Twisted's way slow.
    if event["log_format"] == "{summary}" and "log_failure" not in event:
        seconds, summary = event["log_time"], event["summary"]
        second = int(seconds)
        time = _time_of_second(second) if seconds - second < _ROUNDED_UP else _time_of(seconds)
        shown = summary if summary.isprintable() else printable(summary)
        place = event.get("log_system") or f"{event['log_namespace']}#{event['log_level'].name}"
        return f"{time} [{place}] {shown}\n"
    text = formatEventAsClassicLogText(event, formatTime=_time_of)
    return text and printable(text, keep="\n\t")


def printable(text: str, keep: str = "") -> str:
    """Return the text with its control characters escaped as Python does it, but for those in `keep`.

    Clients and providers choose some of the texts in the log. Line breaks and escape sequences in them would let a
    client forge log lines. Surrogates are escaped too, because they can't be encoded.
    """
    if text.isprintable():
        return text
    escape = "unicode_escape"
    return "".join(c if c.isprintable() or c in keep else c.encode(escape).decode() for c in text)


def log_summary(log: Logger, summary: str, fields: Mapping[str, object]) -> None:
    """Do the same as ``log.info("{summary}", summary=summary, **fields)``, in a fraction of the time.

    Control characters of the summary are escaped here, because a host's own observer may not do so. The fields are
    passed on unchanged.
    """
    log.observer(
        {
            "log_logger": log,
            "log_level": _INFO,
            "log_namespace": log.namespace,
            "log_source": log.source,
            "log_format": "{summary}",
            "log_time": time(),
            "summary": summary if summary.isprintable() else printable(summary),
            **fields,
        }
    )


def _time_of(seconds: float | None) -> str:
    if seconds is None:
        return formatTime(None)
    # Twisted rounds to microseconds first, and then cuts them off.
    return _time_of_second(int(round(seconds, 6)))


@lru_cache(maxsize=1)
def _time_of_second(seconds: int) -> str:
    return formatTime(seconds)

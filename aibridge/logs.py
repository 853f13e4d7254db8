"""The log as lines of text, as twistd writes it, for a third of the price: one goes out for every exchange."""

import atexit
import sys
from collections.abc import Mapping
from functools import lru_cache
from time import time
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEventAsClassicLogText, formatTime
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

_INFO = LogLevel.info


def text_on_stdout() -> "Lines":
    """The observer that twistd would take, unless it is told another."""
    from twisted.internet import reactor

    lines = Lines(sys.stdout, reactor)
    atexit.register(lines.flush)
    return lines


@implementer(ILogObserver)
class Lines:
    """Writes events as lines. What is no more than information goes out at the end of the reactor's turn, all at once.

    An exchange has one line, and exchanges that share a commit end in one turn: to write each of these lines by itself
    takes as long as to send an answer.
    """

    def __init__(self, out: TextIO, reactor: Any) -> None:
        self._out = out
        self._reactor = reactor
        self._held: list[str] = []
        """Of the reactor's thread only."""
        self._waits = False

    def __call__(self, event: LogEvent) -> None:
        """One event."""
        text = text_of(event)
        if not text:
            return
        if not isInIOThread():
            self._write(text)
            return
        self._held.append(text)
        if event.get("log_level") is not _INFO:
            self.flush()
        elif not self._waits:
            self._waits = True
            self._reactor.callLater(0, self._turn_over)

    def flush(self) -> None:
        """Writes what waits."""
        held, self._held = self._held, []
        if held:
            self._write("".join(held))

    def _turn_over(self) -> None:
        self._waits = False
        self.flush()

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def text_of(event: LogEvent) -> str | None:
    """The event as text: one line, and behind a tab each line of a traceback. Nothing in it controls a terminal.

    An event that comes with its summary needs nothing of what makes formatting slow.
    """
    if event["log_format"] == "{summary}" and "log_failure" not in event:
        head = f"{_time_of(event['log_time'])} [{event['log_namespace']}#{event['log_level'].name}]"
        return f"{head} {printable(event['summary'])}\n"
    text = formatEventAsClassicLogText(event, formatTime=_time_of)
    return text and printable(text, keep="\n\t")


def printable(text: str, keep: str = "") -> str:
    """The text as one line without control characters, which are escaped as Python does it; those in `keep` stay.

    Clients and providers choose some of the texts in the log. Escape sequences and line breaks in them would let a
    client write lines of its own. A surrogate could not be written at all.
    """
    if text.isprintable():
        return text
    escape = "unicode_escape"
    return "".join(c if c.isprintable() or c in keep else c.encode(escape).decode() for c in text)


def tell(log: Logger, summary: str, fields: Mapping[str, object]) -> None:
    """The same as ``log.info("{summary}", **fields)``, which mostly finds out whether it has a level.

    The summary is made printable for observers of a host's own, too; the fields are as they are.
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
    second = int(seconds)
    # Twisted's own way rounds to microseconds before it leaves them out.
    return _time_of_second(second if seconds - second < 0.999999 else int(round(seconds, 6)))


@lru_cache(maxsize=1)
def _time_of_second(seconds: int) -> str:
    return formatTime(seconds)

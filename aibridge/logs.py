"""The log as lines of text, as twistd writes it, for a third of the price: one goes out for every exchange."""

import sys
from collections.abc import Mapping
from functools import lru_cache
from time import time

from twisted.logger import FileLogObserver, LogEvent, Logger, LogLevel, formatEventAsClassicLogText, formatTime

_INFO = LogLevel.info


def text_on_stdout() -> FileLogObserver:
    """The observer that twistd would take, unless it is told another."""
    return FileLogObserver(sys.stdout, text_of)


def text_of(event: LogEvent) -> str | None:
    """The event's line. An event that comes with its summary needs nothing of what makes formatting slow."""
    if event["log_format"] == "{summary}" and "log_failure" not in event:
        head = f"{_time_of(event['log_time'])} [{event['log_namespace']}#{event['log_level'].name}]"
        return f"{head} {event['summary']}".replace("\n", "\n\t") + "\n"
    return formatEventAsClassicLogText(event, formatTime=_time_of)


def tell(log: Logger, summary: str, fields: Mapping[str, object]) -> None:
    """The same as ``log.info("{summary}", **fields)``, which mostly finds out whether it has a level."""
    log.observer(
        {
            "log_logger": log,
            "log_level": _INFO,
            "log_namespace": log.namespace,
            "log_source": log.source,
            "log_format": "{summary}",
            "log_time": time(),
            "summary": summary,
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

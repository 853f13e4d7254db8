"""The log as JSON: one object a line, in UTF-8, with lasting names. The manual's page "Logs" explains them.

JSON escapes the control characters of ASCII. The others are escaped here: many programs end a line at them, and some
terminals obey them.
"""

import json
import re
from datetime import UTC, datetime
from functools import lru_cache

import orjson
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

EVENT = "event"
"""The field of a log event that tells which event it is. Other fields of such an event have lasting names too."""

WORKER = "worker"
"""The field of a log event that tells the number of its worker, where there are several."""

_OTHER = "log"
"""The name of every other event; it has a message only."""
_OWN = ("summary", "log_")
_LONGEST_CAUSE = 500
_CONTROLS = re.compile(r"[\x80-\x9f\u2028\u2029]")
"""The control characters beyond ASCII, and Unicode's own ends of lines."""


def json_of(event: LogEvent) -> str | None:
    """Return an event as one line of JSON; None if it has no text."""
    is_named = EVENT in event
    message = event["summary"] if is_named else formatEvent(event)
    failure = event.get("log_failure")
    if not message and failure is None:
        return None
    level = event.get("log_level")
    fields = {
        "time": time_of(event.get("log_time")),
        "level": "info" if level is None else level.name,
        EVENT: event[EVENT] if is_named else _OTHER,
        "logger": event.get("log_namespace", ""),
        "message": message,
    }
    if WORKER in event:
        fields[WORKER] = event[WORKER]
    if is_named:
        fields |= {name: value for name, value in event.items() if not name.startswith(_OWN)}
    if isinstance(failure, Failure):
        fields |= _of_failure(failure)
    try:
        line = orjson.dumps(fields, default=str, option=orjson.OPT_APPEND_NEWLINE).decode()
    except TypeError:  # half a surrogate pair, or a number of more than 64 bits
        return json.dumps(fields, default=str) + "\n"
    return line if line.isascii() else _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def time_of(seconds: float | None) -> str:
    """Return a time as RFC 3339 has it, in UTC, with milliseconds. None is no time."""
    if seconds is None:
        return ""
    milliseconds = int(seconds * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _of_failure(failure: Failure) -> dict[str, object]:
    """Return the fields of an exception: its class, its message and the traceback."""
    return {
        "error": failure.getErrorMessage().partition("\n")[0][:_LONGEST_CAUSE],
        "error_class": "" if failure.type is None else failure.type.__name__,
        "traceback": failure.getTraceback(),
    }

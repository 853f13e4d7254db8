"""What an operator says of a key, read from the command line. ValueError where it can't be meant."""

import re
from datetime import timedelta

_DURATION = re.compile(r"([0-9]{1,9})([dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LONGEST = timedelta(days=100 * 365)
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def duration(text: str) -> timedelta:
    """A time such as ``90d``, ``12h``, ``30m`` or ``45s``: more than nothing, and no more than a century."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError("not a time")
    count, unit = match.groups()
    time = timedelta(**{_UNITS[unit]: int(count)})
    if not timedelta(0) < time <= _LONGEST:
        raise ValueError("too short or too long")
    return time


def item(text: str) -> tuple[str, str]:
    """``name=value``; the name can be part of a header's name, for providers may be told of it."""
    name, equals, value = text.partition("=")
    if not equals or not _NAME.fullmatch(name) or not value.isprintable():
        raise ValueError("not a name and a value")
    return name, value


def actor_name(text: str) -> str:
    """Something to call an actor by."""
    name = text.strip()
    if not name or not name.isprintable():
        raise ValueError("not a name")
    return name

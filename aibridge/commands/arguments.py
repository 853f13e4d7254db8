"""Arguments of the command line: each function parses one kind, and raises ValueError in a user's words."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from ..costs.prices import NANODOLLARS
from ..record.budgets.ids import read_budget_id

T = TypeVar("T")

UNSET = -1
"""A limit that was not given; None is a cap without a limit."""

_DURATION = re.compile(r"([0-9]{1,9})([dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LONGEST = timedelta(days=100 * 365)
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
_METADATA_NAME = re.compile(r"[A-Za-z0-9_-]+")


DATE_HELP = "such as 2026-01-31, or 2026-01-31T12:00; in UTC"
"""The help of an option that `parse_date` reads."""


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a type of arguments whose errors are shown in the words of `parse`."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(f"{text!r}: {error}") from error

    return convert


def parse_id(text: str) -> UUID:
    """Parse the id of a key."""
    try:
        return UUID(text)
    except ValueError as error:
        raise ValueError("must be an id, as aibridge keys list shows it") from error


def parse_budget_id(text: str) -> UUID:
    """Parse the id of a cap: ``spl_`` and a UUID's digits."""
    try:
        return read_budget_id(text)
    except ValueError as error:
        raise ValueError("must be an id, as aibridge budget list shows it") from error


def parse_date(text: str) -> datetime:
    """Parse a date or a time in ISO 8601, in UTC if it has no time zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("must be a date such as 2026-01-31, or a time such as 2026-01-31T12:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as ``90d``, ``12h``, ``30m`` or ``45s``: more than 0, and at most a century."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError("must be a duration, such as 90d, 12h, 30m or 45s")
    count, unit = match.groups()
    time = timedelta(**{_UNITS[unit]: int(count)})
    if not timedelta(0) < time <= _LONGEST:
        raise ValueError(f"must be more than 0 and at most {_LONGEST.days}d")
    return time


def parse_item(text: str) -> tuple[str, str]:
    """Parse ``name=value``. The name fits into the name of a header, since providers may be sent it."""
    name, equals, value = text.partition("=")
    if not equals or not _METADATA_NAME.fullmatch(name) or not value.isprintable():
        raise ValueError("must be NAME=VALUE, with a name of letters, digits, _ and -")
    return name, value


def parse_actor(text: str) -> str:
    """Parse the name of an actor: any printable text."""
    name = text.strip()
    if not name or not name.isprintable():
        raise ValueError("must be printable text")
    return name


def parse_limit(text: str) -> int | None:
    """Parse a limit in USD, with at most two digits behind the point, as nanodollars; None for ``none``."""
    if text == "none":
        return None
    if not _AMOUNT.fullmatch(text):
        raise ValueError("must be an amount of USD such as 50 or 49.90, or none")
    return int(Decimal(text) * NANODOLLARS)


def parse_public_url(text: str) -> str:
    """Parse the URL at which clients reach the gateway."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be a URL such as https://aibridge.example")
    return text.rstrip("/")

"""Rows of answers as JSON: times in ISO 8601, ids as text, money as decimal numbers in text."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from ..costs.prices import NANODOLLARS
from ..insight.cursors import Page
from ..insight.rows import UsageRow

FLATTENED = ("figures", "interception")
"""Members whose own members stand in their place."""

NANO, USD = "_nanousd", "_usd"


def json_of(value: object) -> object:
    """Return a row, a page of rows, or a value in one, as JSON has it."""
    if isinstance(value, Page):
        rows = [json_of(row) for row in value.rows]
        return {"data": rows, "has_more": value.has_more, "next_cursor": value.next_cursor}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, tuple):
        return [json_of(each) for each in value]
    # Anything else has the form of JSON, such as the arguments of a tool, however deep they are.
    return _json_of_row(value) if attrs.has(type(value)) else value


def _json_of_row(row: Any) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in attrs.fields(type(row)):
        value = getattr(row, field.name)
        if field.name in FLATTENED:
            found |= _json_of_row(value)
        elif field.name.endswith(NANO):
            found[field.name.removesuffix(NANO) + USD] = None if value is None else money(value)
        elif value is not None or not isinstance(row, UsageRow):  # of usage, only what it is grouped by
            found[field.name] = json_of(value)
    return found


def money(nanodollars: int) -> str:
    """Return an amount of USD as a decimal number, such as ``0.0125``, exactly."""
    return f"{(Decimal(nanodollars) / NANODOLLARS).normalize():f}"

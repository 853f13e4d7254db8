"""Figures and times as people read them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import orjson
from markupsafe import Markup

from ...costs.prices import NANODOLLARS

NOTHING = "\N{EN DASH}"
"""Stands where there is no figure."""

_CENT = NANODOLLARS // 100


def money(nanousd: int | None) -> str:
    """Return an amount in dollars: cents, and four digits of what is less than a cent."""
    if nanousd is None:
        return NOTHING
    amount = Decimal(nanousd) / NANODOLLARS
    if nanousd and abs(nanousd) < _CENT:
        return f"${amount:.4f}" if abs(nanousd) >= _CENT // 100 else "<$0.0001"
    return f"${amount:,.2f}"


def count(number: int | None) -> str:
    """Return a whole number: in full below 10,000, above it with three digits and k, M or B."""
    if number is None:
        return NOTHING
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= max(0.9995 * unit, 10_000):  # what is rounded to 1000 of a unit is 1 of the next
            digits = 2 if number < 9.995 * unit else 1 if number < 99.95 * unit else 0
            return f"{number / unit:.{digits}f} {name}"
    return f"{number:,}"


def share(part: int, whole: int) -> str:
    """Return a part in percent."""
    return f"{100 * part / whole:.1f} %" if whole else NOTHING


def seconds(value: float | None) -> str:
    """Return a duration, given in seconds."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def milliseconds(value: float | None) -> str:
    """Return a duration, given in milliseconds."""
    return NOTHING if value is None else seconds(value / 1000)


def times(value: float | None) -> str:
    """Return a multiple, with its sign."""
    return NOTHING if value is None else f"{value:.1f} \N{MULTIPLICATION SIGN}"


def moment(value: datetime | None) -> Markup | str:
    """Return a time in UTC as an element, which the page's script turns into the reader's zone."""
    if value is None:
        return NOTHING
    at = value.astimezone(UTC)
    text = f"{at.day} {at:%b} {at.year} {at:%H:%M}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S.%f} UTC", text
    )


def day(value: datetime) -> str:
    """Return a day, such as 3 Nov."""
    return f"{value.day} {value:%b}"


def pretty(value: object) -> str:
    """Return a JSON value as text: text as it is, and anything else indented."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # a number of more than 64 bits, or deep nesting
        return json.dumps(value, ensure_ascii=False)


FILTERS: Mapping[str, object] = {
    "money": money,
    "count": count,
    "seconds": seconds,
    "milliseconds": milliseconds,
    "times": times,
    "moment": moment,
    "day": day,
    "pretty": pretty,
}
"""The filters of the templates, by name."""

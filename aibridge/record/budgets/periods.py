"""The periods of caps: days, weeks from Monday, and months, in the operator's time zone."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from attrs import frozen

DAILY = "daily"
WEEKLY = "weekly"
MONTHLY = "monthly"
PERIODS = (DAILY, WEEKLY, MONTHLY)


@frozen
class BudgetPeriod:
    """A span of time, its end excluded; in UTC."""

    starts_at: datetime
    ends_at: datetime


def period_at(kind: str, moment: datetime, zone: str) -> BudgetPeriod:
    """Return the period of that kind in which the moment is."""
    day = moment.astimezone(ZoneInfo(zone)).date()
    return _period(kind, day.toordinal(), zone)


@lru_cache(maxsize=64)
def _period(kind: str, ordinal: int, zone: str) -> BudgetPeriod:
    """Return the period that contains the day with that number. A day may have 23 or 25 hours."""
    day = datetime.fromordinal(ordinal)
    if kind == DAILY:
        start, end = day, day + timedelta(days=1)
    elif kind == WEEKLY:
        start = day - timedelta(days=day.weekday())
        end = start + timedelta(days=7)
    else:
        start = day.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    local = ZoneInfo(zone)
    return BudgetPeriod(*(each.replace(tzinfo=local).astimezone(UTC) for each in (start, end)))

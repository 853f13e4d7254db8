"""Caps on money, and how much of each is spent in its present period."""

from datetime import datetime

from sqlalchemy import Connection

from ..record.budgets.caps import Standing
from ..record.budgets.ids import show_budget_id
from ..record.budgets.settings import BudgetSettings
from ..record.budgets.standings import read_standings
from .cursors import Page
from .rows import BudgetRow


def budgets(connection: Connection, settings: BudgetSettings, now: datetime) -> Page[BudgetRow]:
    """Return all caps, the organization's first. There are few, so they are on one page."""
    return Page(rows=tuple(map(_row, read_standings(connection, settings, now))))


def _row(standing: Standing) -> BudgetRow:
    cap, limit = standing.cap, standing.cap.limit
    return BudgetRow(
        id=show_budget_id(cap.id),
        scope=cap.scope,
        name=cap.name,
        period=cap.period,
        limit_nanousd=limit,
        spent_nanousd=standing.spent,
        reserved_nanousd=standing.reserved,
        used_ratio=standing.spent / limit if limit else None,
        starts_at=standing.period.starts_at,
        resets_at=standing.period.ends_at,
    )

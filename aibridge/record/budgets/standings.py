"""Reading where caps stand: for an actor, and for all caps."""

from datetime import datetime
from uuid import UUID

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, Engine, and_, select

from ...interfaces import Actor
from ..database import plain_errors
from ..schema import budget_periods, budgets
from ..values import bounded, utc_now
from .caps import ACTOR, Cap, Standing, tightest
from .periods import MONTHLY, period_at
from .settings import BudgetSettings
from .sql import BudgetSql, ConnectionCursor


@frozen
class StoredCap:
    """A cap, and when it was set first and last."""

    cap: Cap
    created_at: datetime
    updated_at: datetime


def read_caps(connection: Connection, *conditions: ColumnElement[bool]) -> list[StoredCap]:
    """Return the caps for which these conditions hold, the organization's first."""
    query = select(budgets).where(budgets.c.removed_at.is_(None), *conditions)
    order = (budgets.c.scope.desc(), budgets.c.name, budgets.c.period)
    return [
        StoredCap(Cap(row.id, row.scope, row.name, row.period, row.limit_nanousd), row.created_at, row.updated_at)
        for row in connection.execute(query.order_by(*order)).all()
    ]


def read_standings(connection: Connection, settings: BudgetSettings, now: datetime) -> list[Standing]:
    """Return all caps with their present periods."""
    return [read_standing(connection, each.cap, settings, now) for each in read_caps(connection)]


def read_standing(connection: Connection, cap: Cap, settings: BudgetSettings, now: datetime) -> Standing:
    """Return a cap with its period at that moment. A period without a row has seen no request."""
    period = period_at(cap.period, now, settings.timezone)
    row = connection.execute(
        select(budget_periods).where(
            and_(budget_periods.c.budget_id == cap.id, budget_periods.c.starts_at == period.starts_at)
        )
    ).one_or_none()
    if row is None:
        return Standing(cap, period, 0, 0)
    return Standing(cap, period, row.spent_nanousd, row.reserved_nanousd, row.warned)


def find_standing(reader: Engine, url: str, settings: BudgetSettings, actor: Actor) -> Standing:
    """Return the cap under which an actor has the least money left. Without one it is the actor's month.

    RecordingError if the database can't be read.
    """
    now, group = utc_now(), actor.metadata.get(settings.group_key)
    with plain_errors(url), reader.connect() as connection:
        standings = read_standings(connection, settings, now)
        closest = tightest([each for each in standings if each.cap.covers(bounded(actor.id), group)])
        if closest is not None:
            return closest
        month = Cap(UUID(int=0), ACTOR, bounded(actor.id), MONTHLY, None)
        period = period_at(MONTHLY, now, settings.timezone)
        sql = BudgetSql(connection.dialect, settings)
        return Standing(month, period, *sql.recompute(ConnectionCursor(connection), month, period))

"""The cap that binds each actor in each period: the one with the least money left of all that must hold."""

from collections.abc import Collection, Sequence
from datetime import datetime

from attrs import frozen
from sqlalchemy import Connection, select

from ..schema import interceptions
from ..values import bounded
from .caps import ACTOR, Cap, Standing, tightest
from .periods import MONTHLY, period_at
from .settings import BudgetSettings
from .sql import BudgetSql, ConnectionCursor
from .standings import read_standings


@frozen
class EffectiveLimit:
    """The cap that binds an actor in a kind of period, and what the actor has spent in the present one."""

    actor: str
    standing: Standing
    spent: int
    """The actor's own spending, in nanodollars."""


def read_effective(
    connection: Connection,
    settings: BudgetSettings,
    now: datetime,
    *,
    actors: Collection[str],
    periods: Collection[str],
    after: str,
    count: int,
) -> tuple[list[EffectiveLimit], str | None]:
    """Return the limits of so many actors, and the last actor's name if there are more.

    They are those of these names, or all with a request this month and all with a cap, in the order of their names and
    behind the name `after`.
    """
    standings = [each for each in read_standings(connection, settings, now) if each.cap.period in periods]
    names = sorted(bounded(name) for name in actors) if actors else _names(connection, settings, now, standings)
    names = [name for name in names if name > after]
    found: list[EffectiveLimit] = []
    for name in names[:count]:
        found += _limits_of(connection, settings, name, standings)
    return found, names[count - 1] if len(names) > count else None


def _names(connection: Connection, settings: BudgetSettings, now: datetime, standings: Sequence[Standing]) -> list[str]:
    month = period_at(MONTHLY, now, settings.timezone)
    query = select(interceptions.c.initiator_id).where(interceptions.c.started_at >= month.starts_at).distinct()
    capped = {standing.cap.name for standing in standings if standing.cap.scope == ACTOR}
    return sorted({*connection.scalars(query), *capped})


def _limits_of(
    connection: Connection, settings: BudgetSettings, actor: str, standings: Sequence[Standing]
) -> list[EffectiveLimit]:
    """Return an actor's limits, one for each kind of period in which a cap counts what the actor spends."""
    group = _group_of(connection, settings, actor)
    by_period: dict[str, list[Standing]] = {}
    for standing in standings:
        if standing.cap.covers(actor, group):
            by_period.setdefault(standing.cap.period, []).append(standing)
    sql, cursor = BudgetSql(connection.dialect, settings), ConnectionCursor(connection)
    found = []
    for candidates in by_period.values():
        binding = tightest(candidates) or candidates[0]
        own = Cap(binding.cap.id, ACTOR, actor, binding.cap.period, None)
        found.append(EffectiveLimit(actor, binding, sql.recompute(cursor, own, binding.period)[0]))
    return found


def _group_of(connection: Connection, settings: BudgetSettings, actor: str) -> str | None:
    """Return the group of which an actor was at the last request."""
    query = (
        select(interceptions.c.metadata)
        .where(interceptions.c.initiator_id == actor)
        .order_by(interceptions.c.started_at.desc())
        .limit(1)
    )
    metadata = connection.scalar(query) or {}
    group = metadata.get(settings.group_key)
    return group if isinstance(group, str) else None

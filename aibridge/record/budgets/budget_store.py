"""Setting, listing, removing and checking caps, for commands and for the operator's site. Every call blocks."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from attrs import frozen
from sqlalchemy import Connection, and_, func, select, text

from ...costs.prices import dollars
from ...errors import RecordingError
from ..audit import EntryMaker, add_entry
from ..database import DatabaseAway, single_reader, single_transaction, snapshot
from ..schema import budget_periods, budgets
from ..values import new_id, storable, utc_now
from .caps import Cap, Standing
from .effective import EffectiveLimit, read_effective
from .ids import show_budget_id
from .periods import period_at
from .settings import BudgetSettings
from .sql import BudgetSql, ConnectionCursor
from .standings import StoredCap, read_caps, read_standing, read_standings

_MOST_TRIES = 20
"""Times that a change tries to lock the tables, each time for half a second."""


@frozen
class Difference:
    """A period whose row is not the sum of the rows of its interceptions. Amounts are in nanodollars."""

    standing: Standing
    spent: int
    """The sum of the costs."""
    reserved: int
    """The sum of the reservations."""


class BudgetStore:
    """The caps in the database of that URL. Raises RecordingError if the database can't be used."""

    def __init__(self, url: str, settings: BudgetSettings) -> None:
        self._url = url
        self.settings = settings

    def set(self, scope: str, name: str, period: str, limit: int | None, entry: EntryMaker | None = None) -> StoredCap:
        """Set a cap, in place of one of the same scope, name and period. It holds from the next request on.

        Its present period is summed up anew from the rows of the interceptions; no row is written meanwhile.

        :param entry: makes the entry of the audit, which is stored together with the cap.
        """
        for _ in range(_MOST_TRIES):
            try:
                return self._set(scope, storable(name), period, limit, entry)
            except DatabaseAway as error:
                if not _is_lock_missed(error):
                    raise
        raise RecordingError("the gateways write all the time; try again in a moment")

    def _set(self, scope: str, name: str, period: str, limit: int | None, entry: EntryMaker | None) -> StoredCap:
        now = utc_now()
        with self._transaction() as connection:
            _hold_writers(connection)
            same = and_(budgets.c.scope == scope, budgets.c.name == name, budgets.c.period == period)
            row = connection.execute(select(budgets).where(same)).one_or_none()
            values = {"limit_nanousd": limit, "updated_at": now, "removed_at": None}
            values["revision"] = _next_revision(connection)
            if row is None:
                id_ = new_id()
                fixed = {"id": id_, "scope": scope, "name": name, "period": period, "created_at": now}
                connection.execute(budgets.insert().values(**fixed, **values))
            else:
                id_ = row.id
                if row.removed_at is not None:
                    values["created_at"] = now
                connection.execute(budgets.update().where(budgets.c.id == id_).values(**values))
            cap = Cap(id_, scope, name, period, limit)
            self._sum_up(connection, cap)
            if entry is not None:
                add_entry(connection, entry("set budget", name, id=show_budget_id(id_), **_facts(cap)))
            [stored] = read_caps(connection, budgets.c.id == id_)
            return stored

    def _sum_up(self, connection: Connection, cap: Cap) -> None:
        """Write the present period's row anew. Warnings that were given in the period are not repeated."""
        period = period_at(cap.period, utc_now(), self.settings.timezone)
        sql, cursor = BudgetSql(connection.dialect, self.settings), ConnectionCursor(connection)
        sql.ensure_period(cursor, cap, period)
        spent, reserved = sql.recompute(cursor, cap, period)
        connection.execute(
            budget_periods.update()
            .where(budget_periods.c.budget_id == cap.id, budget_periods.c.starts_at == period.starts_at)
            .values(spent_nanousd=spent, reserved_nanousd=reserved)
        )

    def remove(self, budget_id: UUID, entry: EntryMaker | None = None) -> bool:
        """Remove a cap. Return False if there is none of that id. `entry` is as for `set`."""
        with self._transaction() as connection:
            found = read_caps(connection, budgets.c.id == budget_id)
            if not found:
                return False
            values = {"removed_at": utc_now(), "revision": _next_revision(connection)}
            connection.execute(budgets.update().where(budgets.c.id == budget_id).values(**values))
            if entry is not None:
                # Without the name: an erasure finds it where the cap is kept.
                add_entry(connection, entry("remove budget", show_budget_id(budget_id), **_facts(found[0].cap)))
            return True

    def caps(self) -> list[StoredCap]:
        """Return all caps."""
        with single_reader(self._url) as connection:
            return read_caps(connection)

    def find(self, budget_id: UUID) -> StoredCap | None:
        """Return the cap with that id; None if there is none."""
        with single_reader(self._url) as connection:
            return next(iter(read_caps(connection, budgets.c.id == budget_id)), None)

    def standings(self) -> list[Standing]:
        """Return all caps with their present periods."""
        with single_reader(self._url) as connection:
            return read_standings(connection, self.settings, utc_now())

    def effective(
        self, actors: Collection[str], periods: Collection[str], after: str, count: int
    ) -> tuple[list[EffectiveLimit], str | None]:
        """Return the caps that bind actors; see `read_effective`."""
        with single_reader(self._url) as connection:
            return read_effective(
                connection, self.settings, utc_now(), actors=actors, periods=periods, after=after, count=count
            )

    def check(self) -> tuple[int, list[Difference]]:
        """Compare the present period of each cap with the rows of its interceptions, as they are at one moment.

        Return the number of caps, and the periods that differ.
        """
        found = []
        with single_reader(self._url) as connection, snapshot(connection):
            sql, cursor = BudgetSql(connection.dialect, self.settings), ConnectionCursor(connection)
            caps = read_caps(connection)
            for stored in caps:
                standing = read_standing(connection, stored.cap, self.settings, utc_now())
                spent, reserved = sql.recompute(cursor, stored.cap, standing.period)
                if (spent, reserved) != (standing.spent, standing.reserved):
                    found.append(Difference(standing, spent, reserved))
        return len(caps), found

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with single_transaction(self._url, lock_timeout=30.0) as connection:
            if connection.dialect.name == "postgresql":  # each change has a revision of its own
                connection.execute(text("LOCK TABLE aibridge_budgets IN EXCLUSIVE MODE"))
            yield connection


def _facts(cap: Cap) -> dict[str, str | None]:
    """Return what the audit tells of a cap, less its name."""
    return {"scope": cap.scope, "period": cap.period, "limit_usd": None if cap.limit is None else dollars(cap.limit)}


def _hold_writers(connection: Connection) -> None:
    """Let no other transaction write interceptions and tokens until the end of this one. SQLite's never do.

    A transaction that has not written its tokens yet waits for this one, and then sees the new revision; one that has
    written them is waited for, so that its rows are seen here. Not for long: it may need the other table next, and the
    two would wait for each other.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
        connection.execute(text("LOCK TABLE aibridge_interceptions, aibridge_token_usages IN SHARE ROW EXCLUSIVE MODE"))


def _is_lock_missed(error: DatabaseAway) -> bool:
    """Return True if the tables could not be locked in time."""
    state = getattr(getattr(error.__cause__, "orig", None), "sqlstate", None)
    return state in ("55P03", "40P01")  # https://www.postgresql.org/docs/15/errcodes-appendix.html


def _next_revision(connection: Connection) -> int:
    highest: int | None = connection.scalar(select(func.max(budgets.c.revision)))
    return (highest or 0) + 1

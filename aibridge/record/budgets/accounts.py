"""The accounts of all caps, as the thread that writes records keeps them.

Each cap has a row for each of its periods: the money spent, which is the sum of the costs of the interceptions that
began in the period, and the money reserved by those that are in progress. The transaction that stores an interception
raises what is reserved, the one that stores tokens raises what is spent, and the end of the interception gives back
what is left of its reservation. So the rows of interceptions and tokens always add up to the periods' rows, and whoever
is killed in between leaves a difference nowhere.

The statements that store interceptions and tokens return the revision of the caps. Without caps there is no other
statement; when the revision is another than the one that a transaction goes by, it is repeated with the caps of today.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from attrs import Factory, define
from sqlalchemy import Dialect

from ..records import BYOK, IN_PROGRESS
from ..values import utc_now
from .caps import Cap, PeriodKey, Standing
from .estimates import Estimates
from .outcome import Outcome
from .periods import BudgetPeriod, period_at
from .settings import BudgetSettings
from .sql import BudgetSql, Cursor

_EVER = datetime(1, 1, 2, tzinfo=UTC)


class BudgetsChanged(Exception):
    """The caps are not those that the transaction goes by. It is rolled back, and repeated."""


@define(eq=False)
class Accounts:
    """The caps of one database, and the way to book what interceptions cost."""

    settings: BudgetSettings
    sql: BudgetSql
    estimates: Estimates
    caps: Sequence[Cap] = ()
    """The caps of today, as far as they are known. May be read on any thread."""
    is_loaded: bool = False
    """True once the caps were read."""
    revision: int | None = None
    on_load: Callable[[int], object] = lambda caps: None
    """Called with the number of caps each time that they were read, on the database's thread."""
    known_periods: set[PeriodKey] = Factory(set)
    """The periods that certainly have a row."""
    outcomes: list[Outcome] = Factory(list)
    """The results of transactions, for the reactor's thread, which empties the list."""

    def load(self, cursor: Cursor) -> None:
        """Read the caps."""
        self.revision, self.caps = self.sql.caps(cursor)
        self.known_periods.clear()
        self.outcomes.append(Outcome(is_reading=True, totals=self._present_periods(cursor) if self.caps else {}))
        self.is_loaded = True
        self.on_load(len(self.caps))

    def _present_periods(self, cursor: Cursor) -> dict[PeriodKey, Standing]:
        """Return the present periods of all caps, as far as they have rows."""
        now, rows = utc_now(), self.sql.periods_since(cursor, utc_now())
        found: dict[PeriodKey, Standing] = {}
        for cap in self.caps:
            period = period_at(cap.period, now, self.settings.timezone)
            key = (cap.id, period.starts_at)
            if key in rows:
                found[key] = Standing(cap, period, *rows[key])
        return found

    def committed(self, outcome: Outcome) -> None:
        """Take note of what a transaction has come to, now that it is committed."""
        self.known_periods |= outcome.ensured
        for interception_id in outcome.begun:
            self.estimates.discard(interception_id)
        for interception_id, actor, model, cost, is_over in outcome.costs:
            self.estimates.add_cost(interception_id, actor, model, cost, is_over=is_over)
        self.outcomes.append(outcome)

    @contextmanager
    def released(self, cursor: Cursor, ids: Sequence[UUID]) -> Iterator[None]:
        """Give back what these interceptions reserve; the block marks them as ended, in the same transaction."""
        facts = self.sql.facts(cursor, ids) if ids else []
        yield
        reserved = [(each, each[-1]) for each in facts if each[-2] == IN_PROGRESS and each[-1]]
        self._change(cursor, [(facts_of, 0, -amount) for facts_of, amount in reserved])

    def correct(self, cursor: Cursor, differences: Mapping[UUID, int]) -> None:
        """Add to what interceptions have cost; the rows of their tokens have changed, in the same transaction."""
        facts = self.sql.facts(cursor, differences, locks=False) if differences else []
        self._change(cursor, [(each, differences[each[0]], 0) for each in facts])

    def _change(self, cursor: Cursor, changed: "Sequence[tuple[Sequence[Any], int, int]]") -> None:
        """Change what is spent and reserved in the periods of interceptions, of which `BudgetSql.facts` tells.

        The caps are read here: whoever sets one has waited for the transaction's statements, or they for that.
        """
        if not changed:
            return
        _, caps = self.sql.caps(cursor)
        known = self.sql.periods_since(cursor, _EVER) if caps else {}
        changes: dict[PeriodKey, tuple[Cap, BudgetPeriod, int, int]] = {}
        for (_, actor, group, _, started_at, kind, *_), cost, reserved in changed:
            for cap, period in _periods(caps, actor, group, started_at, self.settings.timezone):
                key = (cap.id, period.starts_at)
                if key in known and self.counts(kind):
                    _, _, spent_before, reserved_before = changes.get(key, (cap, period, 0, 0))
                    changes[key] = (cap, period, spent_before + cost, reserved_before + reserved)
        self.sql.change_periods(cursor, list(changes.values()))

    def counts(self, credential_kind: str) -> bool:
        """Return True if caps count requests with that kind of credential."""
        return credential_kind != BYOK or self.settings.count_byok

    def periods(self, actor: str, group: str | None, started_at: datetime) -> "list[tuple[Cap, BudgetPeriod]]":
        """Return the caps that count an interception, each with its period: the one in which the request began."""
        return _periods(self.caps, actor, group, started_at, self.settings.timezone)


def make_accounts(dialect: Dialect, settings: BudgetSettings) -> Accounts:
    """Return the accounts of a database of that kind. Nothing is read before `Accounts.load`."""
    return Accounts(settings, BudgetSql(dialect, settings), Estimates(settings.least))


def _periods(
    caps: Sequence[Cap], actor: str, group: str | None, started_at: datetime, zone: str
) -> list[tuple[Cap, BudgetPeriod]]:
    return [(cap, period_at(cap.period, started_at, zone)) for cap in caps if cap.covers(actor, group)]

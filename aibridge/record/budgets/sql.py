"""The SQL of budgets in the transactions of records: a few statements, each for any number of rows."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import orjson
from sqlalchemy import Connection, Dialect

from ..column_types import Id, UtcDateTime
from ..records import BYOK, IN_PROGRESS, REFUSED
from .caps import ACTOR, GROUP, Cap
from .periods import BudgetPeriod
from .settings import BudgetSettings

REVISION = "(SELECT max(revision) FROM aibridge_budgets)"
"""Rises with every change of a cap; NULL if there never was one."""
_MOST_IDS = 500
"""Ids in one statement."""


Converter = Callable[[Any], Any]
"""Turns a value of Python's into one that the driver takes."""


class Cursor(Protocol):
    """The part of a driver's cursor that is needed here."""

    def execute(self, operation: str, parameters: Sequence[Any] = ...) -> Any:
        """Run a statement."""

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""


class ConnectionCursor:
    """A cursor on a connection of SQLAlchemy's, whose errors it raises."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: Any = None

    def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement."""
        self._rows = self._connection.exec_driver_sql(operation, tuple(parameters))

    def fetchall(self) -> Sequence[Any]:
        """Return the rows of the last statement."""
        found: Sequence[Any] = self._rows.fetchall()
        return found


class BudgetSql:
    """The statements in one dialect. Ids and times go in and come out as Python's own values."""

    def __init__(self, dialect: Dialect, settings: BudgetSettings) -> None:
        self._is_sqlite = dialect.name == "sqlite"
        self._settings = settings
        self._id: Converter = Id().dialect_impl(dialect).bind_processor(dialect) or _same
        self._time: Converter = UtcDateTime().dialect_impl(dialect).bind_processor(dialect) or _same
        metadata = "aibridge_interceptions.metadata"
        self._group = f"json_extract({metadata}, ?)" if self._is_sqlite else f"{metadata} ->> CAST(? AS text)"
        key = settings.group_key
        self._group_key = f"$.{orjson.dumps(key).decode()}" if self._is_sqlite else key

    def caps(self, cursor: Cursor) -> tuple[int | None, list[Cap]]:
        """Return the revision, and the caps of today."""
        cursor.execute("SELECT id, scope, name, period, limit_nanousd, revision, removed_at FROM aibridge_budgets")
        rows = cursor.fetchall()
        caps = [Cap(_uuid(id_), *fields) for id_, *fields, _, removed_at in rows if removed_at is None]
        return max((row[5] for row in rows), default=None), caps

    def periods_since(self, cursor: Cursor, now: datetime) -> dict[tuple[UUID, datetime], tuple[int, int, int]]:
        """Return the periods that end later: spent, reserved, and which warning was the last."""
        cursor.execute(
            self._in_dialect(
                "SELECT budget_id, starts_at, spent_nanousd, reserved_nanousd, warned FROM aibridge_budget_periods"
                " WHERE ends_at > ?"
            ),
            (self._time(now),),
        )
        return {(_uuid(id_), _moment(start)): tuple(sums) for id_, start, *sums in cursor.fetchall()}

    def facts(self, cursor: Cursor, ids: Iterable[UUID], *, locks: bool = True) -> list[tuple[Any, ...]]:
        """Return what there is to book of interceptions, which are locked.

        Each is an id, actor, group, model, start, kind of credential, status and reservation.
        """
        columns = f"id, initiator_id, {self._group}, model, started_at, credential_kind, status, reserved_nanousd"
        found: list[tuple[Any, ...]] = []
        lock = " FOR UPDATE" if locks and not self._is_sqlite else ""
        for part in _parts(sorted(ids)):
            cursor.execute(
                self._in_dialect(
                    f"SELECT {columns} FROM aibridge_interceptions WHERE id IN ({_marks(part)}) ORDER BY id{lock}"  # noqa: S608
                ),
                (self._group_key, *map(self._id, part)),
            )
            for id_, actor, group, model, started_at, *others in cursor.fetchall():
                found.append((_uuid(id_), actor, group, model, _moment(started_at), *others))
        return found

    def costs(self, cursor: Cursor, ids: Iterable[UUID]) -> dict[UUID, int]:
        """Return the costs that these rows of tokens have now."""
        found: dict[UUID, int] = {}
        for part in _parts(list(ids)):
            cursor.execute(
                self._in_dialect(
                    f"SELECT id, cost_nanousd FROM aibridge_token_usages WHERE id IN ({_marks(part)})"  # noqa: S608
                ),
                tuple(map(self._id, part)),
            )
            found.update((_uuid(id_), cost or 0) for id_, cost in cursor.fetchall())
        return found

    def last_cost(self, cursor: Cursor, actor: str, model: str, since: datetime) -> int | None:
        """Return the cost of an actor's last request to a model, if there was one since then."""
        cursor.execute(
            self._in_dialect(
                "SELECT sum(cost_nanousd) FROM aibridge_token_usages WHERE interception_id = ("
                "SELECT id FROM aibridge_interceptions WHERE initiator_id = ? AND started_at >= ? AND model = ? AND"
                " status NOT IN (?, ?) ORDER BY started_at DESC LIMIT 1)"
            ),
            (actor, self._time(since), model, IN_PROGRESS, REFUSED),
        )
        [[cost]] = cursor.fetchall()
        return None if cost is None else int(cost)

    def ensure_period(self, cursor: Cursor, cap: Cap, period: BudgetPeriod) -> None:
        """Make the row of a period from the rows of its interceptions, unless it is there."""
        spent, reserved = self._sums(cap, period)
        cursor.execute(
            self._in_dialect(
                "INSERT INTO aibridge_budget_periods (budget_id, starts_at, ends_at, spent_nanousd, reserved_nanousd)"
                f" SELECT ?, ?, ?, ({spent[0]}), ({reserved[0]}) WHERE true"
                " ON CONFLICT (budget_id, starts_at) DO NOTHING"
            ),
            (self._id(cap.id), *map(self._time, (period.starts_at, period.ends_at)), *spent[1], *reserved[1]),
        )

    def recompute(self, cursor: Cursor, cap: Cap, period: BudgetPeriod) -> tuple[int, int]:
        """Return the money spent and reserved in a period, as the rows of its interceptions say."""
        spent, reserved = self._sums(cap, period)
        cursor.execute(self._in_dialect(f"SELECT ({spent[0]}), ({reserved[0]})"), (*spent[1], *reserved[1]))
        [[money, kept]] = cursor.fetchall()
        return int(money), int(kept)

    def _sums(self, cap: Cap, period: BudgetPeriod) -> "tuple[tuple[str, list[Any]], tuple[str, list[Any]]]":
        """Return the queries, with their parameters, of what was spent and of what is reserved."""
        where, values = "started_at >= ? AND started_at < ?", [*map(self._time, (period.starts_at, period.ends_at))]
        if cap.scope == ACTOR:
            where, values = f"initiator_id = ? AND {where}", [cap.name, *values]
        elif cap.scope == GROUP:
            where, values = f"{where} AND {self._group} = ?", [*values, self._group_key, cap.name]
        if not self._settings.count_byok:
            where, values = f"{where} AND credential_kind <> ?", [*values, BYOK]
        spent = (
            "SELECT coalesce(sum(cost_nanousd), 0) FROM aibridge_interceptions JOIN aibridge_token_usages"  # noqa: S608
            f" ON aibridge_token_usages.interception_id = aibridge_interceptions.id WHERE {where}"
        )
        reserved = f"SELECT coalesce(sum(reserved_nanousd), 0) FROM aibridge_interceptions WHERE {where} AND status = ?"  # noqa: S608
        return (spent, values), (reserved, [*values, IN_PROGRESS])

    def change_periods(
        self, cursor: Cursor, changes: "Sequence[tuple[Cap, BudgetPeriod, int, int]]"
    ) -> dict[tuple[UUID, datetime], tuple[int, int, int]]:
        """Add to what is spent and reserved in periods. Return the sums, and which warning was the last.

        Two transactions that change the same rows do so in the same order, so that neither waits for the other for
        ever.
        """
        if not changes:
            return {}
        ordered = sorted(changes, key=lambda change: (change[0].id, change[1].starts_at))
        values: list[Any] = []
        for cap, period, spent, reserved in ordered:
            values += [self._id(cap.id), self._time(period.starts_at), self._time(period.ends_at), spent, reserved]
        rows = ", ".join(["(?, ?, ?, ?, ?)"] * len(ordered))
        cursor.execute(
            self._in_dialect(
                "INSERT INTO aibridge_budget_periods (budget_id, starts_at, ends_at, spent_nanousd, reserved_nanousd)"  # noqa: S608
                f" VALUES {rows} ON CONFLICT (budget_id, starts_at) DO UPDATE SET"
                " spent_nanousd = aibridge_budget_periods.spent_nanousd + excluded.spent_nanousd,"
                " reserved_nanousd = aibridge_budget_periods.reserved_nanousd + excluded.reserved_nanousd"
                " RETURNING budget_id, starts_at, spent_nanousd, reserved_nanousd, warned"
            ),
            values,
        )
        return {(_uuid(id_), _moment(start)): tuple(sums) for id_, start, *sums in cursor.fetchall()}

    def set_reservations(self, cursor: Cursor, reservations: Sequence[tuple[UUID, int]]) -> None:
        """Write what interceptions in progress reserve."""
        values = [value for id_, amount in reservations for value in (self._id(id_), amount)]
        row = "(?, ?)" if self._is_sqlite else "(CAST(%s AS uuid), CAST(%s AS bigint))"
        cursor.execute(
            f"WITH new (id, reserved) AS (VALUES {', '.join([row] * len(reservations))})"  # noqa: S608
            " UPDATE aibridge_interceptions SET reserved_nanousd = new.reserved FROM new"
            " WHERE aibridge_interceptions.id = new.id",
            values,
        )

    def refuse(self, cursor: Cursor, refused: Sequence[tuple[UUID, str]], now: datetime, status: int) -> None:
        """End interceptions for which a cap has no room."""
        for id_, error in refused:
            cursor.execute(
                self._in_dialect(
                    "UPDATE aibridge_interceptions SET status = ?, http_status = ?, error = ?, ended_at = ?"
                    " WHERE id = ?"
                ),
                (REFUSED, status, error, self._time(now), self._id(id_)),
            )

    def mark_warned(self, cursor: Cursor, cap: Cap, period: BudgetPeriod, level: int) -> None:
        """Write which warning of a period was the last."""
        cursor.execute(
            self._in_dialect("UPDATE aibridge_budget_periods SET warned = ? WHERE budget_id = ? AND starts_at = ?"),
            (level, self._id(cap.id), self._time(period.starts_at)),
        )

    def add_notice(self, cursor: Cursor, id_: UUID, content: str, now: datetime) -> None:
        """Keep a warning until the webhook has taken it."""
        cursor.execute(
            self._in_dialect(
                "INSERT INTO aibridge_budget_notices (id, content, created_at, due_at) VALUES (?, ?, ?, ?)"
            ),
            (self._id(id_), content, self._time(now), self._time(now)),
        )

    def _in_dialect(self, statement: str) -> str:
        return statement if self._is_sqlite else statement.replace("?", "%s")


def _parts(ids: Sequence[UUID]) -> list[Sequence[UUID]]:
    return [ids[start : start + _MOST_IDS] for start in range(0, len(ids), _MOST_IDS)]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _same(value: object) -> object:
    return value


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _moment(value: datetime | str) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value.astimezone(UTC)

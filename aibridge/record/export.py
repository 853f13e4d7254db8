"""Interceptions with all their rows, as lines of text, in the order of time.

They are read a page at a time, each in a transaction of its own: however many they are, memory holds one page, and
the database keeps no old versions for a reader that takes an hour. What the gateway writes meanwhile is in the
pages that are still to come.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, func, or_, select

from .database import open_reader, plain_errors
from .schema import interceptions, model_thoughts, token_usages, tool_usages, user_prompts
from .values import bounded, storable_json

PAGE_ROWS = 100
"""Interceptions that are in memory at a time, with all that was said in them."""

_CHILDREN = {
    "token_usages": token_usages,
    "user_prompts": user_prompts,
    "tool_usages": tool_usages,
    "model_thoughts": model_thoughts,
}
_COLUMNS = [column for column in interceptions.c if column.name != "process_id"]
_FIGURES = [token_usages.c[f"{kind}_tokens"] for kind in ("input", "output", "cache_read_input", "cache_write_input")]

_Page = Sequence[RowMapping]


@frozen(kw_only=True)
class Selection:
    """Interceptions that began in that span, its end excluded; all of it or one actor's."""

    since: datetime | None = None
    until: datetime
    actor: str | None = None


@frozen
class Format:
    """How a page becomes lines, one an interception, and what comes before them all."""

    head: Sequence[str]
    lines: Callable[[Connection, _Page], Iterator[str]]


def export(url: str, selection: Selection, form: Format) -> Iterator[str]:
    """The lines; RecordingError where the database can't be read."""
    with plain_errors(url), open_reader(url).connect() as connection:
        yield from form.head
        last = None
        while True:
            with _at_one_moment(connection):
                page = connection.execute(_query(selection, last)).mappings().all()
                lines = list(form.lines(connection, page))
            if not page:
                return
            last = page[-1]
            yield from lines  # whoever is slow to take them holds up nobody


@contextmanager
def _at_one_moment(connection: Connection) -> Iterator[None]:
    """A transaction that sees the database as it is at its begin."""
    is_sqlite = connection.dialect.name == "sqlite"
    with connection.begin():
        connection.exec_driver_sql("BEGIN" if is_sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def _query(selection: Selection, last: RowMapping | None) -> Any:
    at, id_ = interceptions.c.started_at, interceptions.c.id
    wanted = [at < selection.until]
    if selection.actor is not None:
        wanted.append(interceptions.c.initiator_id == bounded(selection.actor))
    if last is not None:
        wanted += [at >= last["started_at"], or_(at > last["started_at"], id_ > last["id"])]
    elif selection.since is not None:
        wanted.append(at >= selection.since)
    return select(*_COLUMNS).where(and_(*wanted)).order_by(at, id_).limit(PAGE_ROWS)


# One JSON object an interception, its rows nested


def _json_lines(connection: Connection, page: _Page) -> Iterator[str]:
    children = {name: _by_interception(connection, table, page) for name, table in _CHILDREN.items()}
    for row in page:
        nested = {name: rows.get(row["id"], []) for name, rows in children.items()}
        yield storable_json({name: _plain(value) for name, value in row.items()} | nested)


def _by_interception(connection: Connection, table: Table, page: _Page) -> Mapping[UUID, list[dict[str, Any]]]:
    found: dict[UUID, list[dict[str, Any]]] = {}
    query = select(table).where(_of(table, page)).order_by(table.c.created_at, table.c.id)
    for row in connection.execute(query).mappings():
        values = {name: _plain(value) for name, value in row.items() if name != "interception_id"}
        found.setdefault(row["interception_id"], []).append(values)
    return found


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


# One row an interception, with the sums of its tokens and the numbers of its rows


def _csv_lines(connection: Connection, page: _Page) -> Iterator[str]:
    tokens = _per_interception(connection, token_usages, page, [func.sum(figure) for figure in _FIGURES])
    counts = [_per_interception(connection, table, page, [func.count()]) for table in _CHILDREN.values()]
    for row in page:
        sums = tokens.get(row["id"], [0] * len(_FIGURES))
        numbers = [number for count in counts for number in count.get(row["id"], [0])]
        yield _csv_line([*map(_cell, row.values()), *sums, *numbers])


def _per_interception(
    connection: Connection, table: Table, page: _Page, figures: Sequence[ColumnElement[Any]]
) -> Mapping[UUID, list[Any]]:
    query = select(table.c.interception_id, *figures).where(_of(table, page)).group_by(table.c.interception_id)
    return {id_: values for id_, *values in connection.execute(query)}


def _cell(value: Any) -> Any:
    """Text as it is, all else as in JSON; nothing for None."""
    value = _plain(value)
    return value if value is None or isinstance(value, str) else storable_json(value)


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _of(table: Table, page: _Page) -> ColumnElement[bool]:
    return table.c.interception_id.in_([row["id"] for row in page])


FORMATS = {
    "jsonl": Format((), _json_lines),
    "csv": Format([_csv_line([*(column.name for column in (*_COLUMNS, *_FIGURES)), *_CHILDREN])], _csv_lines),
}

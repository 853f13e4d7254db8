"""Export: interceptions with all their rows, as lines of text, in the order of time.

They are read a page at a time, each in a transaction of its own: however many there are, memory holds one page, and
the database keeps no old versions for a reader that takes an hour. Rows that the gateway writes meanwhile are in the
pages that are still to come.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, and_, func, or_, select

from .database import open_reader, plain_errors, snapshot
from .schema import interceptions, model_thoughts, token_usages, tool_usages, user_prompts
from .values import bounded, storable_json

PAGE_ROWS = 100
"""Interceptions that are in memory at a time, with everything that was said in them."""

_CHILDREN = {
    "token_usages": token_usages,
    "user_prompts": user_prompts,
    "tool_usages": tool_usages,
    "model_thoughts": model_thoughts,
}
_COLUMNS = [column for column in interceptions.c if column.name not in ("process_id", "reserved_nanousd")]
_TOKENS = [token_usages.c[f"{kind}_tokens"] for kind in ("input", "output", "cache_read_input", "cache_write_input")]
_FIGURES = [*_TOKENS, token_usages.c.cost_nanousd]

_Page = Sequence[RowMapping]


@frozen(kw_only=True)
class Selection:
    """Interceptions that began in a span of time, its end excluded; everyone's, or those of one actor."""

    since: datetime | None = None
    until: datetime
    actor: str | None = None


@frozen
class Format:
    """A format of the export: its first lines, and the function that makes one line of each interception of a page."""

    head: Sequence[str]
    lines: Callable[[Connection, _Page], Iterator[str]]


def export(url: str, selection: Selection, form: Format) -> Iterator[str]:
    """Yield the lines. RecordingError if the database can't be read."""
    with plain_errors(url), open_reader(url).connect() as connection:
        yield from form.head
        last = None
        while True:
            with snapshot(connection):
                page = connection.execute(_query(selection, last)).mappings().all()
                lines = list(form.lines(connection, page))
            if not page:
                return
            last = page[-1]
            yield from lines  # outside the transaction: a slow consumer holds up nothing


def count(url: str, selection: Selection) -> int:
    """Return the number of interceptions that are selected. RecordingError if the database can't be read."""
    query = select(func.count()).select_from(interceptions).where(_is_selected(selection))
    with plain_errors(url), open_reader(url).connect() as connection:
        return connection.scalar(query) or 0


def _query(selection: Selection, last: RowMapping | None) -> Select[Any]:
    """Return the query for the page that follows the row `last`."""
    at, id_ = interceptions.c.started_at, interceptions.c.id
    wanted = [_is_selected(selection)]
    if last is not None:
        wanted += [at >= last["started_at"], or_(at > last["started_at"], id_ > last["id"])]
    return select(*_COLUMNS).where(and_(*wanted)).order_by(at, id_).limit(PAGE_ROWS)


def _is_selected(selection: Selection) -> ColumnElement[bool]:
    at = interceptions.c.started_at
    wanted = [at < selection.until]
    if selection.actor is not None:
        wanted.append(interceptions.c.initiator_id == bounded(selection.actor))
    if selection.since is not None:
        wanted.append(at >= selection.since)
    return and_(*wanted)


def _of_page(table: Table, page: _Page) -> ColumnElement[bool]:
    return table.c.interception_id.in_([row["id"] for row in page])


# One JSON object for each interception, its rows nested


def _json_lines(connection: Connection, page: _Page) -> Iterator[str]:
    children = {name: _by_interception(connection, table, page) for name, table in _CHILDREN.items()}
    for row in page:
        nested = {name: rows.get(row["id"], []) for name, rows in children.items()}
        yield storable_json({name: _plain(value) for name, value in row.items()} | nested)


def _by_interception(connection: Connection, table: Table, page: _Page) -> Mapping[UUID, list[dict[str, object]]]:
    """Return the rows of a table that belong to each interception of the page."""
    found: dict[UUID, list[dict[str, object]]] = {}
    query = select(table).where(_of_page(table, page)).order_by(table.c.created_at, table.c.id)
    for row in connection.execute(query).mappings():
        values = {name: _plain(value) for name, value in row.items() if name != "interception_id"}
        found.setdefault(row["interception_id"], []).append(values)
    return found


def _plain(value: object) -> object:
    """Return the value as JSON has it: times and ids become text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


# One row for each interception, with the sums of its tokens and the numbers of its rows


def _csv_lines(connection: Connection, page: _Page) -> Iterator[str]:
    tokens = _totals(connection, token_usages, page, [func.sum(column) for column in _FIGURES])
    counts = [_totals(connection, table, page, [func.count()]) for table in _CHILDREN.values()]
    for row in page:
        sums = tokens.get(row["id"], [0] * len(_FIGURES))
        numbers = [number for count in counts for number in count.get(row["id"], [0])]
        cells = [_plain(value) for value in row.values()]
        texts = [cell if cell is None or isinstance(cell, str) else storable_json(cell) for cell in cells]
        yield _csv_line([*texts, *sums, *numbers])


def _totals(
    connection: Connection, table: Table, page: _Page, totals: Sequence[ColumnElement[Any]]
) -> Mapping[UUID, list[object]]:
    """Return sums or counts of a table's rows for each interception of the page."""
    query = select(table.c.interception_id, *totals).where(_of_page(table, page)).group_by(table.c.interception_id)
    return {id_: values for id_, *values in connection.execute(query)}


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


FORMATS = {
    "jsonl": Format((), _json_lines),
    "csv": Format([_csv_line([*(column.name for column in (*_COLUMNS, *_FIGURES)), *_CHILDREN])], _csv_lines),
}

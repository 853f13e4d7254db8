"""How records become rows: for each class of record one SQL statement that stores any number of them.

A statement of many rows is one call into the driver. That matters more than it seems: Python's SQLite driver
gives up the interpreter's lock in each call and, while the reactor computes, waits up to milliseconds to get
it back. `executemany` does so for every row.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any
from uuid import UUID

import attrs
from sqlalchemy import JSON, Column, Connection, Dialect, Table, Text

from ..errors import RecordingError
from . import schema
from .database import describe
from .records import (
    AnchorRecord,
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolsetRecord,
    ToolUsageRecord,
    TurnRecord,
)
from .values import are_plain, bounded, storable, storable_json

Row = tuple[Any, ...]
"""The values of one record as the driver takes them; the id is the first."""

_TABLES: dict[type[Record], Table] = {
    InterceptionRecord: schema.interceptions,
    TokenUsageRecord: schema.token_usages,
    PromptUsageRecord: schema.user_prompts,
    ToolUsageRecord: schema.tool_usages,
    ModelThoughtRecord: schema.model_thoughts,
    ToolsetRecord: schema.toolsets,
    TurnRecord: schema.turns,
    AnchorRecord: schema.anchors,
}

_CONTENTS = ("prompt", "input", "output", "content", "invocation_error")
"""Columns of what users, models and tools say."""

_BYTES_OF_A_ROW = 300
"""About what the ids, names, times and numbers of a row take."""

_SIZES = (32, 16, 8, 4, 2, 1)
"""Rows in one statement: few enough different ones that the driver keeps them all prepared."""


@attrs.frozen(eq=False)
class Statement:
    """Stores records of one class; a row that is there already is changed to the new one."""

    rank: int
    """Its place in a transaction: what is referred to comes first."""
    table: str
    encode: Callable[[Record], Row]
    contents: tuple[int, ...]
    """Where in a row the texts are that may be of any length."""
    _sql: dict[int, str]

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the rows, of which no two have the same id: PostgreSQL changes no row twice in one statement."""
        for some in _pieces(rows):
            connection.exec_driver_sql(self._sql[len(some)], tuple(chain.from_iterable(some)))


@attrs.define(eq=False)
class Entry:
    """A record on its way, and the row that it becomes."""

    record: Record
    statement: Statement
    row: Row
    size: int
    """About how many bytes it takes: those of its texts that may be long."""

    def error(self, why: str) -> RecordingError:
        """It could not be made durable; which row, but nothing of what is in it."""
        return RecordingError(f"{self.statement.table} {self.record.id}: {why}")


Refusals = dict[Entry, RecordingError]
"""Those of many entries that could not be made durable."""


Encoder = Callable[[Record], Entry]
"""Turns records of one process into entries for one kind of database; RecordingError where one has no form there."""


def make_encoder(dialect: Dialect, process_id: UUID | None) -> Encoder:
    """The encoder for that dialect and process."""
    statements = _statements(dialect, process_id)

    def entry(record: Record) -> Entry:
        statement = statements[type(record)]
        try:
            row = statement.encode(record)
            size = _BYTES_OF_A_ROW
            for at in statement.contents:
                size += len(row[at] or "")
            return Entry(record, statement, row, size)
        except Exception as error:  # whatever a host's values do; its text may quote them
            why = describe(error)
        raise RecordingError(f"{type(record).__name__} {record.id} can't be stored: {why}")

    return entry


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = 0
    while start < len(rows):
        size = next(size for size in _SIZES if size <= len(rows) - start)
        yield rows[start : start + size]
        start += size


def _statements(dialect: Dialect, process_id: UUID | None) -> dict[type[Record], Statement]:
    process = {schema.interceptions.c.process_id: process_id}
    inserts = {
        record: _insert(rank, record, table, process if record is InterceptionRecord else {}, dialect)
        for rank, (record, table) in enumerate(_TABLES.items())
    }
    return inserts | {InterceptionRecordEnded: _update(len(inserts), schema.interceptions, dialect)}


def _insert(
    rank: int, record: type[Record], table: Table, constants: dict[Column[Any], Any], dialect: Dialect
) -> Statement:
    columns = [*_columns(record, table), *constants]
    before = f"INSERT INTO {table.name} ({_names(columns)}) VALUES "  # noqa: S608 - names of the schema only
    after = f" ON CONFLICT (id) DO UPDATE SET {_assignments(columns, 'excluded')}"
    encode = _encoder(_columns(record, table), constants, dialect)
    return Statement(rank, table.name, encode, _contents(columns), _sql(before, columns, after, dialect))


def _update(rank: int, table: Table, dialect: Dialect) -> Statement:
    columns, name = _columns(InterceptionRecordEnded, table), table.name
    before = f"WITH new ({_names(columns)}) AS (VALUES "
    after = f") UPDATE {name} SET {_assignments(columns, 'new')} FROM new WHERE {name}.id = new.id"  # noqa: S608
    encode = _encoder(columns, {}, dialect)
    return Statement(rank, name, encode, _contents(columns), _sql(before, columns, after, dialect))


def _sql(before: str, columns: list[Column[Any]], after: str, dialect: Dialect) -> dict[int, str]:
    row = f"({', '.join(_placeholder(column, dialect) for column in columns)})"
    return {size: before + ", ".join([row] * size) + after for size in _SIZES}


def _columns(record: type[Record], table: Table) -> list[Column[Any]]:
    return [table.c[field.name] for field in attrs.fields(record)]


def _names(columns: list[Column[Any]]) -> str:
    return ", ".join(column.name for column in columns)


def _assignments(columns: list[Column[Any]], source: str) -> str:
    return ", ".join(f"{column.name} = {source}.{column.name}" for column in columns if not column.primary_key)


def _placeholder(column: Column[Any], dialect: Dialect) -> str:
    if dialect.name == "sqlite":
        return "?"
    return f"CAST(%s AS {column.type.compile(dialect)})"  # a list of values tells PostgreSQL no types


def _encoder(
    columns: list[Column[Any]], constants: dict[Column[Any], Any], dialect: Dialect
) -> Callable[[Record], Row]:
    """What gives a record's values in the order of the columns, and after them the same constants for all."""
    converters = [(at, _converter(column, dialect)) for at, column in enumerate(columns)]
    text_converters = [(at, converter) for at, converter in converters if _is_text(columns[at])]
    other_converters = [(at, converter) for at, converter in converters if not _is_text(columns[at]) and converter]
    texts = _span([at for at, _ in text_converters])
    rest = [_constant(column, value, dialect) for column, value in constants.items()]

    def encode(record: Record) -> Row:
        row = [*vars(record).values(), *rest]
        if not are_plain(row[texts]):
            _convert(row, text_converters)
        _convert(row, other_converters)
        return tuple(row)

    return encode


def _span(places: list[int]) -> slice:
    """Where these are, all together and nothing between them."""
    span = slice(places[0], places[-1] + 1) if places else slice(0)
    assert len(places) == (span.stop - (span.start or 0)), "the texts of a record stand together"
    return span


def _convert(row: list[Any], converters: list[tuple[int, Any]]) -> None:
    for at, convert in converters:
        value = row[at]
        if value is not None:
            row[at] = convert(value)


def _constant(column: Column[Any], value: Any, dialect: Dialect) -> Any:
    converter = _converter(column, dialect)
    return value if value is None or converter is None else converter(value)


def _converter(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if _is_text(column):
        return bounded if _is_indexed(column) else storable
    if isinstance(column.type, JSON):
        return storable_json
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _is_text(column: Column[Any]) -> bool:
    return isinstance(column.type, Text)


def _contents(columns: list[Column[Any]]) -> tuple[int, ...]:
    return tuple(at for at, column in enumerate(columns) if column.name in _CONTENTS)


def _is_indexed(column: Column[Any]) -> bool:
    return any(column.name in index.columns for index in column.table.indexes)

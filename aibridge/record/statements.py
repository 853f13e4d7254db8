"""How records become rows: for each class of record one SQL statement that stores any number of them.

A statement of many rows is one call into the driver. That matters more than it seems: Python's SQLite driver
gives up the interpreter's lock in each call and, while the reactor computes, waits up to milliseconds to get
it back. `executemany` does so for every row.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import attrs
from sqlalchemy import Column, Connection, Dialect, Table, Text

from . import schema
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from .text import storable

Row = tuple[Any, ...]
"""The values of one record as the driver takes them; the id is the first."""

_TABLES: dict[type[Record], Table] = {
    InterceptionRecord: schema.interceptions,
    TokenUsageRecord: schema.token_usages,
    PromptUsageRecord: schema.user_prompts,
    ToolUsageRecord: schema.tool_usages,
    ModelThoughtRecord: schema.model_thoughts,
}

_SIZES = (32, 16, 8, 4, 2, 1)
"""Rows in one statement: few enough different ones that the driver keeps them all prepared."""


@attrs.frozen(eq=False)
class Statement:
    """Stores records of one class; a row that is there already is changed to the new one."""

    table: str
    encode: Callable[[Record], Row]
    _sql: dict[int, str]

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the rows, of which no two have the same id: PostgreSQL changes no row twice in one statement."""
        for some in _pieces(rows):
            connection.exec_driver_sql(self._sql[len(some)], tuple(chain.from_iterable(some)))


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    start = 0
    while start < len(rows):
        size = next(size for size in _SIZES if size <= len(rows) - start)
        yield rows[start : start + size]
        start += size


def statements(dialect: Dialect) -> dict[type[Record], Statement]:
    """The statement for each class of record, in the order of a transaction: what is referred to comes first."""
    inserts = {record: _insert(record, table, dialect) for record, table in _TABLES.items()}
    return inserts | {InterceptionRecordEnded: _update(InterceptionRecordEnded, schema.interceptions, dialect)}


def _insert(record: type[Record], table: Table, dialect: Dialect) -> Statement:
    columns = _columns(record, table)
    return _statement(
        columns,
        dialect,
        before=f"INSERT INTO {table.name} ({_names(columns)}) VALUES ",  # noqa: S608 - names of the schema only
        after=f" ON CONFLICT (id) DO UPDATE SET {_assignments(columns, 'excluded')}",
    )


def _update(record: type[Record], table: Table, dialect: Dialect) -> Statement:
    columns, name = _columns(record, table), table.name
    return _statement(
        columns,
        dialect,
        before=f"WITH new ({_names(columns)}) AS (VALUES ",
        after=f") UPDATE {name} SET {_assignments(columns, 'new')} FROM new WHERE {name}.id = new.id",  # noqa: S608
    )


def _statement(columns: list[Column[Any]], dialect: Dialect, before: str, after: str) -> Statement:
    row = f"({', '.join(_placeholder(column, dialect) for column in columns)})"
    sql = {size: before + ", ".join([row] * size) + after for size in _SIZES}
    return Statement(columns[0].table.name, _encoder(columns, dialect), sql)


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


def _encoder(columns: list[Column[Any]], dialect: Dialect) -> Callable[[Record], Row]:
    values = attrgetter(*(column.name for column in columns))
    convert = [(at, _converter(column, dialect)) for at, column in enumerate(columns)]
    needed = [(at, converter) for at, converter in convert if converter]

    def encode(record: Record) -> Row:
        row = list(values(record))
        for at, converter in needed:
            if row[at] is not None:
                row[at] = converter(row[at])
        return tuple(row)

    return encode


def _converter(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(column.type, Text):
        return storable
    return column.type.dialect_impl(dialect).bind_processor(dialect)

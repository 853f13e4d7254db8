"""SQL statements that store records: one for each class of records, for any number of them.

A statement of many rows is one call into the driver. That matters more than it seems: Python's SQLite driver
gives up the interpreter's lock in each call and, while the reactor computes, waits up to milliseconds to get
it back. `executemany` does so for every row.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import UUID

import attrs
from sqlalchemy import JSON, Column, Connection, Dialect, Table, Text

from ..errors import RecordingError
from .database import describe
from .records import RECORD_TYPES, Record
from .schema import metadata
from .values import are_plain, bounded, storable, storable_json

Value = str | int | float | UUID | datetime | None
"""The value of a column as the driver takes it."""

Row = tuple[Value, ...]
"""The values of one record; the id is the first."""

Converter = Callable[[Any], Value]
"""Turns a value of a record, not None, into the value of a column."""

_BYTES_OF_A_ROW = 300
"""About the size of the ids, names, times and numbers of a row."""

_SIZES = (32, 16, 8, 4, 2, 1)
"""Rows in one statement: few enough different ones that the driver keeps them all prepared."""


@attrs.frozen(eq=False)
class Statement:
    """Stores records of one class; a row that exists already is changed to the new one."""

    rank: int
    """Its place in a transaction: a row follows those it refers to."""
    table: str
    encode: Callable[[Record], Row]
    contents: tuple[int, ...]
    """The places in a row of the texts that may be of any length."""
    _sql: dict[int, str]
    """The SQL for each number of rows."""

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the rows, of which no two have the same id: PostgreSQL changes no row twice in one statement."""
        start = 0
        for size in _SIZES:
            while len(rows) - start >= size:
                values = tuple(chain.from_iterable(rows[start : start + size]))
                connection.exec_driver_sql(self._sql[size], values)
                start += size


@attrs.define(eq=False)
class Entry:
    """A record on its way to the database, and its row."""

    record: Record
    statement: Statement
    row: Row
    size: int
    """About the bytes that the row takes."""

    def error(self, why: str) -> RecordingError:
        """Return the error of an entry that could not be made durable; it names the row and quotes nothing of it."""
        return RecordingError(f"{self.statement.table} {self.record.id}: {why}")


Refusals = dict[Entry, RecordingError]
"""The entries of a batch that could not be made durable, each with its error."""


Encoder = Callable[[Record], Entry]
"""Turns records of one process into entries for one kind of database; RecordingError for a value it can't store."""


def make_encoder(dialect: Dialect, process_id: UUID | None) -> Encoder:
    """Return the encoder for that dialect and process."""
    statements = {
        record_type: _statement(rank, record_type, dialect, process_id) for rank, record_type in enumerate(RECORD_TYPES)
    }

    def encode(record: Record) -> Entry:
        statement = statements[type(record)]
        try:
            row = statement.encode(record)
            size = _BYTES_OF_A_ROW
            for at in statement.contents:
                size += len(row[at] or "")  # type: ignore[arg-type] # contents are text in any database
            return Entry(record, statement, row, size)
        except Exception as error:  # a host's values may raise anything, and the text of the error may quote them
            why = describe(error)
        raise RecordingError(f"{type(record).__name__} {record.id} can't be stored: {why}")

    return encode


def _statement(rank: int, record_type: type[Record], dialect: Dialect, process_id: UUID | None) -> Statement:
    storage = record_type.storage
    table = metadata.tables[storage.table]
    columns = [table.c[field.name] for field in attrs.fields(record_type)]
    contents = tuple(at for at, column in enumerate(columns) if column.name in storage.contents)
    constants: Row = ()
    encode_columns = columns
    if "process_id" in table.c and not storage.updates:
        convert = _converter(table.c.process_id, dialect)
        constants = (convert(process_id) if convert and process_id else process_id,)
        columns = [*columns, table.c.process_id]
    sql = {size: _sql(table, columns, size, storage.updates, dialect) for size in _SIZES}
    return Statement(rank, table.name, _row_encoder(encode_columns, constants, dialect), contents, sql)


def _sql(table: Table, columns: list[Column[object]], rows: int, updates: bool, dialect: Dialect) -> str:
    """Return the statement that inserts so many rows or, where the record completes an earlier one, updates them."""

    def placeholder(column: Column[object]) -> str:
        # PostgreSQL can't tell the types of a list of values by itself.
        return "?" if dialect.name == "sqlite" else f"CAST(%s AS {column.type.compile(dialect)})"

    name, names = table.name, ", ".join(column.name for column in columns)
    row = f"({', '.join(map(placeholder, columns))})"
    values = ", ".join([row] * rows)
    source = "new" if updates else "excluded"
    changes = ", ".join(f"{column.name} = {source}.{column.name}" for column in columns if not column.primary_key)
    if updates:
        return f"WITH new ({names}) AS (VALUES {values}) UPDATE {name} SET {changes} FROM new WHERE {name}.id = new.id"  # noqa: S608
    return f"INSERT INTO {name} ({names}) VALUES {values} ON CONFLICT (id) DO UPDATE SET {changes}"  # noqa: S608


def _row_encoder(columns: list[Column[object]], constants: Row, dialect: Dialect) -> Callable[[Record], Row]:
    """Return a function that gives a record's values in the order of the columns, and after them the constants."""
    converters = [(at, _converter(column, dialect)) for at, column in enumerate(columns)]
    is_text = [isinstance(column.type, Text) for column in columns]
    text_converters = [(at, convert) for at, convert in converters if is_text[at] and convert]
    other_converters = [(at, convert) for at, convert in converters if not is_text[at] and convert]
    texts = slice(0)
    if text_converters:
        texts = slice(text_converters[0][0], text_converters[-1][0] + 1)
        assert all(is_text[texts]), "the text fields of a record must stand together"

    def encode(record: Record) -> Row:
        row = [*vars(record).values(), *constants]
        if not are_plain(row[texts]):
            _convert(row, text_converters)
        _convert(row, other_converters)
        return tuple(row)

    return encode


def _convert(row: list[Value], converters: list[tuple[int, Converter]]) -> None:
    for at, convert in converters:
        value = row[at]
        if value is not None:
            row[at] = convert(value)


def _converter(column: Column[object], dialect: Dialect) -> Converter | None:
    if isinstance(column.type, Text):
        is_indexed = any(column.name in index.columns for index in column.table.indexes)
        return bounded if is_indexed else storable
    if isinstance(column.type, JSON):
        return storable_json
    return column.type.dialect_impl(dialect).bind_processor(dialect)

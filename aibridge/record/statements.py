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
from sqlalchemy import Boolean, Column, Dialect, Table, Text
from sqlalchemy.engine.interfaces import DBAPICursor

from ..errors import BudgetSpent, RecordingError
from .budgets.sql import REVISION
from .column_types import Id, Json
from .database import describe
from .records import RECORD_TYPES, Record
from .schema import interceptions, metadata, token_usages
from .values import LONGEST_INDEXED, bounded, storable, storable_json, text_of_int

Value = str | int | float | UUID | datetime | None
"""The value of a column as the driver takes it."""

Row = tuple[Value, ...]
"""The values of one record; the id is the first."""

Converter = Callable[[Any], Value]
"""Turns a value of a record, not None, into the value of a column."""

_NO_MEMBERS = "{}"
"""The JSON of most metadata."""

_BYTES_OF_A_ROW = 300
"""About the size of the ids, names, times and numbers of a row."""

_RETURNING = f" RETURNING {REVISION}"
"""Behind the statements whose rows concern caps on money: their revision costs no statement of its own."""

_SIZES = (32, 16, 8, 4, 2, 1)
"""Rows in one statement: few enough different ones that the driver keeps them all prepared."""


@attrs.frozen
class Converters:
    """The places, in a row, of the values that the driver does not take as records have them.

    The common types have lists of their own, so that the encoder turns them without a call for each value.
    """

    constants: Row
    """Values that stand behind those of the record, the same in every row."""
    texts: slice
    """The place of all texts, which stand together in a record."""
    storable: Sequence[tuple[int, Converter]]
    """The texts, each with the function that makes it storable."""
    contents: Sequence[int]
    """Texts that may be of any length."""
    ids: Sequence[int]
    """Ids that the database keeps as text."""
    json: Sequence[int]
    others: Sequence[tuple[int, Converter]]


@attrs.frozen(eq=False)
class Statement:
    """Stores records of one class; a row that exists already is changed to the new one."""

    rank: int
    """Its place in a transaction: a row follows those it refers to."""
    table: str
    converters: "Converters"
    returns_revision: bool
    """True if the SQL returns, with each row, the revision of the caps on money."""
    _sql: dict[int, str]
    """The SQL for each number of rows."""

    def execute(self, cursor: DBAPICursor, rows: Sequence[Row]) -> Sequence[Sequence[int | None]]:
        """Store the rows, of which no two have the same id: PostgreSQL changes no row twice in one statement.

        Return rows with the revision if the statement returns it.
        """
        start = 0
        returned: Sequence[Sequence[int | None]] = ()
        for size in _SIZES:
            while len(rows) - start >= size:
                values = tuple(chain.from_iterable(rows[start : start + size]))
                cursor.execute(self._sql[size], values)
                if self.returns_revision:
                    returned = cursor.fetchall()
                start += size
        return returned


@attrs.define(eq=False)
class Entry:
    """A record on its way to the database, and its row."""

    record: Record
    statement: Statement
    row: Row
    size: int
    """About the bytes that the row takes."""
    left: int | None = None
    """The nanodollars left under the tightest cap on money, for an interception that has begun under one."""

    def error(self, why: str) -> RecordingError:
        """Return the error of an entry that could not be made durable; it names the row and quotes nothing of it."""
        return RecordingError(f"{self.statement.table} {self.record.id}: {why}")


Refusals = dict[Entry, RecordingError | BudgetSpent]
"""The entries of a batch that could not be made durable, each with its error; and those that a cap has refused."""


Encoder = Callable[[Record], Entry]
"""Turns records of one process into entries for one kind of database; RecordingError for a value it can't store."""


def make_encoder(dialect: Dialect, process_id: UUID | None) -> Encoder:
    """Return the encoder for that dialect and process."""
    statements = {
        record_type: _statement(rank, record_type, dialect, process_id) for rank, record_type in enumerate(RECORD_TYPES)
    }

    def encode(record: Record) -> Entry:
        # In one piece, because this is done for every row: calls would take longer than the work.
        statement = statements[type(record)]
        turn = statement.converters
        try:
            row: list[Any] = [*vars(record).values(), *turn.constants]
            joined = "".join(filter(None, row[turn.texts]))
            # Nearly all texts are short ASCII. Such texts are stored as they are, in an index too.
            if not joined.isascii() or len(joined) > LONGEST_INDEXED or "\0" in joined:
                for at, convert in turn.storable:
                    row[at] = None if row[at] is None else convert(row[at])
            for at in turn.ids:
                row[at] = text_of_int(row[at].int)
            for at in turn.json:
                row[at] = _NO_MEMBERS if row[at] == {} else None if row[at] is None else storable_json(row[at])
            for at, convert in turn.others:
                row[at] = None if row[at] is None else convert(row[at])
            size = _BYTES_OF_A_ROW
            for at in turn.contents:
                size += len(row[at] or "")
            return Entry(record, statement, tuple(row), size)
        except Exception as error:  # a host's values may raise anything, and the text of the error may quote them
            why = describe(error)
        raise RecordingError(f"{type(record).__name__} {record.id} can't be stored: {why}")

    return encode


def _statement(rank: int, record_type: type[Record], dialect: Dialect, process_id: UUID | None) -> Statement:
    storage = record_type.storage
    table = metadata.tables[storage.table]
    columns = [table.c[field.name] for field in attrs.fields(record_type)]
    constants: Row = ()
    stored = columns
    if "process_id" in table.c and not storage.updates:
        convert = _converter(table.c.process_id, dialect)
        constants = (convert(process_id) if convert and process_id else process_id,)
        stored = [*columns, table.c.process_id]
    sql = {size: _sql(table, stored, size, storage.updates, dialect) for size in _SIZES}
    returns_revision = _RETURNING in sql[1]
    return Statement(rank, table.name, _converters(record_type, columns, constants, dialect), returns_revision, sql)


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
        # What it reserved is booked before, in the same transaction.
        changes += ", reserved_nanousd = NULL"
        new = f"WITH new ({names}) AS (VALUES {values})"
        return f"{new} UPDATE {name} SET {changes} FROM new WHERE {name}.id = new.id{_RETURNING}"  # noqa: S608
    insert = f"INSERT INTO {name} ({names}) VALUES {values} ON CONFLICT (id) DO UPDATE SET {changes}"  # noqa: S608
    return f"{insert}{_RETURNING}" if table in (interceptions, token_usages) else insert


def _converters(
    record_type: type[Record], columns: list[Column[object]], constants: Row, dialect: Dialect
) -> Converters:
    """Return the converters of the columns, which stand in the order of the record's fields."""
    texts = [at for at, column in enumerate(columns) if isinstance(column.type, Text)]
    ids = [at for at, column in enumerate(columns) if isinstance(column.type, Id) and _converter(column, dialect)]
    json = [at for at, column in enumerate(columns) if isinstance(column.type, Json)]
    converters = [(at, convert) for at, column in enumerate(columns) if (convert := _converter(column, dialect))]
    place = slice(texts[0], texts[-1] + 1) if texts else slice(0)
    assert len(columns[place]) == len(texts), "the text fields of a record must stand together"
    return Converters(
        constants=constants,
        texts=place,
        storable=[(at, convert) for at, convert in converters if at in texts],
        contents=[at for at, column in enumerate(columns) if column.name in record_type.storage.contents],
        ids=ids,
        json=json,
        others=[(at, convert) for at, convert in converters if at not in (*texts, *ids, *json)],
    )


def _converter(column: Column[object], dialect: Dialect) -> Converter | None:
    if isinstance(column.type, Text):
        is_indexed = any(column.name in index.columns for index in column.table.indexes)
        return bounded if is_indexed else storable
    if isinstance(column.type, Json):
        return storable_json
    if isinstance(column.type, Boolean) and not dialect.supports_native_boolean:
        return {False: 0, True: 1}.__getitem__  # refuses other values as SQLAlchemy does, in one step
    return column.type.dialect_impl(dialect).bind_processor(dialect)

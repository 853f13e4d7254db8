"""The index for the search in prompts and in the arguments of tools. It exists where an operator has enabled it.

PostgreSQL: trigrams (``pg_trgm``), which find words and parts of words. SQLite: FTS5, which finds words and their
beginnings; triggers keep it, so rows that are erased or purged leave it in the same transaction.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Engine, Text, TextClause, and_, cast, text
from sqlalchemy.exc import DBAPIError

from ..errors import RecordingError
from .database import describe, open_engine, plain_errors, printable, single_transaction
from .schema import tool_usages, user_prompts

_INDEXED = {
    "search_aibridge_prompts": ("aibridge_user_prompts", "prompt"),
    "search_aibridge_tool_calls": ("aibridge_tool_usages", "input"),
}
"""By the index's name: the table and the column that it is for."""

INDEXES = tuple(_INDEXED)
"""Of prompts, and of tools' arguments."""


def is_enabled(connection: Connection) -> bool:
    """Return True if both indexes are there."""
    catalog = (
        "SELECT count(*) FROM pg_indexes WHERE indexname IN ({})"
        if connection.dialect.name == "postgresql"
        else "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ({})"
    )
    names = ", ".join(f"'{name}'" for name in _INDEXED)
    return bool(connection.scalar(text(catalog.format(names))) == len(_INDEXED))


def enable(url: str) -> Iterator[str]:
    """Make the indexes, again if they are there; yields what is done next. RecordingError if that can't be done."""
    with plain_errors(url):
        engine = open_engine(url)
        try:
            if engine.dialect.name == "postgresql":
                yield from _enable_postgresql(engine, url)
            else:
                yield from _enable_sqlite(engine)
        finally:
            engine.dispose()


def disable(url: str) -> None:
    """Remove the indexes."""
    with single_transaction(url) as connection:
        for name, (table, _) in _INDEXED.items():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
            else:
                _drop_sqlite(connection, name, table)


def _enable_postgresql(engine: Engine, url: str) -> Iterator[str]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        try:
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except DBAPIError as error:
            why = f"database {printable(url)}: the extension pg_trgm can't be made ({describe(error)})"
            raise RecordingError(f"{why}; have the database's owner run CREATE EXTENSION pg_trgm") from None
        for name, (table, column) in _INDEXED.items():
            yield f"index of {table}.{column}"
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")  # an interrupted one is not valid
            # Without a lock that would hold up the gateway.
            sql = f"CREATE INDEX CONCURRENTLY {name} ON {table} USING gin (({column}::text) gin_trgm_ops)"
            connection.exec_driver_sql(sql)
            # Else the planner does not know how many rows have a word, and reads all rows in the order of time.
            connection.exec_driver_sql(f"ANALYZE {table}")


def _enable_sqlite(engine: Engine) -> Iterator[str]:
    for name, (table, column) in _INDEXED.items():
        yield f"index of {table}.{column}"
        remove = f"INSERT INTO {name}({name}, rowid, {column}) VALUES ('delete', old.rowid, old.{column})"
        add = f"INSERT INTO {name}(rowid, {column}) VALUES (new.rowid, new.{column})"
        statements = [
            f"CREATE VIRTUAL TABLE {name} USING fts5({column}, content='{table}', content_rowid='rowid')",
            f"CREATE TRIGGER {name}_insert AFTER INSERT ON {table} BEGIN {add}; END",
            f"CREATE TRIGGER {name}_delete AFTER DELETE ON {table} BEGIN {remove}; END",
            f"CREATE TRIGGER {name}_update AFTER UPDATE ON {table} BEGIN {remove}; {add}; END",
            f"INSERT INTO {name}({name}) VALUES ('rebuild')",
        ]
        with engine.begin() as connection:
            _drop_sqlite(connection, name, table)
            for statement in statements:
                connection.exec_driver_sql(statement)


def _drop_sqlite(connection: Connection, name: str, table: str) -> None:
    for event in ("insert", "delete", "update"):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}_{event}")
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")


def has_words(dialect: str, index: str, words: Sequence[str]) -> "ColumnElement[bool] | TextClause":
    """Return the condition of the rows of an index's table that have all words."""
    table = user_prompts if index == "search_aibridge_prompts" else tool_usages
    column = table.c[_INDEXED[index][1]]
    if dialect == "postgresql":
        return and_(*(cast(column, Text).ilike(f"%{_escaped(word)}%", escape="\\") for word in words))
    # Each word in quotes is a text to FTS5, never an operator; the star lets it be a word's beginning.
    query = " ".join('"' + word.replace('"', '""') + '"*' for word in words)
    matches = f"{table.name}.rowid IN (SELECT rowid FROM {index} WHERE {index} MATCH :words)"
    return text(matches).bindparams(words=query)


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")

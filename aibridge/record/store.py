"""The database, as the thread that writes to it sees it: every call blocks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from . import migrations
from .database import DatabaseAway, describe, is_of_a_row, is_worth_another_try, open_engine, plain_errors, printable
from .statements import Encoder, Entry, Refusals, Row, Statement, make_encoder


class Store:
    """Keeps rows in the database. Nothing is connected before `open`.

    ``lock_timeout``: seconds to wait for another process that holds a SQLite database.
    """

    def __init__(self, url: str, *, lock_timeout: float = 5.0) -> None:
        with plain_errors(url):
            self._engine = open_engine(url, lock_timeout=lock_timeout)
        self._url = url
        self._migrated = False

    def encoder(self, process_id: UUID | None) -> Encoder:
        """What makes entries of that process's records."""
        return make_encoder(self._engine.dialect, process_id)

    def open(self) -> None:
        """Bring the database to the present schema, once. `DatabaseAway` where that may succeed later."""
        if not self._migrated:
            migrations.upgrade(self._url)
            self._migrated = True

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that fails with `DatabaseAway`, whatever it is that the database can't do."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            why = describe(error)
        else:
            return
        raise DatabaseAway(f"database {printable(self._url)}: {why}")

    def commit(self, entries: Sequence[Entry]) -> Refusals:
        """Commit all of them, or all but the bad ones, which are found by halving: a bad row takes no other along.

        `DatabaseAway` where it is no fault of the rows; then none of them can be counted on.
        """
        try:
            self._commit(entries)
        except Exception as error:
            why, blames_a_row = describe(error), is_of_a_row(error)
        else:
            return {}
        if not blames_a_row:
            raise DatabaseAway(f"database {printable(self._url)}: {why}")
        if len(entries) == 1:
            return {entries[0]: entries[0].error(why)}
        middle = len(entries) // 2
        return self.commit(entries[:middle]) | self.commit(entries[middle:])

    def _commit(self, entries: Sequence[Entry]) -> None:
        rows = _latest(entries)
        try:
            self._execute(rows)
        except DBAPIError as error:
            if not is_worth_another_try(error):
                raise
            self._execute(rows)

    def _execute(self, rows: dict[Statement, list[Row]]) -> None:
        with self._engine.begin() as connection:
            for statement in sorted(rows, key=lambda statement: statement.rank):
                statement.execute(connection, rows[statement])


def _latest(entries: Sequence[Entry]) -> dict[Statement, list[Row]]:
    """The rows to store by each statement. Of several rows of one id the last one counts."""
    rows: dict[Statement, dict[Any, Row]] = defaultdict(dict)
    for entry in entries:
        rows[entry.statement][entry.row[0]] = entry.row
    return {statement: list(by_id.values()) for statement, by_id in rows.items()}

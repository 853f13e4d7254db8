"""The database, as the thread that writes to it uses it: every call blocks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .budgets.accounts import BudgetsChanged, make_accounts
from .budgets.booking import Booking
from .budgets.settings import BudgetSettings
from .budgets.sql import ConnectionCursor
from .database import DatabaseAway, describe, is_retryable, is_row_error, open_engine, plain_errors, printable
from .statements import Encoder, Entry, Refusals, Row, Statement, Value, make_encoder
from .upgrade import Upgrade, upgrade
from .urls import sqlite_file
from .writer import Writer

_MOST_RETRIES = 3
"""Two processes that have waited for each other may do so again."""


class Store:
    """Keeps rows in the database. Nothing is connected before `open`.

    ``lock_timeout``: the seconds to wait for another process that holds a SQLite database. ``upgrade`` brings the
    database to the present schema.
    """

    def __init__(
        self,
        url: str,
        *,
        lock_timeout: float = 5.0,
        budgets: BudgetSettings | None = None,
        upgrade: Upgrade = upgrade,
    ) -> None:
        with plain_errors(url):
            self._engine = open_engine(url, lock_timeout=lock_timeout)
        self._writer = Writer(self._engine)
        self.accounts = make_accounts(self._engine.dialect, budgets or BudgetSettings())
        self.url = url
        self._upgrade = upgrade
        self._migrated = False
        self._file = sqlite_file(url)
        self._opened: tuple[int, int] | None = None
        """The device and the inode of SQLite's file when it was opened."""

    def encoder(self, process_id: UUID | None) -> Encoder:
        """Return the function that makes entries of that process's records."""
        return make_encoder(self._engine.dialect, process_id)

    def open(self) -> None:
        """Bring the database to the present schema, once. `DatabaseAway` if that may succeed later."""
        if not self._migrated:
            self._upgrade(self.url)
            self._migrated = True
            self._opened = self._identity()

    @property
    def is_lost(self) -> bool:
        """True if SQLite's file was removed or replaced since it was opened: rows go where nobody finds them."""
        return self._migrated and self._identity() != self._opened

    def _identity(self) -> tuple[int, int] | None:
        """Return the device and the inode of SQLite's file; None if there is no such file."""
        try:
            status = self._file.stat() if self._file is not None else None
        except OSError:
            return None
        return (status.st_dev, status.st_ino) if status is not None else None

    def close(self) -> None:
        """Close the connection; the next call opens one again."""
        self._writer.release()
        self._engine.dispose()

    def empty_log(self) -> None:
        """Move SQLite's log into its file, as far as nobody reads it: what was deleted is in neither of them then."""
        if self._engine.dialect.name == "sqlite":
            self._writer.release()
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that fails with `DatabaseAway`, whatever the database's error is."""
        self._writer.release()  # so that a process has one connection, which both use
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            why = describe(error)
        else:
            return
        raise self._away(why)

    def load_budgets(self) -> None:
        """Read the caps on money. `DatabaseAway` if that fails."""
        with self.transaction() as connection:
            self.accounts.load(ConnectionCursor(connection))

    def commit(self, entries: Sequence[Entry], *, is_fresh: bool = True) -> Refusals:
        """Commit all entries except bad ones, which are returned. They are found by halving.

        Interceptions for which a cap on money has no room are returned, too. `is_fresh`: nobody has tried to store
        these entries before, so that a cap may refuse what begins.

        `DatabaseAway` if the fault is not in the rows; then none of them can be counted on.
        """
        try:
            return self._commit(entries, is_fresh)
        except Exception as error:
            why, blames_a_row = describe(error), is_row_error(error)
        if not blames_a_row:
            raise self._away(why)
        if len(entries) == 1:
            return {entries[0]: entries[0].error(why)}
        middle = len(entries) // 2
        first = self.commit(entries[:middle], is_fresh=is_fresh)
        return first | self.commit(entries[middle:], is_fresh=is_fresh)

    def _commit(self, entries: Sequence[Entry], is_fresh: bool) -> Refusals:
        """Store all entries in one transaction, and try again if that may help."""
        rows: dict[Statement, dict[Value, Row]] = defaultdict(dict)
        for entry in entries:
            rows[entry.statement][entry.row[0]] = entry.row  # of several rows of one id the last one counts
        retries = 0
        while True:
            try:
                return self._execute(rows, entries, is_fresh)
            except BudgetsChanged:
                with self._writer.transaction() as cursor:
                    self.accounts.load(cursor)
            except DBAPIError as error:
                if retries == _MOST_RETRIES or not is_retryable(error):
                    raise
                retries += 1
                is_fresh = is_fresh and not error.connection_invalidated  # else the first try may have been committed

    def _execute(self, rows: dict[Statement, dict[Value, Row]], entries: Sequence[Entry], is_fresh: bool) -> Refusals:
        accounts, booking = self.accounts, None
        with self._writer.transaction() as cursor:
            if accounts.caps:
                booking = Booking(accounts, cursor, entries, is_fresh)
                booking.open()
            for statement in sorted(rows, key=lambda statement: statement.rank):
                returned = statement.execute(cursor, list(rows[statement].values()))
                if returned and returned[0][0] != accounts.revision:
                    raise BudgetsChanged
            if booking is not None:
                booking.close()
        if booking is None:
            return {}
        accounts.committed(booking.outcome)
        return dict(booking.outcome.refusals)

    def _away(self, why: str) -> DatabaseAway:
        return DatabaseAway(f"database {printable(self.url)}: {why}")

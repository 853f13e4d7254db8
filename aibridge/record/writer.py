"""The one thread that writes, and the queue in front of it.

Rows that are queued while a commit runs form the next one, in one transaction, so nothing waits for a timer:
a lone request waits for one commit, a thousand requests share one. Everything but the commit itself happens
on the reactor's thread, so there is nothing to lock.
"""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any

from attrs import Factory, frozen
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from twisted.internet.defer import Deferred, fail

from ..errors import RecordingError
from .database import describe
from .records import Record
from .statements import Row, Statement, statements

Observer = Callable[[float, int], None]
"""Told of each commit, on the reactor's thread: the seconds it took, and how many rows it was for."""


@frozen(eq=False)
class _Entry:
    """A row on its way."""

    statement: Statement
    row: Row
    done: "Deferred[None]" = Factory(Deferred)


_Failures = dict[_Entry, RecordingError]


class Writer:
    """Commits records in the order in which they come. Use it on the reactor's thread only."""

    def __init__(
        self, reactor: Any, engine: Engine, *, max_queued_rows: int, observe: Observer = lambda seconds, rows: None
    ) -> None:
        self._reactor = reactor
        self._engine = engine
        self._max_queued_rows = max_queued_rows
        self._observe = observe
        self._statements = statements(engine.dialect)
        self._waiting: list[_Entry] = []
        self._committing = 0
        self._batches: SimpleQueue[list[_Entry] | None] = SimpleQueue()
        self._ended: Deferred[None] | None = None
        # A daemon: a program that forgot to stop us must still be able to end; nothing that was promised is lost.
        self._thread = Thread(target=self._run, name="aibridge-writer", daemon=True)

    @property
    def queued_rows(self) -> int:
        """How many rows are not committed yet."""
        return len(self._waiting) + self._committing

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> "Deferred[None]":
        """Take no more, commit what is queued, close the database and end the thread."""
        self._ended = Deferred()
        self._flush()
        return self._ended

    def write(self, record: Record) -> "Deferred[None]":
        """Fires when the record is committed; fails with `RecordingError` when it can't be, or too many wait."""
        if self._ended:
            return fail(RecordingError("the recorder has stopped"))
        if self.queued_rows >= self._max_queued_rows:
            return fail(RecordingError(f"{self.queued_rows} rows are waiting to be written already"))
        statement = self._statements[type(record)]
        try:
            row = statement.encode(record)
        except Exception as error:  # whatever a host's values do; its text may quote them
            why = describe(error)
        else:
            return self._queue(_Entry(statement, row))
        return fail(RecordingError(f"{type(record).__name__} {record.id} can't be stored: {why}"))

    def _queue(self, entry: _Entry) -> "Deferred[None]":
        if not self._waiting and not self._committing:
            # Not at once: what is recorded in the same turn of the reactor shares the commit.
            self._reactor.callLater(0, self._flush)
        self._waiting.append(entry)
        return entry.done

    def _flush(self) -> None:
        if self._committing:
            return
        if self._waiting:
            batch, self._waiting = self._waiting, []
            self._committing = len(batch)
            self._batches.put(batch)
        elif self._ended:
            self._batches.put(None)

    def _committed(self, batch: list[_Entry], failures: _Failures, seconds: float) -> None:
        self._committing = 0
        self._observe(seconds, len(batch))
        for entry in batch:
            if entry in failures:
                entry.done.errback(failures[entry])
            else:
                entry.done.callback(None)
        self._flush()

    def _finished(self) -> None:
        self._thread.join()
        if self._ended:
            self._ended.callback(None)

    # From here on: the writer's thread.

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            started = perf_counter()
            failures = self._commit(batch)
            self._reactor.callFromThread(self._committed, batch, failures, perf_counter() - started)
        self._engine.dispose()
        self._reactor.callFromThread(self._finished)

    def _commit(self, entries: Sequence[_Entry]) -> _Failures:
        """Commit all of them, or all but the bad ones, which are found by halving: a bad row takes no other along."""
        try:
            self._store(entries)
        except Exception as error:
            why, splits = describe(error), _is_of_a_row(error) and len(entries) > 1
        else:
            return {}
        if splits:
            middle = len(entries) // 2
            return self._commit(entries[:middle]) | self._commit(entries[middle:])
        return {entry: RecordingError(f"{entry.statement.table} {entry.row[0]}: {why}") for entry in entries}

    def _store(self, entries: Sequence[_Entry]) -> None:
        """One transaction. Of several rows of one id the last one counts."""
        rows: dict[Statement, dict[Any, Row]] = {statement: {} for statement in self._statements.values()}
        for entry in entries:
            rows[entry.statement][entry.row[0]] = entry.row
        with self._engine.begin() as connection:
            for statement, by_id in rows.items():
                statement.execute(connection, list(by_id.values()))


def _is_of_a_row(error: Exception) -> bool:
    """Whether the fault may lie in one row. If the database is locked, full or away, fewer rows fare no better."""
    return not (isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated))

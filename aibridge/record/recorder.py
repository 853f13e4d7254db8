"""The recorder that keeps records in a database."""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from ..errors import RecordingError
from ..interfaces import IRecorder
from . import migrations
from .database import open_engine
from .records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    ModelThoughtRecord,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from .writer import Observer, Writer


@implementer(IRecorder)
class SQLRecorder(Service):
    """Records to any database that SQLAlchemy and the migrations know: SQLite, PostgreSQL.

    ``startService`` brings the database to the present schema and raises `RecordingError` where that fails,
    so that nothing is served that can't be recorded; it blocks for that moment. A host program may leave it
    out: then the first record does it. What a host does not end by ``stopService`` loses no record whose
    Deferred has fired.

    A SQLite database is three files (``-wal`` and ``-shm`` beside it): copy it with ``sqlite3 FILE .backup``,
    or while nothing runs.

    ``max_queued_rows``: with so many rows not yet committed, further records fail at once, so that a database
    that can't keep up turns requests away instead of filling memory. ``lock_timeout``: seconds to wait for
    another process that holds a SQLite database. ``observe`` is told the seconds and the rows of each commit.
    """

    name = "recorder"

    def __init__(
        self,
        url: str,
        *,
        reactor: Any = None,
        max_queued_rows: int = 10_000,
        lock_timeout: float = 5.0,
        observe: Observer = lambda seconds, rows: None,
    ) -> None:
        self._url = url
        self._reactor = reactor
        self._max_queued_rows = max_queued_rows
        self._lock_timeout = lock_timeout
        self._observe = observe
        self._writer: Writer | None = None

    @property
    def queued_rows(self) -> int:
        """How many rows are not committed yet."""
        return self._writer.queued_rows if self._writer else 0

    def startService(self) -> None:
        """Migrate, then begin to write. Nothing is opened before."""
        if self.running:
            return
        migrations.upgrade(self._url)
        self._writer = Writer(
            self._reactor or _default_reactor(),
            open_engine(self._url, lock_timeout=self._lock_timeout),
            max_queued_rows=self._max_queued_rows,
            observe=self._observe,
        )
        self._writer.start()
        super().startService()  # type: ignore[no-untyped-call]

    def stopService(self) -> "Deferred[None]":
        """Fires when all that was queued is committed and the database is closed."""
        if not self.running or self._writer is None:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]
        return self._writer.stop()

    def record_interception(self, record: InterceptionRecord) -> "Deferred[None]":
        return self._write(record)

    def record_interception_ended(self, record: InterceptionRecordEnded) -> "Deferred[None]":
        return self._write(record)

    def record_token_usage(self, record: TokenUsageRecord) -> "Deferred[None]":
        return self._write(record)

    def record_prompt_usage(self, record: PromptUsageRecord) -> "Deferred[None]":
        return self._write(record)

    def record_tool_usage(self, record: ToolUsageRecord) -> "Deferred[None]":
        return self._write(record)

    def record_model_thought(self, record: ModelThoughtRecord) -> "Deferred[None]":
        return self._write(record)

    def _write(self, record: Record) -> "Deferred[None]":
        # A stopped writer stays, and refuses: a record that comes too late must not start everything again.
        if self._writer is None:
            try:
                self.startService()
            except RecordingError as error:
                return fail(error)
        assert self._writer is not None
        return self._writer.write(record)


def _default_reactor() -> Any:
    """Late: importing it installs one, and which one is not ours to say."""
    from twisted.internet import reactor

    return reactor

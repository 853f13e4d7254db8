"""Leases decide which interceptions are marked as interrupted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import evolve
from twisted.logger import capturedLogs, formatEvent

from aibridge.record.claims import make_claim
from aibridge.record.leases import LEASE, end_process, expired_processes, renew_lease
from aibridge.record.records import InterceptionRecord
from aibridge.record.recovery import recover
from aibridge.record.schema import interceptions, processes
from aibridge.record.store import Store
from aibridge.record.values import new_id

from .databases import OnSQLite, rows
from .postgresql import OnPostgreSQL
from .samples import NOON, ended, interception


class LeaseTests:
    """Tests for every database. Give them ``self.url``."""

    url: str

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.store = Store(self.url)
        self.store.open()
        self.addCleanup(self.store.close)  # type: ignore[attr-defined]
        self.folder = Path(self.mktemp())  # type: ignore[attr-defined]
        self.folder.mkdir()

    def begin(self, process_id: UUID, **values: Any) -> InterceptionRecord:
        """Record an interception of that process, in progress."""
        begun = interception(**values)
        self.store.commit([self.store.encoder(process_id)(begun)])
        return begun

    def alive(self, process_id: UUID, oldest_at: datetime = NOON) -> None:
        with self.store.transaction() as connection:
            renew_lease(connection, process_id, NOON, oldest_at)

    def say_nothing(self, process_id: UUID, seconds: float = LEASE + 1) -> None:
        """Let that time pass since the process's last heartbeat."""
        long_ago = datetime.now(UTC) - timedelta(seconds=seconds)
        with self.store.transaction() as connection:
            connection.execute(processes.update().where(processes.c.id == process_id).values(seen_at=long_ago))

    def look_after(self, folder: Path | None) -> None:
        for _ in recover(self.store, folder):
            pass

    def status_of(self, record: InterceptionRecord) -> str:
        return next(row["status"] for row in rows(self.url, interceptions) if row["id"] == record.id)

    def test_silent(self) -> None:
        """A process without a heartbeat for too long counts as dead: its open interceptions are marked as interrupted.

        The log says so, once.
        """
        process_id = new_id()
        begun = self.begin(process_id)
        self.alive(process_id)
        self.say_nothing(process_id)
        with capturedLogs() as events:
            self.look_after(self.folder)
            self.look_after(self.folder)
        told = f"1 interceptions are marked as interrupted: process {process_id} has ended without finishing them."
        assert [formatEvent(event) for event in events] == [told]
        (row,) = rows(self.url, interceptions)
        assert (row["status"], row["error"]) == ("interrupted", "the gateway's process ended before this did")
        assert row["ended_at"] > row["started_at"]
        assert self.status_of(begun) == "interrupted"

    def test_asked_before(self) -> None:
        """An interrupted interception keeps the requests to the provider that were recorded as it went."""
        process_id = new_id()
        begun = self.begin(process_id)
        self.store.commit([self.store.encoder(process_id)(evolve(begun, upstream_requests=3))])
        self.alive(process_id)
        self.say_nothing(process_id)
        self.look_after(self.folder)
        (row,) = rows(self.url, interceptions)
        assert (row["status"], row["upstream_requests"]) == ("interrupted", 3)

    def test_nothing_else(self) -> None:
        """Interceptions that had ended, and those of others that live or of nobody, are left alone."""
        dead, living = new_id(), new_id()
        over = self.begin(dead)
        self.store.commit([self.store.encoder(dead)(ended(over.id))])
        others = [self.begin(living), self.begin(new_id())]
        for process_id in (dead, living):
            self.alive(process_id)
        self.say_nothing(dead)
        self.say_nothing(living, seconds=LEASE / 2)
        self.look_after(self.folder)
        assert self.status_of(over) == "completed"
        assert [self.status_of(other) for other in others] == ["in_progress", "in_progress"]

    def test_claim_counts_more(self) -> None:
        """A process of this machine that holds its claim is alive, whatever its lease says."""
        claim = make_claim(self.folder, new_id())
        begun = self.begin(claim.process_id)
        self.alive(claim.process_id)
        self.say_nothing(claim.process_id)
        self.look_after(self.folder)
        assert self.status_of(begun) == "in_progress"
        claim.release()
        self.alive(claim.process_id)
        self.look_after(self.folder)
        assert self.status_of(begun) == "interrupted"
        assert list(self.folder.iterdir()) == []

    def test_alive_after_all(self) -> None:
        """A process that was only cut off is alive again with its next heartbeat, and its interceptions get their true ends."""
        process_id = new_id()
        begun = self.begin(process_id)
        self.alive(process_id)
        self.say_nothing(process_id)
        self.look_after(None)
        self.alive(process_id)
        self.look_after(None)
        self.store.commit([self.store.encoder(process_id)(ended(begun.id))])
        assert self.status_of(begun) == "completed"
        with self.store.transaction() as connection:
            assert expired_processes(connection) == []

    def test_oldest(self) -> None:
        """Only interceptions since the oldest open one are looked at, with room for a clock that was set back."""
        process_id = new_id()
        self.alive(process_id, oldest_at=NOON)
        long_before = self.begin(process_id, started_at=NOON - timedelta(hours=2))
        shortly_before = self.begin(process_id, started_at=NOON - timedelta(minutes=30))
        with self.store.transaction() as connection:
            assert end_process(connection, process_id, self.store.accounts) == 1
        assert self.status_of(long_before) == "in_progress"
        assert self.status_of(shortly_before) == "interrupted"

    def test_never_heard_of(self) -> None:
        """Interceptions of a process that has no row in the database are interrupted too."""
        process_id = new_id()
        begun = self.begin(process_id)
        with self.store.transaction() as connection:
            assert end_process(connection, process_id, self.store.accounts) == 1
        assert self.status_of(begun) == "interrupted"


class SQLiteLeaseTests(LeaseTests, OnSQLite):
    """Leases on SQLite."""


class PostgreSQLLeaseTests(LeaseTests, OnPostgreSQL):
    """Leases on PostgreSQL."""

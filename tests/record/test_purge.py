"""Records that are too old are deleted, and no others."""

from datetime import datetime, timedelta

from sqlalchemy import select, text

from aibridge.record import retention as module
from aibridge.record.database import open_engine
from aibridge.record.leases import renew_lease
from aibridge.record.records import (
    RECORD_TYPES,
    AnchorRecord,
    InterceptionRecord,
    Record,
    TokenUsageRecord,
    ToolsetRecord,
    TurnRecord,
)
from aibridge.record.retention import Deleted, purge
from aibridge.record.schema import anchors, interceptions, processes, toolsets, turns
from aibridge.record.store import Store
from aibridge.record.values import new_id

from .databases import OnSQLite, rows, stored
from .postgresql import OnPostgreSQL
from .samples import NOON, ended, exchange, interception

DAY = timedelta(days=1)


class PurgeTests:
    """Tests for every database. Give them ``self.url``."""

    url: str

    def setUp(self) -> None:
        super().setUp()
        self.store = Store(self.url, lock_timeout=0.1)
        self.addCleanup(self.store.close)
        self.store.open()

    def keep(self, *values: Record) -> None:
        encoder = self.store.encoder(None)
        assert not self.store.commit([encoder(value) for value in values])

    def began(self, *moments: datetime) -> None:
        """Record interceptions that began at these moments and have ended."""
        for moment in moments:
            begun = interception(started_at=moment)
            self.keep(begun, ended(begun.id))

    def left(self) -> list[datetime]:
        return sorted(row["started_at"] for row in rows(self.url, interceptions))

    def test_with_all_rows(self) -> None:
        """An interception goes with all its rows."""
        self.keep(*exchange())
        assert list(purge(self.store, NOON + DAY)) == [Deleted("interceptions", 1)]
        assert not any(stored(self.url, kind) for kind in RECORD_TYPES)

    def test_age(self) -> None:
        """Interceptions that began before the given time are deleted; all later ones stay, with all their rows."""
        self.began(NOON - DAY, NOON - timedelta(microseconds=1))
        self.keep(*exchange())
        assert list(purge(self.store, NOON)) == [Deleted("interceptions", 2)]
        assert self.left() == [NOON]
        assert len(stored(self.url, TokenUsageRecord)) == 1

    def test_in_progress(self) -> None:
        """Interceptions in progress stay, however old, and keep no younger one from being deleted."""
        running = interception(started_at=NOON - 100 * DAY)
        self.keep(running)
        self.began(NOON - DAY)
        list(purge(self.store, NOON))
        assert stored(self.url, InterceptionRecord) == [running]

    def test_steps(self) -> None:
        """However many there are, and however many of the same moment, each step deletes so many, the oldest first."""
        self.patch(module, "STEP_ROWS", 3)
        self.began(*[NOON - DAY] * 4, *[NOON - 2 * DAY] * 4)
        self.keep(*[interception(started_at=NOON - DAY) for _ in range(5)])
        steps = purge(self.store, NOON)
        assert next(steps) == Deleted("interceptions", 3)
        assert self.left() == [NOON - 2 * DAY] + [NOON - DAY] * 9
        assert [step.rows for step in steps] == [3, 2]
        assert self.left() == [NOON - DAY] * 5

    def test_in_between(self) -> None:
        """Between two steps records are written as ever, and what is written then is deleted too if it is that old."""
        self.patch(module, "STEP_ROWS", 1)
        self.began(*[NOON - DAY] * 2)
        steps = purge(self.store, NOON)
        next(steps)
        self.began(NOON - DAY, NOON)
        assert sum(step.rows for step in steps) == 2
        assert self.left() == [NOON]

    def test_two_at_once(self) -> None:
        """Two purges at the same time don't hinder each other."""
        self.patch(module, "STEP_ROWS", 2)
        self.began(*[NOON - DAY] * 7)
        one, other = purge(self.store, NOON), purge(self.store, NOON)
        deleted = [next(one).rows, next(other).rows]
        deleted += [step.rows for both in zip(one, other, strict=False) for step in both]
        assert sum(deleted) == 7
        assert self.left() == []

    def test_conversations(self) -> None:
        """What is remembered of conversations goes by its age too; a list of tools when no conversation has it."""
        lists = [ToolsetRecord(id=new_id(), digest=str(n), content="[]", created_at=NOON - DAY) for n in range(3)]
        old, new = (_turn(lists[n], created_at=NOON - DAY * (1 - n)) for n in range(2))
        found_by = [AnchorRecord(id=new_id(), turn_id=turn.id, created_at=NOON) for turn in (old, old, new)]
        self.keep(*lists, old, new, *found_by)
        assert list(purge(self.store, NOON)) == [Deleted("turns of conversations", 1), Deleted("lists of tools", 2)]
        assert [row["id"] for row in rows(self.url, turns)] == [new.id]
        assert [row["id"] for row in rows(self.url, toolsets)] == [lists[1].id]
        assert [row["turn_id"] for row in rows(self.url, anchors)] == [new.id]

    def test_processes(self) -> None:
        """Processes that ended long ago are forgotten; those that never ended aren't."""
        with self.store.transaction() as connection:
            for _ in range(2):
                renew_lease(connection, new_id(), NOON, NOON)
            some = connection.scalars(select(processes.c.id)).first()
            connection.execute(processes.update().where(processes.c.id == some).values(ended_at=NOON - DAY))
        assert list(purge(self.store, NOON)) == [Deleted("processes", 1)]
        assert [row["ended_at"] for row in rows(self.url, processes)] == [None]


class PurgeOnSQLiteTests(PurgeTests, OnSQLite):
    """A purge of a SQLite file."""


class PurgeOnPostgreSQLTests(PurgeTests, OnPostgreSQL):
    """A purge on a PostgreSQL server."""

    def test_another_process(self) -> None:
        """While another process deletes, there is nothing to do."""
        self.began(NOON - DAY)
        engine = open_engine(self.url)
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": module._LOCK})
            assert list(purge(self.store, NOON)) == []
        assert list(purge(self.store, NOON, patient=True)) == [Deleted("interceptions", 1)]


def _turn(toolset: ToolsetRecord, created_at: datetime) -> TurnRecord:
    return TurnRecord(
        id=new_id(),
        initiator_id="alice",
        provider_name="anthropic",
        toolset_id=toolset.id,
        content="{}",
        created_at=created_at,
    )

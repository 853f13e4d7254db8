"""The store: order, bad rows, replays."""

from pathlib import Path
from threading import Thread
from time import monotonic

from attrs import evolve
from sqlalchemy import text

from aibridge.errors import RecordingError
from aibridge.record.database import open_engine
from aibridge.record.records import InterceptionRecordEnded, PromptUsageRecord, Record
from aibridge.record.schema import interceptions
from aibridge.record.statements import Refusals
from aibridge.record.store import Store

from .databases import OnSQLite, rows, stored
from .postgresql import OnPostgreSQL
from .samples import ended, exchange, interception, prompt, token_usage, tool_usage


class StoreTests:
    """Tests for every database. Give them ``self.url``."""

    url: str
    says_orphan: str

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.store = Store(self.url)
        self.store.open()
        self.encoder = self.store.encoder(None)
        self.addCleanup(self.store.close)  # type: ignore[attr-defined]

    def commit(self, *values: Record) -> Refusals:
        return self.store.commit([self.encoder(value) for value in values])

    def refused(self, *values: Record) -> list[Record]:
        return [entry.record for entry in self.commit(*values)]

    def test_bad_row(self) -> None:
        """A row that the database refuses is refused alone, whatever shares its commit."""
        values = [value for _ in range(4) for value in exchange()]
        bad = token_usage(values[0].id, input_tokens=2**70)
        assert self.refused(*values[:10], bad, *values[10:]) == [bad]
        assert len(stored(self.url, InterceptionRecordEnded)) == 4

    def test_orphan(self) -> None:
        """A row without its interception is refused, and the error doesn't quote it."""
        bad = prompt(interception().id, prompt="a secret plan")
        (error,) = self.commit(interception(), bad).values()
        assert self.says_orphan in str(error)
        assert str(bad.id) in str(error)
        assert "secret" not in repr(error) + repr(error.__cause__) + repr(error.__context__)

    def test_no_form(self) -> None:
        """Values that have no form in the database are refused before they reach it."""
        begun = interception()
        for record in (
            token_usage(begun.id, created_at=begun.started_at.replace(tzinfo=None)),
            tool_usage(begun.id, input={"value": object()}),
            tool_usage(begun.id, input={"a\0": float("nan")}),
        ):
            with self.assertRaises(RecordingError):  # type: ignore[attr-defined]
                self.encoder(record)

    def test_bad_beginning(self) -> None:
        """An interception that can't be stored takes its own rows along, and only those."""
        bad, fine = interception(model=None), interception()
        own, other = prompt(bad.id), prompt(fine.id)
        assert self.refused(bad, own, fine, other) == [bad, own]
        assert stored(self.url, PromptUsageRecord) == [other]

    def test_order(self) -> None:
        """An interception's end follows its beginning, in the same commit and in a later one."""
        for turns in (1, 2):
            begun = interception()
            last = ended(begun.id, upstream_requests=turns)
            if turns == 1:
                assert not self.commit(last, begun)
            else:
                assert not self.commit(begun)
                assert not self.commit(last)
            assert last in stored(self.url, InterceptionRecordEnded)

    def test_many(self) -> None:
        """A commit takes any number of rows."""
        values = [value for _ in range(700) for value in exchange()]
        assert not self.commit(*values)
        assert len(stored(self.url, InterceptionRecordEnded)) == 700


class SQLiteStoreTests(StoreTests, OnSQLite):
    """The store on SQLite."""

    says_orphan = "SQLITE_CONSTRAINT_FOREIGNKEY"

    def test_lost(self) -> None:
        """A file that is removed, or replaced by another one, is noticed; one that is written to is not."""
        self.assertFalse(Store(self.url).is_lost)
        self.store.commit([self.encoder(interception())])
        self.assertFalse(self.store.is_lost)
        Path(self.path).rename(f"{self.path}.old")
        self.assertTrue(self.store.is_lost)
        Path(self.path).touch()
        self.assertTrue(self.store.is_lost)


class PostgreSQLStoreTests(StoreTests, OnPostgreSQL):
    """The store on PostgreSQL."""

    says_orphan = "ForeignKeyViolation (23503)"

    async def test_deadlock(self) -> None:
        """Two processes that wait for each other's rows both get them in, one of them at the second try."""
        first, second = interception(), interception()
        assert not self.commit(first, second)
        other = Store(self.url)
        self.addCleanup(other.close)
        lock = interceptions.update().values(client="other")
        for _ in range(10):
            waits = Thread(target=self.commit, args=(evolve(second, model="new"), evolve(first, model="new")))
            try:
                with other.transaction() as connection:
                    connection.execute(lock.where(interceptions.c.id == first.id))
                    waits.start()
                    give_up = monotonic() + 60
                    while not self.is_blocked() and monotonic() < give_up:
                        pass
                    connection.execute(lock.where(interceptions.c.id == second.id))
            except RecordingError:
                waits.join()  # on a busy machine the server may choose this side as the one to end
                continue
            waits.join()
            break
        else:
            self.fail("the store was never the one that the server ended")
        assert {(row["client"], row["model"]) for row in rows(self.url, interceptions)} == {("Claude Code", "new")}

    def is_blocked(self) -> bool:
        engine = open_engine(self.url)
        with engine.connect() as connection:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            blocked = connection.execute(text(query)).scalar_one()
        engine.dispose()
        return bool(blocked)

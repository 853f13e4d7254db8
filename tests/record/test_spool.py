"""The spool: rows come out in the order in which they went in, and never twice."""

import resource
import signal
import sqlite3
from pathlib import Path

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from aibridge.record.database import DatabaseAway
from aibridge.record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    PromptUsageRecord,
    Record,
    TokenUsageRecord,
    ToolUsageRecord,
)
from aibridge.record.spool import STEP_ROWS, Spool, SpoolFailed, decode, encode, move_batch
from aibridge.record.store import Store

from .databases import OnSQLite, stored
from .samples import ended, exchange, interception, prompt, token_usage, tool_usage
from .test_values import any_json, any_text


class FormTests(SynchronousTestCase):
    """Records as text."""

    def test_each_kind(self) -> None:
        """Every record is decoded as it was encoded."""
        names = ("interception", "token_usage", "prompt", "tool_usage", "thought", "ended")
        for name, record in zip(names, exchange(), strict=True):
            assert decode(name, encode(record)) == record

    @given(any_text, any_json)
    def test_anything(self, text: str, value: object) -> None:
        """Whatever text and JSON a record has, it reaches the database as if it had gone there at once."""
        store = Store("sqlite://")
        direct = tool_usage(interception().id, tool=text, input=value)
        encoder = store.encoder(None)
        assert encoder(decode("tool_usage", encode(direct))).row == encoder(direct).row

    def test_of_another_version(self) -> None:
        """A field that was not yet there has its default; one that is not known any more is left out."""
        begun = interception(metadata={})
        text = encode(begun).replace(',"metadata":{}', ',"mood":"good"')
        assert decode("interception", text) == begun


class SpoolTests(OnSQLite):
    """A spool, beside the database that its rows are for."""

    def setUp(self) -> None:
        super().setUp()
        self.store = Store(self.url)
        self.addCleanup(self.store.close)
        self.store.open()
        self.encoder = self.store.encoder(None)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "x.spool"
        self.spool = self.connection()

    def connection(self) -> Spool:
        spool = Spool(self.file)
        self.addCleanup(spool.close)
        return spool

    def append(self, *values: Record) -> None:
        assert not self.spool.append([self.encoder(value) for value in values])

    def move_all(self) -> list[int]:
        """Move all rows, and return the number of rows of each step."""
        moved = []
        while step := move_batch(self.spool, self.store, self.encoder):
            moved.append(step)
        return moved

    def test_nothing(self) -> None:
        """A spool that was never used has no file."""
        assert (self.move_all(), self.spool.count()) == ([], (0, 0))
        assert not self.file.exists()

    def test_moved(self) -> None:
        """Rows move into the database, and are gone from the spool."""
        values = exchange()
        self.append(*values)
        assert self.spool.count() == (6, 0)
        assert self.move_all() == [6]
        assert self.spool.count() == (0, 0)
        for value in values:
            assert stored(self.url, type(value)) == [value]

    def test_steps(self) -> None:
        """Many rows move in steps, and so do large ones."""
        begun = interception()
        self.append(begun, *[prompt(begun.id) for _ in range(2 * STEP_ROWS)])
        assert self.move_all() == [STEP_ROWS, STEP_ROWS, 1]
        self.append(*[prompt(begun.id, prompt="x" * 2**21) for _ in range(5)])
        assert self.move_all() == [2, 2, 1]

    def test_last_version(self) -> None:
        """Of several rows of one id the last one counts, within a step and beyond."""
        begun = interception()
        versions = [token_usage(begun.id, id=begun.id, output_tokens=n) for n in range(2 * STEP_ROWS)]
        self.append(begun, ended(begun.id), *versions)
        self.move_all()
        assert stored(self.url, TokenUsageRecord) == [versions[-1]]
        assert len(stored(self.url, InterceptionRecordEnded)) == 1

    def test_killed_between(self) -> None:
        """Rows that are in the database but not yet out of the spool move once more, and change nothing."""
        values = exchange()
        self.append(*values)
        self.patch(self.spool, "remove", self.fall_over)
        with self.assertRaises(KeyboardInterrupt):
            self.move_all()
        self.spool = self.connection()
        assert self.move_all() == [6]
        for value in values:
            assert stored(self.url, type(value)) == [value]

    def fall_over(self, *_: object) -> None:
        raise KeyboardInterrupt

    def test_away(self) -> None:
        """Rows that the database doesn't take stay in the spool."""
        self.append(*exchange())

        def away(_: object, *, is_fresh: bool) -> None:
            raise DatabaseAway("away")

        self.patch(self.store, "commit", away)
        with self.assertRaises(DatabaseAway):
            self.move_all()
        assert self.spool.count() == (6, 0)

    def test_refused(self) -> None:
        """A row that the database refuses is kept apart, with the reason, and holds up no other."""
        orphan, fine = prompt(interception().id), interception()
        self.append(orphan, fine)
        assert self.move_all() == [2]
        assert self.spool.count() == (0, 1)
        assert stored(self.url, InterceptionRecord) == [fine]

    def test_retried(self) -> None:
        """A row that was kept apart can be tried again, once the reason is gone."""
        begun = interception()
        self.append(prompt(begun.id))
        self.move_all()
        self.store.commit([self.encoder(begun)])
        self.spool.retry_refused()
        assert self.move_all() == [1]
        assert self.spool.count() == (0, 0)
        assert len(stored(self.url, PromptUsageRecord)) == 1

    def test_unknown_kind(self) -> None:
        """A row of a later version stays for that version."""
        self.append(interception())
        with sqlite3.connect(self.file) as connection:
            connection.execute("UPDATE rows SET kind = 'dream'")
        connection.close()
        assert self.move_all() == [1]
        assert self.spool.count() == (0, 1)

    def test_durable(self) -> None:
        """The file is written through to the disk with each commit."""
        self.append(interception())
        connection = self.spool._connection
        assert connection is not None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_room(self) -> None:
        """Its size counts every spool of the folder; room that is free again doesn't count, and is given back."""
        begun = interception()
        (self.file.parent / "other.spool").write_bytes(b"x" * 100_000)
        self.append(begun, *[prompt(begun.id, prompt="x" * 10_000) for _ in range(100)])
        full = self.spool.used_bytes()
        assert full > 1_100_000
        self.move_all()
        self.spool.shrink()
        assert self.spool.used_bytes() < 200_000
        assert self.file.stat().st_size < 50_000

    def test_two_connections(self) -> None:
        """One connection adds rows while another moves them out."""
        begun = interception()
        self.append(begun)
        mover = self.connection()
        assert move_batch(mover, self.store, self.encoder) == 1
        self.append(ended(begun.id))
        assert move_batch(mover, self.store, self.encoder) == 1
        assert (self.spool.added, mover.removed) == (2, 2)

    def test_full_disk(self) -> None:
        """A disk that takes no more fails what comes, whole; what is spooled stays, and there is no half of anything."""
        begun = interception()
        self.append(begun)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGXFSZ, old)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        with self.assertRaises(SpoolFailed) as caught:
            self.append(*[prompt(begun.id, prompt="secret" * 2000) for _ in range(100)])
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "secret" not in repr(caught.exception) + repr(caught.exception.__context__)
        assert self.spool.count() == (1, 0)
        self.append(ended(begun.id))
        assert self.move_all() == [2]
        assert len(stored(self.url, InterceptionRecord)) == 1
        assert not stored(self.url, ToolUsageRecord)

    def test_no_form(self) -> None:
        """A value that has no form in JSON fails alone."""
        good = interception()
        entry, strange = self.encoder(good), self.encoder(token_usage(good.id, input_tokens=1 + 1j))
        assert list(self.spool.append([entry, strange])) == [strange]
        assert self.spool.count() == (1, 0)

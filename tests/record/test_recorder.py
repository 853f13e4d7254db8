"""Recorders, from outside: the contract of all of them, then the promises of the database's recorder."""

import os
import signal
import sqlite3
import sys
from pathlib import Path
from threading import enumerate as threads

from sqlalchemy import Engine, text
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.utils import getProcessOutputAndValue

from aibridge.errors import RecordingError
from aibridge.record import recorder as module
from aibridge.record.database import open_engine, open_reader
from aibridge.record.records import (
    InterceptionRecord,
    InterceptionRecordEnded,
    OpenAnswer,
    PromptUsageRecord,
    Record,
    ToolUsageRecord,
)
from aibridge.record.schema import interceptions, tool_usages, user_prompts
from aibridge.recorder import SQLRecorder

from .contract import RecorderContract, record
from .databases import OnSQLite, rows, stored
from .memory import OnMemory
from .postgresql import OnPostgreSQL
from .samples import ended, exchange, interception, prompt, token_usage, tool_usage


class MemoryRecorderTests(OnMemory, RecorderContract):
    """The public double keeps the contract that hosts test against."""


class SQLRecorderTests(RecorderContract):
    """The contract over a database. Give it ``self.url``."""

    url: str

    async def setUp(self) -> None:
        super().setUp()
        self.recorder = SQLRecorder(self.url)
        self.addCleanup(self.recorder.stopService)
        await self.recorder.startService()

    def kept(self, kind: type[Record]) -> list[Record]:
        return stored(self.url, kind)

    async def test_status(self) -> None:
        """An interception is in progress until its end is recorded."""
        begun = interception()
        await self.keep(begun)
        assert [row["status"] for row in rows(self.url, interceptions)] == ["in_progress"]
        await self.keep(ended(begun.id))
        assert [row["status"] for row in rows(self.url, interceptions)] == ["completed"]

    async def test_unstorable_text(self) -> None:
        """NUL and lone surrogates are kept as their escapes, in text, in JSON and in the names of JSON's members."""
        begun = interception(user_agent="a\0b")
        await self.keep(begun, prompt(begun.id, prompt="\ud800 ü"), tool_usage(begun.id, input={"\0": ["\udfff", 1]}))
        assert rows(self.url, interceptions)[0]["user_agent"] == "a\\u0000b"
        assert rows(self.url, user_prompts)[0]["prompt"] == "\\ud800 ü"
        assert rows(self.url, tool_usages)[0]["input"] == {"\\u0000": ["\\udfff", 1]}

    async def test_one_of_several(self) -> None:
        """A row that can't be stored fails its step and no other row, and leaves no interception open."""
        begun = interception()
        await self.keep(begun)
        odd = tool_usage(begun.id, input=object())
        done = self.recorder.record_all([prompt(begun.id), odd, token_usage(begun.id), ended(begun.id)])
        await self.assertFailure(done, RecordingError)
        assert [row["status"] for row in rows(self.url, interceptions)] == ["completed"]
        assert len(rows(self.url, user_prompts)) == 1
        assert not rows(self.url, tool_usages)
        assert not self.recorder._open_interceptions

    async def test_long_names(self) -> None:
        """Texts that are searched for are bounded, for no index takes any length; they stay distinct and findable."""
        call = "call_" + "x" * 5000
        begun = interception(
            correlating_tool_call_id=call, client_session_id="\U0001f44b" * 3000, initiator_id="a" * 3000
        )
        await self.keep(
            begun,
            tool_usage(begun.id, tool_call_id=call, provider_response_id="r" * 9000),
            tool_usage(begun.id, tool_call_id=call + "y"),
            token_usage(begun.id, provider_response_id="r" * 9000),
        )
        (found,) = rows(self.url, interceptions)
        one, other = sorted(row["tool_call_id"] for row in rows(self.url, tool_usages))
        assert found["correlating_tool_call_id"] in (one, other)
        assert one != other
        assert one[:401] == other[:401] == call[:400] + "…"

    async def test_null(self) -> None:
        """Contents that are not kept are SQL's NULL, not JSON's."""
        begun = interception()
        await self.keep(begun, tool_usage(begun.id, input=None))
        with open_engine(self.url).connect() as connection:
            found = connection.execute(text("SELECT count(*) FROM aibridge_tool_usages WHERE input IS NULL")).scalar()
            connection.engine.dispose()
        assert found == 1

    async def test_deleted(self) -> None:
        """Deleting an interception deletes everything that belongs to it."""
        await self.keep(*exchange())
        with open_engine(self.url).begin() as connection:
            connection.execute(interceptions.delete())
        connection.engine.dispose()
        assert not any(self.kept(kind) for kind in (InterceptionRecord, PromptUsageRecord, ToolUsageRecord))

    async def test_open_answer(self) -> None:
        """An answer whose figures are not final is found by its id; all queries share one engine until the stop."""
        engines: list[Engine] = []
        self.patch(module, "open_reader", lambda url: engines.append(open_reader(url)) or engines[-1])
        begun = interception()
        early = token_usage(begun.id, provider_response_id="early", metadata={"complete": False})
        final = token_usage(begun.id, provider_response_id="final")
        await self.keep(begun, early, final)
        found = [await self.recorder.find_open_answer(name) for name in ("early", "final", "nobody's")]
        assert found == [OpenAnswer(begun.id, early.id), None, None]
        assert len(engines) == 1
        await self.recorder.stopService()
        assert self.recorder._reader is None

    async def test_stopped(self) -> None:
        """Stopping commits what is queued and ends the thread; what comes later is refused."""
        values = exchange()
        fired = gatherResults([record(self.recorder, value) for value in values])
        await self.recorder.stopService()
        self.successResultOf(fired)
        assert self.kept(InterceptionRecordEnded) == [values[-1]]
        assert not [thread for thread in threads() if thread.name == "aibridge-writer"]
        self.failureResultOf(record(self.recorder, interception()), RecordingError)

    async def test_restarted(self) -> None:
        """A recorder can be started again after it was stopped."""
        await self.recorder.stopService()
        await self.recorder.startService()
        await self.keep(interception())
        assert len(self.kept(InterceptionRecord)) == 1


class SQLRecorderOnSQLiteTests(SQLRecorderTests, OnSQLite):
    """The database's recorder on SQLite."""

    async def test_durable(self) -> None:
        """The file is in WAL mode, and its times are text that SQLite's own functions understand."""
        await self.keep(interception())
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute(
            "SELECT started_at, strftime('%H:%M', started_at), date(started_at, '+1 day'), id FROM aibridge_interceptions"
        ).fetchone()[:3] == ("2026-01-31 12:00:00.123456", "12:00", "2026-02-01")

    async def test_pasted_id(self) -> None:
        """An id as it stands in a header or a log finds its row."""
        begun = interception()
        await self.keep(begun)
        connection = sqlite3.connect(self.path)
        self.addCleanup(connection.close)
        found = connection.execute("SELECT count(*) FROM aibridge_interceptions WHERE id = ?", (str(begun.id),))
        assert found.fetchone() == (1,)

    async def test_clean_end(self) -> None:
        """After a stop the database is one file."""
        await self.keep(interception())
        await self.recorder.stopService()
        assert not Path(self.path + "-wal").exists()

    async def test_locked(self) -> None:
        """While another process holds the database, records fail; when it is free again they are taken."""
        recorder = SQLRecorder(self.url, commit_timeout=1e-9)
        self.addCleanup(recorder.stopService)
        await recorder.startService()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with self.assertRaisesRegex(RecordingError, "SQLITE_BUSY"):
            await record(recorder, interception())
        other.close()
        await record(recorder, interception())


class SQLRecorderOnPostgreSQLTests(SQLRecorderTests, OnPostgreSQL):
    """The database's recorder on PostgreSQL."""

    async def test_types(self) -> None:
        """Ids, times and JSON have PostgreSQL's own types."""
        await self.keep(*exchange())
        engine = open_engine(self.url)
        with engine.connect() as connection:
            found = connection.execute(
                text(
                    "SELECT pg_typeof(id)::text, pg_typeof(started_at)::text, metadata ->> 'team' FROM aibridge_interceptions"
                )
            ).one()
        engine.dispose()
        assert tuple(found) == ("uuid", "timestamp with time zone", "core")

    async def test_cut_connection(self) -> None:
        """A connection that was cut while nothing went on is replaced, and no record notices."""
        await self.keep(interception())
        engine = open_engine(self.url)
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            )
        engine.dispose()
        await self.keep(interception())
        assert len(self.kept(InterceptionRecord)) == 2


class StartTests(OnSQLite):
    """The start and the end of a recorder, and the errors of a start."""

    async def test_stopped_at_once(self) -> None:
        """A recorder that is stopped while it starts keeps what was recorded, and leaves no thread and no file."""
        spool = Path(self.mktemp()).absolute()
        recorder = SQLRecorder(self.url, spool_dir=str(spool), retention_days=1)
        recorded = recorder.record_interception(interception())
        await recorder.stopService()
        await recorded
        assert len(stored(self.url, InterceptionRecord)) == 1
        assert not self.threads()
        assert list(spool.iterdir()) == []

    async def test_stopped_twice(self) -> None:
        """Stops that come together, even while a start fails, all end, and nothing is left."""
        recorder = SQLRecorder("sqlite:////no/such/folder/x.sqlite", spool_dir=self.mktemp())
        recorded = recorder.record_interception(interception())
        first, second = recorder.stopService(), recorder.stopService()
        await self.assertFailure(recorded, RecordingError)
        await gatherResults([first, second])
        assert not self.threads()

    async def test_stopped_first(self) -> None:
        """A recorder that was stopped before its first record refuses it and starts nothing."""
        recorder = SQLRecorder(self.url)
        await recorder.stopService()
        with self.assertRaisesRegex(RecordingError, "has stopped"):
            await recorder.record_interception(interception())
        assert not self.threads()
        await recorder.startService()
        await recorder.record_interception(interception())
        await recorder.stopService()

    async def test_started_after_its_first_record(self) -> None:
        """A start that comes after the first record ends as that start does."""
        recorder = SQLRecorder("sqlite:////no/such/folder/x.sqlite")
        recorded = recorder.record_interception(interception())
        started = recorder.startService()
        await self.assertFailure(recorded, RecordingError)
        await self.assertFailure(started, RecordingError)

    async def test_released(self) -> None:
        """A recorder that its first record started ends when it is released, and starts again with the next record."""
        recorder = SQLRecorder(self.url)
        for _ in range(2):
            await recorder.record_interception(interception())
            await recorder.release()
            assert not self.threads()
        assert len(stored(self.url, InterceptionRecord)) == 2

    async def test_not_released(self) -> None:
        """A recorder that the host started is the host's to end."""
        recorder = SQLRecorder(self.url)
        self.addCleanup(recorder.stopService)
        await recorder.record_interception(interception())
        await recorder.startService()
        await recorder.release()
        assert self.threads()
        await recorder.record_interception(interception())

    def threads(self) -> list[str]:
        return [thread.name for thread in threads() if thread.name.startswith("aibridge")]

    def test_nothing_before(self) -> None:
        """Making a recorder opens nothing and starts no thread."""
        before = threads()
        SQLRecorder(self.url)
        assert not Path(self.path).exists()
        assert threads() == before

    async def test_late(self) -> None:
        """A recorder that nobody started starts with its first record."""
        recorder = SQLRecorder(self.url)
        self.addCleanup(recorder.stopService)
        await recorder.record_interception(interception())
        assert len(stored(self.url, InterceptionRecord)) == 1

    async def test_unwritable(self) -> None:
        """A path that can't be written fails the start, with a line that names it."""
        recorder = SQLRecorder("sqlite:////no/such/folder/x.sqlite", spool_dir=self.mktemp())
        with self.assertRaisesRegex(RecordingError, "/no/such/folder/x.sqlite: unable to open database file"):
            await recorder.startService()
        assert not recorder.running

    async def test_unwritable_late(self) -> None:
        """The same without a start: the record fails, and nothing is raised."""
        recorder = SQLRecorder("sqlite:////no/such/folder/x.sqlite")
        with self.assertRaisesRegex(RecordingError, "unable to open database file"):
            await recorder.record_interception(interception())

    async def test_password(self) -> None:
        """The error does not contain the password."""
        recorder = SQLRecorder("postgresql+nodriver://me:secret@host/db")
        with self.assertRaises(RecordingError) as caught:
            await recorder.startService()
        assert "secret" not in str(caught.exception)

    async def test_no_folder(self) -> None:
        """A folder for the spool that can't be made fails the start, with a line that names it."""
        Path(self.path).touch()
        recorder = SQLRecorder("sqlite://", spool_dir=f"{self.path}/spool")
        with self.assertRaisesRegex(RecordingError, f"spool folder {self.path}/spool: "):
            await recorder.startService()

    async def test_stopped_unstarted(self) -> None:
        """Stopping a recorder that never started is no error."""
        await SQLRecorder(self.url).stopService()


KILLED = """
import os, signal, sys
from twisted.internet import task
from aibridge.recorder import SQLRecorder
from tests.record.contract import record
from tests.record.samples import exchange

async def main(reactor):
    recorder = SQLRecorder(sys.argv[1], reactor=reactor)
    await recorder.startService()
    for value in exchange():
        await record(recorder, value)
    os.kill(os.getpid(), signal.SIGKILL)

task.react(lambda reactor: main(reactor))
"""


class KillTests(OnSQLite):
    """A Deferred that has fired is a promise."""

    timeout = 30

    async def test_killed(self) -> None:
        """Rows whose Deferreds fired survive ``kill -9``."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        url = f"sqlite:///{Path(self.path).absolute()}"
        finished: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
            sys.executable, ["-c", KILLED, url], env=environment
        )
        finished.addErrback(lambda failure: failure.value)
        *output, ended_by = await finished
        assert ended_by == signal.SIGKILL, output
        assert len(stored(self.url, InterceptionRecordEnded)) == 1
        assert len(stored(self.url, ToolUsageRecord)) == 1

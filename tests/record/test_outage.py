"""Outages as they are: a file that someone locks, a server that stops, hangs or is not there yet, a disk that is full."""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import capturedLogs
from twisted.trial.unittest import SkipTest, TestCase

from aibridge.errors import RecordingError
from aibridge.record.database import DatabaseRefused
from aibridge.record.records import INTERRUPTED, RECORD_TYPES, Record
from aibridge.recorder import SQLRecorder

from .contract import record
from .databases import OnSQLite, stored
from .postgresql import Cluster, cluster, programs
from .samples import exchange, interception


def soon(condition: Callable[[], bool]) -> "Deferred[None]":
    """Fires when the condition holds; the test's own timeout bounds it."""
    from twisted.internet import reactor

    async def wait() -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    return ensureDeferred(wait())


class Load:
    """Clients that record one exchange after the other until they are told to stop."""

    def __init__(self, recorder: SQLRecorder, clients: int = 10) -> None:
        self.durable: list[Record] = []
        self._recorder = recorder
        self._stopped = False
        self._done = gatherResults([ensureDeferred(self._client()) for _ in range(clients)])

    def stop(self) -> "Deferred[Any]":
        self._stopped = True
        return self._done

    def grown(self, by: int) -> "Deferred[None]":
        """Fires when so many more records are durable."""
        aim = len(self.durable) + by
        return soon(lambda: len(self.durable) >= aim)

    async def _client(self) -> None:
        while not self._stopped:
            for value in exchange():
                await record(self._recorder, value)
                self.durable.append(value)


class OutageTests(TestCase):
    """A recorder under load. Give it ``self.url``."""

    timeout = 60
    url: str

    async def start(self, **how: Any) -> SQLRecorder:
        self.folder = Path(self.mktemp())
        self.recorder = SQLRecorder(self.url, **{"spool_dir": str(self.folder), "commit_timeout": 0.5} | how)
        self.addCleanup(self.recorder.stopService)
        await self.recorder.startService()
        return self.recorder

    def is_(self, state: str) -> "Deferred[None]":
        return soon(lambda: self.recorder.state().database == state)

    def check(self, load: Load) -> None:
        """Check that exactly the durable records are in the database, each once."""
        for kind in RECORD_TYPES:
            expected = sorted((value for value in load.durable if type(value) is kind), key=lambda value: value.id)
            assert sorted(stored(self.url, kind), key=lambda value: value.id) == expected, kind


class SQLiteOutageTests(OutageTests, OnSQLite):
    """SQLite that someone else holds."""

    async def test_locked(self) -> None:
        """While another process holds the database, recording goes on; afterwards everything is in the database."""
        recorder = await self.start()
        load = Load(recorder)
        await load.grown(100)
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await self.is_("away")
        await load.grown(200)
        assert recorder.spooled_rows >= 200
        other.close()
        await self.is_("up")
        await load.grown(100)
        await load.stop()
        self.check(load)
        assert recorder.state().spooled_rows == 0

    async def test_lost(self) -> None:
        """A file that was removed is told with the next heartbeat, and no interception counts as recordable then."""
        recorder = await self.start()
        assert recorder.state().refuses == ""
        Path(self.path).unlink()
        with capturedLogs() as events:
            for _ in range(2):
                await recorder._process._heartbeat()
        assert "removed or replaced" in recorder.state().refuses
        assert [event["log_level"].name for event in events] == ["error"]

    async def test_locked_at_start(self) -> None:
        """A database that is locked from the beginning is no obstacle: the next start finds what was spooled."""
        await (await self.start()).stopService()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        self.addCleanup(other.close)
        recorder = await self.start()
        assert recorder.state().database == "away"
        values = exchange()
        await gatherResults([record(recorder, value) for value in values])
        await recorder.stopService()
        other.close()
        folder = self.folder
        await self.start(spool_dir=str(folder))
        await soon(lambda: not list(folder.glob("*.spool")))
        for value in values:
            assert stored(self.url, type(value)) == [value]

    async def test_without_spool(self) -> None:
        """Without a spool a locked database fails the records, and nothing is said to be durable that is not."""
        recorder = SQLRecorder(self.url, commit_timeout=1e-9)
        self.addCleanup(recorder.stopService)
        await recorder.startService()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        self.addCleanup(other.close)
        with self.assertRaises(RecordingError):
            await record(recorder, interception())


class PostgreSQLOutageTests(OutageTests):
    """A PostgreSQL that comes and goes."""

    server: Cluster

    def setUp(self) -> None:
        if programs() is None:
            raise SkipTest("PostgreSQL is not installed")
        self.server = cluster()
        self.url = self.server.new_database()

    async def test_stopped(self) -> None:
        """The server may stop and start under load."""
        recorder = await self.start()
        load = Load(recorder)
        for _ in range(2):
            await load.grown(100)
            self.server.stop()
            self.addCleanup(self.server.ensure_started)
            await self.is_("away")
            await load.grown(200)
            self.server.start()
            await self.is_("up")
        await load.grown(100)
        await load.stop()
        self.check(load)

    async def test_hanging(self) -> None:
        """A server that answers no more is as good as away; once it goes on, so does everything."""
        recorder = await self.start()
        load = Load(recorder)
        await load.grown(100)
        self.server.pause(True)
        self.addCleanup(self.server.pause, False)
        await self.is_("away")
        await load.grown(200)
        self.server.pause(False)
        await self.is_("up")
        await load.grown(100)
        await load.stop()
        self.check(load)

    async def test_not_there_yet(self) -> None:
        """The start needs no server: rows wait for it, and so do the tables."""
        self.server.stop()
        self.addCleanup(self.server.ensure_started)
        recorder = await self.start()
        assert "Connection refused" in recorder.state().reason
        assert not recorder.state().reached
        load = Load(recorder)
        await load.grown(100)
        self.server.start()
        await self.is_("up")
        assert recorder.state().reached
        await load.stop()
        self.check(load)

    async def test_reached_before(self) -> None:
        """A restart in an outage knows that the database has been reached before."""
        await self.start()
        await self.recorder.stopService()
        self.server.stop()
        self.addCleanup(self.server.ensure_started)
        again = SQLRecorder(self.url, spool_dir=str(self.folder))
        self.addCleanup(again.stopService)
        await again.startService()
        assert (again.state().database, again.state().reached) == ("away", True)

    async def test_refused(self) -> None:
        """A user or a database that the server does not know ends the start with the server's own words."""
        there = self.url
        for known, unknown, why in (
            ("test@", "nobody@", 'role "nobody" does not exist'),
            ("/test_", "/nowhere_", 'database "nowhere_'),
        ):
            self.url = there.replace(known, unknown)
            with self.assertRaises(DatabaseRefused) as caught:
                await self.start()
            assert why in str(caught.exception), caught.exception

    async def test_refused_and_waited_for(self) -> None:
        """With ``wait`` the records go to the spool until the database exists."""
        self.url, there = self.url + "_later", self.url
        recorder = await self.start(wait=True)
        assert (recorder.state().database, recorder.state().reached) == ("away", False)
        load = Load(recorder)
        await load.grown(100)
        engine = create_engine(there, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {self.url.rpartition('/')[2]}"))
        engine.dispose()
        await self.is_("up")
        await load.stop()
        self.check(load)


FILLS_UP = """
import resource, signal, sys
from twisted.internet import task
from aibridge.errors import RecordingError
from aibridge.recorder import SQLRecorder
from tests.record.contract import record
from tests.record.samples import exchange

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main(reactor):
    recorder = SQLRecorder(sys.argv[1], reactor=reactor, spool_dir=sys.argv[2])
    await recorder.startService()
    limit(300_000)
    failed = 0
    while failed < 20:
        for value in exchange():
            try:
                await record(recorder, value)
            except RecordingError:
                failed += 1
                break
            print(type(value).__name__, value.id)
    assert recorder.state().database == "away", recorder.state()
    limit(resource.RLIM_INFINITY)
    for value in exchange():
        await record(recorder, value)
        print(type(value).__name__, value.id)
    while recorder.state().database != "up":
        await task.deferLater(reactor, 0.01)
    await recorder.stopService()

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
task.react(lambda reactor: main(reactor))
"""


class FullDiskTests(OnSQLite):
    """A disk that takes no more."""

    timeout = 60

    async def test_full(self) -> None:
        """No room in the database: rows go to the spool; none there either: records fail. What was durable is kept."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        folder = Path(self.mktemp()).absolute()
        url = f"sqlite:///{Path(self.path).absolute()}"
        out, err, code = await getProcessOutputAndValue(
            sys.executable, ["-c", FILLS_UP, url, str(folder)], env=environment
        )
        assert code == 0, err
        durable = sorted(line.split() for line in out.decode().splitlines())
        assert len(durable) > 20
        assert durable == sorted([kind.__name__, str(value.id)] for kind in RECORD_TYPES for value in self.there(kind))
        assert list(folder.iterdir()) == []

    def there(self, kind: type[Record]) -> list[Record]:
        """Return the records, without the marks on exchanges that could not be recorded to their end."""
        return [value for value in stored(self.url, kind) if getattr(value, "status", "") != INTERRUPTED]
